"""What picking the best parent does to its accuracy: the regression to the mean.

The best of several parents on some images is partly the luckiest on them. On other images it falls
back, and one that was picked on the test images themselves looks better than it is: a paper's
baseline that was picked there is not the one that a held-out choice would have given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.gains import baseline
from mergesuite.judge.samples import Comparison, Where, by_replicate, contrast, samples

SELECTION_COLUMNS = (
    "subject", "population", "batchnorm", "n", "search", "test",
    "optimism", "optimism_low", "optimism_high", "mean_optimism",
    "on_test", "on_test_more", "on_test_low", "on_test_high",
)  # fmt: skip


def selection(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per population and BatchNorm treatment that its best parent was picked under.

    `optimism` is the best parent's accuracy on the images it was picked by minus that on test, and
    `mean_optimism` the same of the mean parent: what the two splits differ by without any choice.
    `on_test` is the test accuracy of the parent that was picked on test under the same treatment.
    """
    rows = []
    for population in paper.active():
        for batchnorm in ("keep", "re-estimate"):
            subject = baseline(paper, "best-parent", population, batchnorm)
            entry = paper.entry_of(subject) if subject else None
            if subject and entry and entry.fitness.batchnorm == batchnorm:
                rows += _row(paper, runs, subject, population, batchnorm)
    return pd.DataFrame(rows, columns=list(SELECTION_COLUMNS))


def _row(
    paper: spec.Paper, runs: pd.DataFrame, subject: str, population: str, batchnorm: str
) -> list[dict[str, Any]]:
    """The row of one best parent; none where it was not measured."""
    at = {split: Where("accuracy", split, batchnorm) for split in ("search", "test")}
    search, test = (samples(runs, subject, where) for where in at.values())
    if not test:
        return []
    fall, other = contrast(search, test), _picked_on_test(paper, population, batchnorm)
    found = samples(runs, other, at["test"]) if other else {}
    rise = contrast(found, test)
    return [
        {"subject": subject, "population": population, "batchnorm": batchnorm}
        | {"n": len(by_replicate(test)), "search": _mean(search), "test": _mean(test)}
        | _ends("optimism", "optimism", fall)
        | {"mean_optimism": _mean_optimism(paper, runs, population, at)}
        | {"on_test": _mean(found)}
        | _ends("on_test_more", "on_test", rise)
    ]


def _picked_on_test(paper: spec.Paper, population: str, batchnorm: str) -> str | None:
    """The best parent by the test images, under a treatment."""
    for slug, entry in paper.methods.items():
        how = (entry.use, entry.fitness.split, entry.fitness.batchnorm)
        here = paper.is_for(slug, population)
        if here and how == ("best-parent", "test", batchnorm):
            return f"{slug}-{population}"
    return None


def _mean_optimism(
    paper: spec.Paper, runs: pd.DataFrame, population: str, at: dict[str, Where]
) -> float:
    subject = baseline(paper, "mean-parent", population, at["test"].batchnorm)
    if subject is None:
        return math.nan
    search, test = (samples(runs, subject, where) for where in at.values())
    return _mean(search) - _mean(test)


def _mean(values: dict[int, float]) -> float:
    return float(np.mean(list(by_replicate(values).values()))) if values else math.nan


def _ends(mean: str, prefix: str, made: Comparison) -> dict[str, float]:
    effect = made.effect
    return {mean: effect.mean, f"{prefix}_low": effect.low, f"{prefix}_high": effect.high}
