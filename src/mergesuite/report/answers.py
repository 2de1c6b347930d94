"""Is it true? One answer per paper, in plain words, from the claim that decides it.

The claim is the first of the paper's own that compares a clean search with a best parent. A paper
without one is answered by the next best that there is: another search, a leaky one, another
comparison; the numbers say which. No sentence says
more than the interval that is shown beside it: each is made from its ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mergesuite.experiment import config, spec
from mergesuite.judge import compare, controls
from mergesuite.judge.verdict import (
    CANNOT_TELL,
    CONTRADICTED,
    DIRECTION,
    LEAKAGE,
    NO_GAIN,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    SMALLER,
)
from mergesuite.report.claims import is_tested
from mergesuite.report.names import Names
from mergesuite.report.wording import (
    LEAK,
    TIMES,
    effect,
    interval,
    number,
    percent,
    size,
    there,
    unit,
)

Row = Mapping[Any, Any]
FREE = 0.1
"""A control is as good as free if it takes at most this part of the images of the method."""
FREE_NOTE = (
    f"For free: controls that take at most {percent(FREE)} of the images of the method, but for "
    "the best parent; points are the control's minus the method's, and the intervals of all "
    "controls of a method hold at once in 95 % of studies."
)
BEST_PARENT = "best-parent"


ONLY_LEAKY = "Only with test images in the search"
DOUBT = "it may all be the test images that the search saw"
INFLATED = ", inflated by test images in the search"
UNSIZED = "; its size is not shown to be the reported one"


@dataclass(frozen=True)
class Finding:
    """What the first screen says of one paper.

    Attributes:
        claim: the claim that answers, by its slug; empty where nothing is measured.
        verdict: its verdict.
        answer: a sentence of a few words.
        numbers: what is reported, what was measured, and what could have been seen.
        free: who was ahead for free; empty where no control stands beside the method.
    """

    claim: str
    verdict: str
    answer: str
    numbers: str
    free: str

    def __str__(self) -> str:
        """All of it as one line."""
        return " ".join(part for part in (self.answer, self.numbers, self.free) if part)


PUBLISHED = "published"
"""The folder of results that are git's (see `publish`): their tables have no record."""


class Judged(NamedTuple):
    """A paper and what became of its claims: verdicts.csv, and controls.csv as `beside`."""

    paper: spec.Paper
    names: Names
    verdicts: pd.DataFrame
    beside: pd.DataFrame


def read(name: str, profile: str, results: Path) -> Judged:
    """The judgement of a paper below `results`, which may be the published ones.

    Raises:
        UserError: it has none at that profile, or a damaged one.
    """
    paper = config.paper(name, profile)
    folder, recorded = results / profile / name, results.name != PUBLISHED
    tables = compare.read(folder, recorded), controls.read(folder, recorded)
    return Judged(paper, Names(paper), *tables)


def find(paper: spec.Paper, names: Names, verdicts: pd.DataFrame, beside: pd.DataFrame) -> Finding:
    """The finding of a paper, from its verdicts.csv and controls.csv (`beside`)."""
    row = chosen(paper, names, verdicts)
    if row is None:
        return Finding("", NOT_RUN, "No claim is measured here yet.", "", "")
    return Finding(
        claim=str(row["claim"]),
        verdict=str(row["verdict"]),
        answer=answer(row, bool(paper.reduced), _against(names, row)),
        numbers=_numbers(row, protocol(paper, row), _against(names, row)),
        free=_free(names, free_controls(beside, row)),
    )


def chosen(paper: spec.Paper, names: Names, verdicts: pd.DataFrame) -> Row | None:
    """The claim that answers for the paper; None where none is measured."""
    rows = [row for row in verdicts.to_dict("records") if is_tested(row) and there(row["low"])]
    return min(rows, key=lambda row: _rank(paper, names, row), default=None)


def _rank(paper: spec.Paper, names: Names, row: Row) -> tuple[bool, ...]:
    """What a claim lacks to answer for its paper, the worst first."""
    return (
        row["family"] != "primary",
        (row["metric"], row["effect"]) != ("accuracy", "difference"),
        names.use(str(row["against"])) != BEST_PARENT,
        bool(row["leaky"]),
        protocol(paper, row) != "clean",
    )


def protocol(paper: spec.Paper, row: Row) -> str:
    """The protocol of what a claim is about; `-` of a model."""
    entry = paper.entry_of(str(row["subject"])) if row["subject"] in paper.all_subjects() else None
    return entry.protocol if entry else "-"


def _against(names: Names, row: Row) -> str:
    """What a claim compares with, in a sentence; how a best parent was treated is beside it."""
    against = str(row["against"])
    return "the best parent" if names.use(against) == BEST_PARENT else names(against)


def answer(row: Row, reduced: bool, against: str) -> str:
    """What a verdict says of a claim, in plain words; `against` is what is compared with.

    Every number in it is an end of the claim's interval or its smallest effect of interest.
    """
    here = " at this scale" if reduced else ""
    what, interest = _what(row), row["interest"]
    # Of a leaky claim whose effect is there, the leak has a say in two verdicts.
    doubt = row["leaky"] and _ends(row)[0] > 0
    inflated = doubt and str(row["why"]).startswith("inflated")
    said: dict[str, Callable[[], str]] = {
        REPRODUCED: lambda: f"Yes: {what}, at least {_part(row)} of the reported one.",
        SMALLER: lambda: f"In part: {what}, but less than reported.",
        DIRECTION: lambda: f"In part: {what}{here}{INFLATED if inflated else UNSIZED}.",
        NO_GAIN: lambda: f"No: nothing as large as {_up(row, interest)}{here}.",
        CONTRADICTED: lambda: f"No: {_worse(row, against)} by {_away(row)} or more{here}.",
        LEAKAGE: lambda: f"{ONLY_LEAKY}: without them nothing as large as {_up(row, interest)}.",
        CANNOT_TELL: lambda: f"Cannot tell yet: {DOUBT if doubt else _both(row)}.",
        NOT_COMPARABLE: lambda: f"Not comparable: {row['why']}.",
        NOT_RUN: lambda: "Not measured here.",
    }
    return said[row["verdict"]]()


