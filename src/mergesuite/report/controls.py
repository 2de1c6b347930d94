"""What a reader is told of the controls beside a paper's method: a table, and its sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from mergesuite.judge.controls import BACKWARD, ENSEMBLE, EQUAL, NETWORK
from mergesuite.report.markup import Table
from mergesuite.report.wording import (
    MINUS,
    NOTHING,
    TIMES,
    counted,
    interval,
    number,
    percent,
    there,
)

Row = Mapping[Any, Any]
MARKS = {NETWORK: "best", ENSEMBLE: "best ensemble"}
NOTES = [
    "Accuracies on test in per cent, differences in points, over n pairs of results with the same "
    "parents. The intervals of one method hold for all of its controls at once in 95 % of studies: "
    "the best is picked after all were seen.",
    f"Cost: images that the control takes for each of the method's; a backward pass counts as "
    f"{BACKWARD} forward passes, a search with what it asked for, the parents' training not at "
    f"all. The best is picked among those that cost at most {EQUAL:g} times as much. Networks: as "
    "many compute each prediction; an ensemble is the best of ensembles only.",
]


def table(frame: pd.DataFrame) -> Table:
    """Every control beside the method that it is a control of, best first."""
    shown = [
        {
            "subject": str(row["subject"]),
            "BatchNorm": str(row["batchnorm"]),
            "control": str(row["against"]),
            "networks": str(int(row["members"])),
            "test": number(row["measured_against"]),
            f"subject {MINUS} control": interval(row["difference"], row["low"], row["high"]),
            "level": percent(row["level"]),
            "n": str(int(row["n"])),
            "cost": f"{row['cost']:.3f} {TIMES}" if there(row["cost"]) else NOTHING,
            "best": MARKS.get(str(row["best"]), ""),
        }
        for row in frame.to_dict("records")
    ]
    caption = "The method beside every control on the same parents, the best control first."
    return Table("controls", caption, frame, pd.DataFrame(shown), NOTES)


def told(frame: pd.DataFrame, name: Callable[[str], str] = str) -> list[str]:
    """One sentence per method on its best control at equal cost, one on the best ensemble.

    `name` says what a subject is called.
    """
    return [
        sentence
        for _, rows in frame.groupby(["subject", "batchnorm"], sort=False)
        for sentence in _told(_named(rows, name).to_dict("records"))
    ]


def _named(rows: pd.DataFrame, name: Callable[[str], str]) -> pd.DataFrame:
    return rows.assign(subject=rows["subject"].map(name), against=rows["against"].map(name))


def _told(rows: list[dict[Any, Any]]) -> list[str]:
    """The sentences of one method under one treatment."""
    best = {row["best"]: row for row in rows}
    subject, batchnorm = rows[0]["subject"], rows[0]["batchnorm"]
    said = [f"No single network is a control at equal cost for {subject} (BatchNorm {batchnorm})."]
    if row := best.get(NETWORK):
        said = [f"The best control at equal cost is {row['against']}: {_beside(row)}."]
    if row := best.get(ENSEMBLE):
        name = f"{row['against']}, with {counted(int(row['members']), 'network')}"
        said.append(f"The best ensemble is {name} for each prediction: {_beside(row)}.")
    return said


def _beside(row: Row) -> str:
    """How far a method is ahead of a control or behind it, as far as that can be told."""
    subject, n = f"{row['subject']} (BatchNorm {row['batchnorm']})", int(row["n"])
    mean, low, high = (float(row[k]) for k in ("difference", "low", "high"))
    if not there(low):
        found = f"{number(mean, sign=True)} points in {counted(n)}"
        return f"{subject} differs by {found}, too few to tell"
    of = f"({percent(row['level'])} interval, {counted(n)})"
    if low <= 0 <= high:
        return f"{subject} cannot be told apart from it, {_points(mean, low, high)} {of}"
    if mean > 0:
        return f"{subject} is {number(mean)} points ahead {_ends(low, high)} {of}"
    return f"{subject} is {number(-mean)} points behind {_ends(-high, -low)} {of}"


def _points(mean: float, low: float, high: float) -> str:
    return f"{number(mean, sign=True)} points {_ends(low, high, sign=True)}"


def _ends(low: float, high: float, sign: bool = False) -> str:
    return f"[{number(low, sign=sign)}, {number(high, sign=sign)}]"
