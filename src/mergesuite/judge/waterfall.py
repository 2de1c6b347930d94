"""Where a gain comes from: from a parent to the result of a leaky search, step by step.

A paper's `waterfall` names the way: each step is a result on the same parents, and differs from the
one before by one thing. The differences of the steps add up to the whole gain because every step
is taken over the same replicates. What is `beside` the way has a gain over its start alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mergesuite.experiment import spec
from mergesuite.experiment.statements import Step
from mergesuite.judge.samples import Where, by_replicate, contrast, resolution, samples

COLUMNS = (
    "step", "text", "subject", "batchnorm", "after", "beside", "leaky", "n",
    "difference", "low", "high", "gain", "gain_low", "gain_high",
)  # fmt: skip


def waterfall(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per step that was measured; without the start or any step after it, none.

    `difference` is to the step before (`after`), which for the steps `beside` is the start, and
    `gain` is to the start: accuracy on test, each with its 95 % t interval over pairs. A step that
    was not measured is passed over, so the next one is compared with the one before it.
    """
    found = {name: _values(runs, step) for name, step in paper.waterfall.items()}
    measured = [name for name, values in found.items() if values]
    way = [name for name in measured if not paper.waterfall[name].beside]
    if not way or way[0] != next(iter(paper.waterfall)) or len(way) == 1:
        return pd.DataFrame(columns=list(COLUMNS))
    common = set.intersection(*(set(found[name]) for name in way))
    for name in way:
        found[name] = {r: value for r, value in found[name].items() if r in common}
    rows = [_row(paper, runs, found, *which) for which in _order(paper, way, measured)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _order(
    paper: spec.Paper, way: list[str], measured: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Step, the one before it and the start, of the way and then of what is beside it."""
    for before, name in zip([way[0], *way], way, strict=False):
        yield name, before, way[0]
    for name in measured:
        if paper.waterfall[name].beside:
            yield name, way[0], way[0]


def _where(step: Step) -> Where:
    return Where("accuracy", "test", step.batchnorm)


def _values(runs: pd.DataFrame, step: Step) -> dict[int, float]:
    """Replicate -> accuracy on test, the mean over search seeds."""
    return by_replicate(samples(runs, step.subject, _where(step)))


def _row(
    paper: spec.Paper,
    runs: pd.DataFrame,
    found: dict[str, dict[int, float]],
    name: str,
    before: str,
    start: str,
) -> dict[str, Any]:
    step, entry = paper.waterfall[name], paper.entry_of(paper.waterfall[name].subject)
    unit = resolution(runs, step.subject, _where(step))
    added, gained = (contrast(found[name], found[at], step=unit).effect for at in (before, start))
    return {
        "step": name, "text": step.text, "subject": step.subject, "batchnorm": step.batchnorm,
        "after": "" if name == start else before, "beside": step.beside,
        "leaky": bool(entry and entry.leaky), "n": added.n,
        "difference": added.mean, "low": added.low, "high": added.high,
        "gain": gained.mean, "gain_low": gained.low, "gain_high": gained.high,
    }  # fmt: skip
