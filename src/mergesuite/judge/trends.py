"""The same differences in several populations: what becomes of a gain as networks grow.

A paper's `trends` name populations that differ by one thing, the width of the network or whether
statistics lag, and the differences between entries that are followed over them.

A search that saw some test images only is measured on these, as is what it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.core import frames, sealed
from mergesuite.experiment.statements import Line
from mergesuite.judge import stats
from mergesuite.judge.samples import Where, by_replicate, resolution, right_of, samples
from mergesuite.judge.study import Study, seen_images

COLUMNS = (
    "trend", "line", "text", "population", "network", "subject", "batchnorm", "against",
    "against_batchnorm", "leaky", "n", "difference", "low", "high", "change", "change_low",
    "change_high",
)  # fmt: skip
NUMBERS = ("difference", "low", "high", "change", "change_low", "change_high")


def trends(study: Study) -> pd.DataFrame:
    """One row per line and population; a line that was measured in one population alone has none.

    `difference` is in accuracy on test with its 95 % t interval over the pairs of a population.
    `change` is that difference less the one of the line's first population, with Welch's 95 %
    interval, for replicates of different populations are no pairs.
    """
    rows: list[dict[str, Any]] = []
    for slug, trend in study.paper.trends.items():
        for key, line in trend.lines.items():
            run = (p for p in trend.populations if study.paper.is_for(line.entry, p))
            found = [(p, pairs(study, line, p)) for p in run]
            found = [(p, values) for p, values in found if values]
            if len(found) > 1:
                named = {"trend": slug, "line": key, "text": line.text}
                rows += [named | row for row in _rows(study, line, found)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read(folder: Path) -> pd.DataFrame:
    """The trends.csv of a paper's results.

    Raises:
        UserError: it is missing or damaged.
    """
    file = folder / "trends.csv"
    sealed.check(sealed.beside(folder / "verdicts.csv"), [file.name])
    table = frames.read_csv(file, COLUMNS, numbers=NUMBERS, whole=["n"])
    table["leaky"] = table["leaky"].astype(str) == "True"
    return table


def pairs(study: Study, line: Line, population: str) -> dict[int, float]:
    """Replicate -> difference in accuracy on test, each side the mean over its searches."""
    sides = _sides(line, population)
    first, second = (by_replicate(samples(study.runs, *side)) for side in sides)
    if images := _seen(study, line, population):
        shares = (right_of(study.right, of, where.batchnorm, images) for of, where in sides)
        first, second = ({r: float(each.mean()) for r, each in of.items()} for of in shares)
    return {r: first[r] - second[r] for r in sorted(first.keys() & second.keys())}


def _seen(study: Study, line: Line, population: str) -> int | None:
    """How many test images a line is measured on, if not on all; without hits on all."""
    return seen_images(study.paper, f"{line.entry}-{population}") if study.right else None


def _sides(line: Line, population: str) -> list[tuple[str, Where]]:
    """Subject, and where it is measured, of the entry and of what it is compared with."""
    return [
        (f"{entry}-{population}", Where("accuracy", "test", treatment))
        for entry, treatment in zip((line.entry, line.against), line.treatments, strict=True)
    ]


def _rows(
    study: Study, line: Line, found: list[tuple[str, dict[int, float]]]
) -> Iterator[dict[str, Any]]:
    """What is known of a line in each population."""
    start, base = found[0]
    for population, values in found:
        (subject, where), (against, other) = _sides(line, population)
        seen = _seen(study, line, population)
        unit = 1 / seen if seen else resolution(study.runs, subject, where)
        e = stats.t_interval(list(values.values()), resolution=unit)
        moved = stats.welch_difference(list(values.values()), list(base.values()), resolution=unit)
        change = moved if population != start else None
        yield {
            "population": population, "network": _network(study, population),
            "subject": subject, "batchnorm": where.batchnorm,
            "against": against, "against_batchnorm": other.batchnorm,
            "leaky": study.paper.methods[line.entry].leaky, "n": e.n,
            "difference": e.mean, "low": e.low, "high": e.high,
            "change": change.mean if change else np.nan,
            "change_low": change.low if change else np.nan,
            "change_high": change.high if change else np.nan,
        }  # fmt: skip


def _network(study: Study, population: str) -> str:
    """The network that a population's members are, as the spec names it."""
    trained = study.paper.trained_for(population)
    return study.paper.models[trained[0]].build if trained else ""
