"""What became of a paper in one line: how many of its claims hold, and its gain without leakage.

A line is made of the rows of verdicts.csv alone; which entry is the clean one, the spec says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergesuite.experiment import config, loading, spec
from mergesuite.judge import compare
from mergesuite.judge.verdict import CANNOT_TELL, DECIDED, DIRECTION, REPRODUCED, SMALLER

HOLDS = (REPRODUCED, SMALLER, DIRECTION)
"""Verdicts with which the effect is there, whatever its size."""

Row = dict[Any, Any]


def lines(papers: Sequence[str], profile: str, results: Path) -> list[str]:
    """A line for each paper, from the verdicts below `results`.

    Raises:
        UserError: a paper has no verdicts at that profile, or damaged ones.
    """
    found = []
    for name in papers:
        paper = loading.paper(config.folder_of(name), profile)
        rows = compare.read(results / profile / name).to_dict("records")
        found.append(f"{name}: {line(paper, rows)}")
    return found


def line(paper: spec.Paper, rows: Sequence[Row]) -> str:
    """How many of the paper's own claims hold, and what its clean gain came to."""
    own = [row for row in rows if row["family"] == "primary"]
    decided = sum(row["verdict"] in DECIDED for row in own)
    open_ = sum(row["verdict"] == CANNOT_TELL for row in own)
    if not decided + open_:
        return "none of its claims can be judged at this size"
    holds = sum(row["verdict"] in HOLDS for row in own)
    count = f"{holds} of {decided + open_} claims {'holds' if holds == 1 else 'hold'}"
    parts = [f"{count}, {open_} open" if open_ else count]
    if row := headline(paper, rows):
        reported = row["reported_difference"]
        if _there(reported):
            parts.append(f"reported {100 * reported:+.1f} points, {_measured(row)}")
        else:
            parts.append(_measured(row))
    return "; ".join(parts)


def headline(paper: spec.Paper, rows: Sequence[Row]) -> Row | None:
    """The claim that answers whether the method gains anything; None without one.

    It is the paper's first one about the accuracy on test of an entry under the clean protocol
    against the best parent.
    """
    return next((row for row in rows if row["n"] and _is_clean_gain(paper, row)), None)


def _is_clean_gain(paper: spec.Paper, row: Row) -> bool:
    where = (row["family"], row["metric"], row["split"], row["effect"])
    subjects = paper.all_subjects()
    if where != ("primary", "accuracy", "test", "difference") or row["against"] not in subjects:
        return False
    entry, other = (paper.entry_of(row[side]) for side in ("subject", "against"))
    return bool(entry and other and entry.protocol == "clean" and other.use == "best-parent")


def _measured(row: Row) -> str:
    """`clean +0.1 [-0.4, 0.6], n = 8: no gain`, in points of accuracy."""
    mean, low, high = (100 * row[name] for name in ("difference", "low", "high"))
    ends = f" [{low:.1f}, {high:.1f}]" if _there(low) and _there(high) else ""
    return f"clean {mean:+.1f}{ends} points, n = {row['n']}: {row['verdict']}"


def _there(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