def _both(row: Row) -> str:
    return f"nothing and {_what(row)} of {_down(row, row['interest'])} are both possible"


def _ends(row: Row) -> tuple[float, float]:
    """The interval, turned so that more is better for the claim and no effect is 0."""
    low, high = float(row["low"]), float(row["high"])
    if row["effect"] == "ratio":
        return low - 1, high - 1
    return (low, high) if row["direction"] == "higher" else (-high, -low)


def _is_gain(row: Row) -> bool:
    kind = (row["metric"], row["direction"], row["effect"])
    return kind == ("accuracy", "higher", "difference")


def _what(row: Row) -> str:
    return "a gain" if _is_gain(row) else "an effect as claimed"


def _worse(row: Row, against: str) -> str:
    return f"worse than {against}," if _is_gain(row) else "the other way round,"


def _part(row: Row) -> str:
    return "two thirds" if row["effect"] == "ratio" else "half"


def _away(row: Row) -> str:
    """How far the whole interval is on the other side."""
    if row["effect"] == "ratio":
        return f"a factor of {_down(row, 1 / float(row['high']))}"
    return _down(row, -_ends(row)[1])


def _up(row: Row, value: float) -> str:
    """A size in its unit, not rounded down: what is below it is below the number that is shown."""
    return _rounded(row, value, math.ceil)


def _down(row: Row, value: float) -> str:
    """A size in its unit, not rounded up."""
    return _rounded(row, value, math.floor)


MOST_DIGITS = 6


def _rounded(row: Row, value: float, to_whole: Callable[[float], int]) -> str:
    """Two digits behind the point, or as many as show two that are not 0."""
    ratio, metric = row["effect"] == "ratio", str(row["metric"])
    shown = 100 * value if metric == "accuracy" and not ratio else value
    digits = min(max(2, 1 - math.floor(math.log10(shown))), MOST_DIGITS) if shown > 0 else 2
    # A number such as 0.005 is not exactly itself.
    whole = to_whole(round(shown * 10**digits, 6))
    return f"{whole / 10**digits:,.{digits}f} {unit(ratio, metric)}".rstrip() + TIMES * ratio


def _numbers(row: Row, how: str, against: str) -> str:
    """Reported, measured under protocol `how`, and what this size could have seen."""
    ratio, metric, n = row["effect"] == "ratio", str(row["metric"]), int(row["n"])
    told = "No value is reported"
    if there(row["reported_difference"]):
        value = effect(ratio, metric, row["reported_difference"])
        told = f"Reported {value} {unit(ratio, metric)}".rstrip()
    mark = LEAK if row["leaky"] else ""
    label = {"clean": "clean", "published": "as published", "released": "as released"}.get(how)
    measured = effect(ratio, metric, row["difference"], row["low"], row["high"])
    found = f"{label or 'measured'}{mark} {measured}"
    seen = ""
    if row["leaky"] and there(row["twin_difference"]):
        ends = (row[f"twin_{name}"] for name in ("difference", "low", "high"))
        found += f", without test images {effect(ratio, metric, *ends)},"
    if there(row["detectable"]):
        seen = f" (enough to see {size(ratio, metric, row['detectable'])})"
    return f"{told}; {found} {'over' if _is_gain(row) else 'against'} {against} at n = {n}{seen}."


def free_controls(beside: pd.DataFrame, row: Row) -> list[dict[Any, Any]]:
    """The controls of a claim's subject that cost next to nothing.

    Those that are shown to be ahead of it come first, of each the best first. They are measured on
    test, so a claim about other images or another metric has none.
    """
    if (row["metric"], row["split"]) != ("accuracy", "test"):
        return []
    mine = (beside["subject"] == row["subject"]) & (beside["batchnorm"] == row["batchnorm"])
    rows = beside[mine & (beside["method"] != BEST_PARENT)].to_dict("records")
    cheap = (r for r in rows if there(r["cost"]) and r["cost"] <= FREE and there(r["low"]))
    return sorted(cheap, key=lambda r: (r["high"] >= 0, r["difference"]))


def _free(names: Names, rows: list[dict[Any, Any]]) -> str:
    """Who was ahead for free: the best single network, and the best ensemble."""
    single = [row for row in rows if int(row["members"]) == 1][:1]
    several = [row for row in rows if int(row["members"]) > 1][:1]
    said = "; ".join(_beside(names, row) for row in (*single, *several))
    return f"For free: {said}." if said else ""


def _beside(names: Names, row: Row) -> str:
    """Where a control stands beside the method, as far as its interval tells."""
    mean, low, high = (float(row[k]) for k in ("difference", "low", "high"))
    members = int(row["members"])
    name = f"ensemble of {members}" if members > 1 else names(str(row["against"]))
    # The table has the method minus the control; here it is the control that is spoken of.
    if high < 0:
        return f"{name} ahead by {number(-mean)} [{number(-high)}, {number(-low)}]"
    if low > 0:
        return f"{name} behind by {number(mean)} [{number(low)}, {number(high)}]"
    return f"{name} undecided, {interval(-mean, -high, -low)}"
