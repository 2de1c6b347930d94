"""What a reader is told of each claim: its row of the table, and its lines on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mergesuite.judge.verdict import VERDICTS
from mergesuite.report.markup import Table
from mergesuite.report.names import Names
from mergesuite.report.wording import (
    LEAK,
    LEAK_NOTE,
    MINUS,
    NOTHING,
    TIMES,
    counted,
    effect,
    needed,
    number,
    percent,
    rounded,
    size,
    there,
    unit,
)

FAMILIES = {
    "primary": "the paper",
    "secondary": "we ask",
}
"""Who claims it; the intervals of one family hold together, whatever the other one asks."""
INTERVAL_NOTE = (
    "Intervals of one family hold all at once in 95 % of studies, so each has the level beside it: "
    "t over pairs of results with the same parents, and over test images where both sides see the "
    "same; unpaired (Welch) against a model's own seeds."
)
POWER_NOTE = (
    "Could see: the smallest effect that as many pairs show in four of five studies. Pairs needed: "
    "as many show the smallest effect of interest as often, of a leaky claim beside its twin too."
)
PARTS_NOTE = (
    "Deviations: of one pair's difference; the part of it that more search seeds would make "
    "smaller (known where there are several); the standard error that the choice of test images "
    f"adds to the mean. Of factors ({TIMES}): the factor that one deviation makes."
)

Row = Mapping[Any, Any]


def is_tested(row: Row) -> bool:
    """Whether a row of verdicts.csv is of a comparison, not of a claim that is left untested."""
    return isinstance(row["metric"], str)


def tested(verdicts: pd.DataFrame) -> list[dict[Any, Any]]:
    """The claims that are compared, in the order of verdicts.csv."""
    return [row for row in verdicts.to_dict("records") if is_tested(row)]


def reported(verdicts: pd.DataFrame) -> Table:
    """Reported against measured, claim by claim, with what this size could see."""
    shown = [_line(row) for row in verdicts.to_dict("records")]
    notes = [
        f"Differences (subject {MINUS} against), accuracies in percentage points, or factors "
        f"({TIMES}). {INTERVAL_NOTE}",
        POWER_NOTE,
        PARTS_NOTE,
    ]
    if len(verdicts) and bool(verdicts["leaky"].any()):
        notes.append(LEAK_NOTE)
    caption = "Reported against measured, claim by claim."
    return Table("reported", caption, verdicts, pd.DataFrame(shown), notes)


def _line(row: Row) -> dict[str, str]:
    """One claim as the table shows it."""
    name = f"{row['claim']} {LEAK}" if row["leaky"] else str(row["claim"])
    line = {"claim": name, "family": str(row["family"]), "verdict": str(row["verdict"])}
    if not is_tested(row):
        rest = ("metric", "reported", "measured", "level", "n", *POWER_COLUMNS)
        return line | dict.fromkeys(rest, NOTHING)
    ratio, metric = row["effect"] == "ratio", str(row["metric"])
    return line | {
        "metric": metric.replace("_", " "),
        "reported": effect(ratio, metric, row["reported_difference"]),
        "measured": effect(ratio, metric, row["difference"], row["low"], row["high"]),
        "level": percent(row["level"]),
        "n": str(int(row["n"])),
        **dict(zip(POWER_COLUMNS, _power(row, ratio, metric), strict=True)),
    }


PRICE_NOTE = (
    "Pairs needed: with as many, the interval shows the smallest effect of interest in four of "
    "five studies. Core hours: of a whole study of as many (parents, both sides, the twin of a "
    "leaky search), by the processor time of these runs; who adds pairs until a verdict appears "
    "has other error rates. Where no number of pairs is enough, more test images than named are."
)


def undecided(prices: pd.DataFrame) -> Table:
    """What it would take to decide what this size cannot tell; `prices` is of `judge.prices`."""
    shown = [
        {
            "claim": f"{row['claim']} {LEAK}" if row["leaky"] else str(row["claim"]),
            "family": str(row["family"]),
            "n": str(int(row["n"])),
            "pairs needed": needed(row["pairs_needed"], int(row["n"])),
            "core hours": rounded(row["core_hours"]),
            "test images": _more_images(row),
        }
        for row in prices.to_dict("records")
    ]
    notes = [PRICE_NOTE, *([LEAK_NOTE] if prices["leaky"].any() else [])]
    caption, nothing = "What would decide the rest.", "what was measured twice or more is decided"
    return Table("price", caption, prices, pd.DataFrame(shown), notes, nothing)


def _more_images(row: Row) -> str:
    if not there(row["images_needed"]):
        return NOTHING
    return f"more than {rounded(row['images_needed'])}, there are {int(row['images']):,}"


POWER_COLUMNS = (
    "could see",
    "of interest",
    "pairs needed",
    "sd of pairs",
    "by search",
    "by images",
)


SPREADS = ("sd_pairs", "sd_search", "se_images")


def _power(row: Row, ratio: bool, metric: str) -> list[str]:
    """What this size can see, what it should, and where the spread is from."""
    return [
        size(ratio, metric, row["detectable"]),
        size(ratio, metric, row["interest"]),
        needed(row["pairs_needed"], int(row["n"])),
        *(_deviation(row[key], ratio, metric) for key in SPREADS),
    ]


def by_claim(prices: pd.DataFrame) -> dict[str, Row]:
    """What would decide each undecided claim, by its name."""
    return {str(row["claim"]): row for row in prices.to_dict("records")}


def would_tell(row: Row, price: Row | None) -> str:
    """The pairs that would tell; for an undecided claim with hours of a core, or images."""
    pairs = needed(row["pairs_needed"], int(row["n"]))
    if price and there(price["core_hours"]):
        return f"{pairs} ({rounded(price['core_hours'])} h)"
    if price and there(price["images_needed"]):
        return f"{pairs} (> {rounded(price['images_needed'])} images)"
    return pairs


def told(verdicts: pd.DataFrame, names: Names, prices: pd.DataFrame) -> list[dict[str, Any]]:
    """What the page says about each claim, those that are left untested included."""
    price = by_claim(prices)
    return [_told(row, names, price.get(str(row["claim"]))) for row in verdicts.to_dict("records")]


def _told(row: Row, names: Names, price: Row | None) -> dict[str, Any]:
    base = {
        "name": row["claim"],
        "family": row["family"],
        "text": row["text"],
        "verdict": row["verdict"],
        "order": VERDICTS.index(row["verdict"]),
        "why": row["why"],
        "leaky": bool(row["leaky"]),
        "tested": is_tested(row),
        "measured_here": is_tested(row) and int(row["n"]) > 0,
    }
    if not is_tested(row):
        return base
    ratio, metric, n = row["effect"] == "ratio", str(row["metric"]), int(row["n"])
    return base | {
        "unit": unit(ratio, metric),
        "ids": f"{row['subject']} against {row['against']}",
        "comparison": f"{names(row['subject'])} against {names(row['against'])}",
        "reported": effect(ratio, metric, row["reported_difference"]),
        "measured": effect(ratio, metric, row["difference"], row["low"], row["high"]),
        "seen": _seen(ratio, metric, row["detectable"]),
        "n": n,
        "sort": {key: _sortable(row[key]) for key in ("reported_difference", "difference",
                                                      "detectable")},
        "evidence": _evidence(row, names, price, ratio, metric, n),
    }  # fmt: skip


def _sortable(value: Any) -> str:
    return f"{value:.6g}" if there(value) else ""


def _evidence(
    row: Row, names: Names, price: Row | None, ratio: bool, metric: str, n: int
) -> list[tuple[str, str]]:
    """What a verdict rests on, line by line: what it is, and what was found."""
    of = f" {unit(ratio, metric)}".rstrip()
    found = effect(ratio, metric, row["difference"], row["low"], row["high"])
    sides = [number(row[k], metric) for k in ("measured", "measured_against")]
    lines = [("by", _place(row)), ("reported", _reported(row, ratio, metric, of))]
    if n:
        kind = f"{percent(row['level'])} interval, {counted(n)}; {row['spread_kind']}"
        lines += [
            ("measured", f"{found}{of} ({kind})"),
            ("each side", f"{sides[0]} against {sides[1]}"),
        ]
        lines.append(("could have seen", f"{_seen(ratio, metric, row['detectable'])}{of}"))
    lines.append(
        ("of interest from", f"{size(ratio, metric, row['interest'])}{of} ({row['because']})")
    )
    if n:
        hours = " (hours of a core)" if price and there(price["core_hours"]) else ""
        lines.append((f"pairs that would tell{hours}", would_tell(row, price)))
        lines.append(("spread", _spread(row, ratio, metric)))
    if (twin := _twin(row, ratio, metric)) and n:
        lines.append((f"held-out twin, {names(twin['name'])}", f"{twin['gain']}{of}"))
        lines.append(("the leak adds", f"{twin['excess']}{of}"))
    if (images := _by_image(row)) != NOTHING:
        lines.append(("pairs by image", images))
    return lines


def _spread(row: Row, ratio: bool, metric: str) -> str:
    """Where the spread is from, as far as that is known."""
    parts = zip(("one pair", "of it by search", "of the mean by images"), SPREADS, strict=True)
    return ", ".join(
        f"{name} {_deviation(row[key], ratio, metric)}" for name, key in parts if there(row[key])
    )


def _deviation(value: Any, ratio: bool, metric: str) -> str:
    return size(ratio, metric, math.exp(value) if ratio and there(value) else value)


def _reported(row: Row, ratio: bool, metric: str, of: str) -> str:
    if not there(row["reported_difference"]):
        return "no value"
    return f"{effect(ratio, metric, row['reported_difference'])}{of}"


def _seen(ratio: bool, metric: str, value: Any) -> str:
    """The smallest effect that could be seen, either way: `±0.35`."""
    if not there(value):
        return NOTHING
    return size(ratio, metric, value) if ratio else f"±{size(ratio, metric, value)}"


def _twin(row: Row, ratio: bool, metric: str) -> dict[str, str] | None:
    """The held-out twin of a leaky claim, and what the leak is worth."""
    if not row["leaky"] or not isinstance(row["twin"], str) or not row["twin"]:
        return None
    ends = [[row[f"{k}{end}"] for end in ("_low", "_high")] for k in ("twin", "excess")]
    return {
        "name": row["twin"],
        "gain": effect(ratio, metric, row["twin_difference"], *ends[0]),
        "excess": effect(ratio, metric, row["excess"], *ends[1]),
    }


def _place(row: Row) -> str:
    parts = [str(row["metric"]).replace("_", " ")]
    if row["split"] != "-":
        parts.append(f"on {row['split']}")
    if row["batchnorm"] != "-":
        parts.append(f"BatchNorm {row['batchnorm']}")
    if row["searched"] not in ("-", row["batchnorm"]) and row["batchnorm"] != "-":
        parts.append(f"searched under {row['searched']}")
    return ", ".join(parts)


def _by_image(row: Row) -> str:
    """In how many pairs the subject is right on significantly more, or fewer, test images."""
    if not there(row["image_p"]):
        return NOTHING
    return f"{int(row['pairs_more'])} more, {int(row['pairs_fewer'])} fewer"
