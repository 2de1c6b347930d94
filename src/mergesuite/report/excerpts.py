"""Tables as a paper prints them: the rows and columns that matter, at most ten rows each.

The full tables are for reading on a screen. Of these a paper gets each subject under the BatchNorm
treatment that it was searched under, the claims that were compared, and the first controls of each
method; what is longer goes on in a further table. What is the same in all rows stands once, in the
caption.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from mergesuite.experiment import spec
from mergesuite.report.markup import Table
from mergesuite.report.wording import LEAK, LEAK_NOTE, MINUS, TIMES, there

MOST = 10
"""Rows of a table."""

Keep = Callable[[spec.Paper, pd.DataFrame], pd.Series]
"""Which rows of the numbers of a table are printed."""


def _all(paper: spec.Paper, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(True, index=rows.index)


def _compared(paper: spec.Paper, rows: pd.DataFrame) -> pd.Series:
    return rows["difference"].map(there)


def _as_searched(paper: spec.Paper, rows: pd.DataFrame) -> pd.Series:
    """Each subject under the treatment it was searched or picked under, or the only one it has."""
    known = paper.all_subjects()
    parts = rows["subject"].map(lambda name: known.get(str(name)))
    wanted = [paper.methods[p[0]].fitness.batchnorm if p else "keep" for p in parts]
    found = rows["batchnorm"] == pd.Series(wanted, index=rows.index)
    without = ~found.groupby(rows["subject"]).transform("any")
    return found | (without & ~rows["subject"].duplicated())


@dataclass(frozen=True)
class Excerpt:
    """What of a table is printed: its columns, the rows to keep, and what divides it."""

    columns: Sequence[str]
    keep: Keep = _all
    divide: Sequence[str] = ()
    notes: Sequence[str] = ()


EXCERPTS = {
    "results": Excerpt(
        ("subject", "protocol", "BatchNorm", "test", "n", "gain over best parent"), _as_searched,
        notes=(
            "Test accuracy in per cent, mean ± standard deviation over n replicates; gain in "
            "points with 95 % t interval over pairs of the same parents.",
        ),
    ),
    "reported": Excerpt(
        ("claim", "reported", "measured", "level", "n", "verdict"),
        _compared, ("family",),
        notes=(
            f"Differences in points, or in the unit of the metric, and factors ({TIMES}). The "
            "intervals of one family of claims hold all at once in 95 % of studies.",
        ),
    ),
    "controls": Excerpt(
        ("control", "networks", "test", f"subject {MINUS} control", "n", "cost"),
        divide=("subject", "batchnorm"),
        notes=(
            "Test accuracy in per cent, difference in points over n pairs; the intervals hold for "
            "all controls at once in 95 % of studies. Cost: images for each of the method's.",
        ),
    ),
    "leakage": Excerpt(
        ("subject", "BatchNorm", "gain of the twin", "the leak adds", "leaky gain", "n"),
        _as_searched,
        notes=(
            "Gains over the best parent in points with 95 % t interval over n pairs; the twin is "
            "the same search on held-out images.",
        ),
    ),
    "cost": Excerpt(
        ("subject", "n", "evaluations", "forward images", "backward images", "CPU seconds"),
        notes=("Mean ± standard deviation over n replicates, of one search or training each.",),
    ),
}  # fmt: skip
"""By the names of `tables.NAMES`. What a best parent is picked by, and what a decision
would cost, are no tables of a paper."""

FIRST_ONLY = ("controls",)
"""Sorted, best first: of these the first ten rows are enough."""


def excerpts(paper: spec.Paper, slug: str, profile: str, tables: list[Table]) -> list[Table]:
    """The tables of a paper as they are printed; each name is a label and a file, `SLUG-NAME`."""
    return [
        replace(part, name=f"{slug}-{part.name}", caption=f"{slug}: {part.caption}")
        for table in tables
        if table.name in EXCERPTS
        for part in _parts(paper, profile, table, EXCERPTS[table.name])
    ]


def _parts(paper: spec.Paper, profile: str, table: Table, excerpt: Excerpt) -> Iterator[Table]:
    """One or more tables of at most `MOST` rows, which together hold what the excerpt keeps."""
    numbers = table.numbers.reset_index(drop=True)
    if not len(numbers) or not len(numbers := numbers[excerpt.keep(paper, numbers)]):
        return
    shown = table.shown.reset_index(drop=True)
    groups = (
        numbers.groupby(list(excerpt.divide), sort=False) if excerpt.divide else [("", numbers)]
    )
    pieces = [(key, rows) for key, group in groups for rows in _pieces(table, group)]
    for number, (key, rows) in enumerate(pieces, start=1):
        name = table.name if len(pieces) == 1 else f"{table.name}-{number}"
        of = [str(key[0])] if excerpt.divide else []
        of += [f"protocol {_span(_protocols(paper, rows))}"]
        printed = replace(table, name=name, numbers=rows)
        yield _printed(printed, shown.loc[rows.index], excerpt, of, profile)


def _pieces(table: Table, rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in pieces of about the same length, or the first ones."""
    if table.name in FIRST_ONLY:
        return [rows.head(MOST)]
    each = math.ceil(len(rows) / math.ceil(len(rows) / MOST))
    return [rows.iloc[start : start + each] for start in range(0, len(rows), each)]


def _protocols(paper: spec.Paper, rows: pd.DataFrame) -> list[str]:
    """Those of the searches in some rows, each once; a trained network has none."""
    known = paper.all_subjects()
    entries = [parts[0] for name in rows["subject"] if (parts := known.get(str(name)))]
    return list(dict.fromkeys(paper.methods[entry].protocol for entry in entries))


def _printed(
    table: Table, shown: pd.DataFrame, excerpt: Excerpt, of: list[str], profile: str
) -> Table:
    """One table: columns that are the same in all rows become words of the caption."""
    columns, said = list(excerpt.columns), [*of]
    for column, what in (("protocol", ""), ("BatchNorm", "BatchNorm "), ("level", "intervals of "),
                         ("n", "n = ")):  # fmt: skip
        values = list(dict.fromkeys(shown[column])) if column in shown else []
        if len(values) == 1 and column in columns:
            columns.remove(column)
        if values and what and (len(values) == 1 or column == "n"):
            said.append(f"{what}{_span(values)}")
    caption = f"{table.caption.rstrip('.')} ({'; '.join([*said, f'profile {profile}'])})."
    notes = [*excerpt.notes]
    if any(LEAK in cell for cell in shown.iloc[:, 0]):
        notes.append(LEAK_NOTE)
    return Table(table.name, caption, table.numbers, shown[columns], notes)


def _span(values: list[str]) -> str:
    """Some words, or the least and the most of some numbers."""
    if len(values) > 1 and all(re.fullmatch(r"\d+", value) for value in values):
        low, *_, high = sorted(values, key=int)
        return f"{low} to {high}"
    return ", ".join(values) or "of none"
