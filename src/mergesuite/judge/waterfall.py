"""Where a gain comes from: from a parent to the result of a leaky search, step by step.

A paper's `waterfall` names the way: each step is a result on the same parents, and differs from the
one before by one thing. The differences of the steps add up to the whole gain because every step
is taken over the same replicates. What is `beside` the way has a gain over its start alone.

A search that saw some test images only gains on these: there its step is measured, and added to the
accuracy of the step before on all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames, sealed
from mergesuite.experiment import spec
from mergesuite.experiment.statements import Step
from mergesuite.judge.samples import Where, by_replicate, contrast, resolution, right_of, samples
from mergesuite.judge.study import Study, seen_images

COLUMNS = (
    "step", "text", "subject", "batchnorm", "after", "beside", "leaky", "n",
    "difference", "low", "high", "gain", "gain_low", "gain_high",
)  # fmt: skip


def waterfall(study: Study) -> pd.DataFrame:
    """One row per step that was measured; without the start or any step after it, none.

    `difference` is to the step before (`after`), which for the steps `beside` is the start, and
    `gain` is to the start, which comes first and is after itself: accuracy on test, each with its
    95 % t interval over pairs. A step that was not measured is passed over, so the next one is
    compared with the one before it.
    """
    steps = study.paper.waterfall
    found = {name: _values(study, step) for name, step in steps.items()}
    measured = [name for name, values in found.items() if values]
    way = [name for name in measured if not steps[name].beside]
    if not way or way[0] != next(iter(steps)) or len(way) == 1:
        return pd.DataFrame(columns=list(COLUMNS))
    for before, name in itertools.pairwise(way):
        found[name] = _undiluted(study, steps[name], steps[before], found[name], found[before])
    common = set.intersection(*(set(found[name]) for name in way))
    for name in way:
        found[name] = {r: value for r, value in found[name].items() if r in common}
    rows = [_row(study, found, *which) for which in _order(study.paper, way, measured)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read(folder: Path) -> pd.DataFrame:
    """The waterfall.csv of a paper's results.

    Raises:
        UserError: it is missing or damaged.
    """
    file = folder / "waterfall.csv"
    sealed.check(sealed.beside(folder / "verdicts.csv"), [file.name])
    numbers = ["difference", "low", "high", "gain", "gain_low", "gain_high"]
    table = frames.read_csv(file, COLUMNS, numbers=numbers, whole=["n"])
    for name in ("beside", "leaky"):
        table[name] = table[name].astype(str) == "True"
    return table


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


def _values(study: Study, step: Step) -> dict[int, float]:
    """Replicate -> accuracy on test, the mean over search seeds."""
    return by_replicate(samples(study.runs, step.subject, _where(step)))


def _undiluted(
    study: Study, step: Step, before: Step, values: dict[int, float], base: dict[int, float]
) -> dict[int, float]:
    """The accuracies of a leaky search as if all test images were such as it saw.

    Without hits, or where it saw all or none, they are what they are.
    """
    images = seen_images(study.paper, step.subject)
    if images is None:
        return values
    mine, other = (right_of(study.right, s.subject, s.batchnorm, images) for s in (step, before))
    both = mine.keys() & other.keys() & base.keys()
    return {r: base[r] + float((mine[r] - other[r]).mean()) for r in sorted(both)} or values


def _row(
    study: Study, found: dict[str, dict[int, float]], name: str, before: str, start: str
) -> dict[str, Any]:
    step = study.paper.waterfall[name]
    entry = study.paper.entry_of(step.subject)
    unit = resolution(study.runs, step.subject, _where(step))
    added, gained = (contrast(found[name], found[at], step=unit).effect for at in (before, start))
    return {
        "step": name, "text": step.text, "subject": step.subject, "batchnorm": step.batchnorm,
        "after": before, "beside": step.beside,
        "leaky": bool(entry and entry.leaky), "n": added.n,
        "difference": added.mean, "low": added.low, "high": added.high,
        "gain": gained.mean, "gain_low": gained.low, "gain_high": gained.high,
    }  # fmt: skip
