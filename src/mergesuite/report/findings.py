"""What became of each paper in one line: how many claims hold, and the answer of its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from mergesuite.judge.verdict import CANNOT_TELL, DECIDED, DIRECTION, REPRODUCED, SMALLER
from mergesuite.report import answers
from mergesuite.report.markup import plain

HOLDS = (REPRODUCED, SMALLER, DIRECTION)
"""Verdicts with which the effect is there, whatever its size."""


def lines(papers: Sequence[str], profile: str, results: Path) -> list[str]:
    """A line for each paper, from the verdicts below `results`.

    Raises:
        UserError: a paper has no verdicts at that profile, or damaged ones.
    """
    found = []
    for name in papers:
        judged = answers.read(name, profile, results)
        finding = answers.find(*judged)
        parts = (counted(judged.verdicts), finding.answer, finding.numbers)
        found.append(f"{name}: {' '.join(part for part in parts if part)}")
    return found


def table(papers: Sequence[str], profile: str, results: Path) -> str:
    """The answers of all papers as a table in Markdown, with what was free.

    Raises:
        UserError: as `lines`.
    """
    rows = []
    for name in papers:
        judged = answers.read(name, profile, results)
        finding = answers.find(*judged)
        cells = (judged.names.brief(name), finding.answer, finding.numbers, finding.free)
        rows.append([plain(cell) for cell in cells])
    heads = ["paper", "answer", "reported and measured", "what is free"]
    return tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True)


def counted(verdicts: pd.DataFrame) -> str:
    """How many of the paper's own claims hold, of those that can be judged; empty for none."""
    words = list(verdicts.loc[verdicts["family"] == "primary", "verdict"])
    open_ = words.count(CANNOT_TELL)
    judged = sum(word in DECIDED for word in words) + open_
    if not judged:
        return ""
    holds = sum(word in HOLDS for word in words)
    left = f", {open_} open" if open_ else ""
    return f"{holds} of {judged} claims {'holds' if holds == 1 else 'hold'}{left}."
