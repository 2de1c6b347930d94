"""Numbers of `runs.csv` side by side: which are meant, which are pairs, how they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mergesuite.core import frames
from mergesuite.errors import UserError
from mergesuite.experiment import spec
from mergesuite.judge import stats
from mergesuite.stages.columns import COLUMNS

PAIRED = "95 % t interval over pairs"
UNPAIRED = "95 % t interval, unpaired (Welch)"


@dataclass(frozen=True)
class Where:
    """Which numbers of a subject are meant."""

    metric: str = "accuracy"
    split: str = "test"
    batchnorm: str = "keep"

    def __str__(self) -> str:
        """As it is named in a reason."""
        parts = [self.metric, self.split, f"batchnorm {self.batchnorm}"]
        return " ".join(part for part in parts if not part.endswith("-"))


@dataclass(frozen=True)
class Comparison:
    """Subject minus against (or their ratio, if `ratio`), with how it was compared."""

    effect: stats.Effect
    subject: float
    against: float
    paired: bool
    undefined: str = ""

    @property
    def spread_kind(self) -> str:
        """What the interval is."""
        return PAIRED if self.paired else UNPAIRED


def read_runs(path: Path) -> pd.DataFrame:
    """The tidy frame of one paper and profile.

    Raises:
        UserError: the file is missing, or is not the table that `mergesuite collect` writes.
    """
    runs = frames.read_csv(path)
    if lacking := [name for name in COLUMNS if name not in runs.columns]:
        raise UserError(
            f"{path} should have the columns of `mergesuite collect`, found none called "
            f"{', '.join(lacking)}: run `mergesuite collect` again"
        )
    key = ["subject", "metric", "split", "batchnorm", "seed"]
    if twice := runs[runs.duplicated(key)].to_dict("records"):
        found = " ".join(str(twice[0][name]) for name in key)
        raise UserError(f"{path} should hold each measurement once, found twice: {found}; collect")
    runs["leaky"] = runs["leaky"].astype(str).str.lower().isin(["true", "1"])
    return runs


def samples(runs: pd.DataFrame, subject: str, where: Where) -> dict[int, float]:
    """Seed -> value of one subject; empty where nothing was measured.

    Costs have no split and no BatchNorm treatment: a `-` in `runs` matches what is asked. In a
    network without BatchNorm all treatments are one, and `keep` is the name it goes by. What mixes
    no weights has no `average`: there it counts as it is.
    """
    mine = (runs["subject"] == subject) & (runs["metric"] == where.metric)
    mine &= runs["split"].isin([where.split, "-"])
    treatment = runs["batchnorm"].to_numpy()[mine.to_numpy()]
    seeds, values = (runs[name].to_numpy()[mine.to_numpy()] for name in ("seed", "value"))
    wanted = treatment == where.batchnorm
    if not wanted.any() and (where.batchnorm == "average" or set(treatment) <= {"keep", "-"}):
        wanted = np.isin(treatment, ["keep", "-"])
    found = {int(s): float(v) for s, v in zip(seeds[wanted], values[wanted], strict=True)}
    return dict(sorted(found.items()))


def resolution(runs: pd.DataFrame, subject: str, where: Where) -> float:
    """The smallest step of a metric: one image for an accuracy, 0 for anything else."""
    if where.metric != "accuracy":
        return 0.0
    mine = (runs["subject"] == subject) & (runs["metric"] == "accuracy")
    mine &= runs["split"] == where.split
    images = runs["n"].to_numpy()[mine.to_numpy()]
    return 1.0 / float(images.min()) if len(images) and images.min() > 0 else 0.0


def contrast(
    a: Mapping[int, float],
    b: Mapping[int, float],
    paired: bool = True,
    step: float = 0.0,
    ratio: bool = False,
) -> Comparison:
    """Compare seed -> value of two subjects; values that are not finite are left out."""
    first = {seed: value for seed, value in a.items() if math.isfinite(value)}
    second = {seed: value for seed, value in b.items() if math.isfinite(value)}
    if paired:
        seeds = sorted(first.keys() & second.keys())
        first, second = ({s: x[s] for s in seeds} for x in (first, second))
    x, y = (np.array(list(values.values())) for values in (first, second))
    means = [float(v.mean()) if len(v) else math.nan for v in (x, y)]
    if ratio:
        effect, undefined = _ratio(x, y, paired)
        return Comparison(effect, means[0], means[1], paired, undefined)
    test = stats.paired_difference if paired else stats.welch_difference
    return Comparison(test(x, y, resolution=step), means[0], means[1], paired)


def _ratio(x: np.ndarray, y: np.ndarray, paired: bool) -> tuple[stats.Effect, str]:
    """`x / y` with its interval on the log scale, or why there is none."""
    if len(x) and len(y) and min(x.min(), y.min()) <= 0:
        nan = math.nan
        nothing = stats.Effect(nan, nan, nan, min(len(x), len(y)), nan, nan, nan)
        return nothing, "a measured value is zero, so there is no ratio"
    e = stats.log_ratio(x, y, paired)
    # With e.mean NaN (no pairs at all) exp keeps it NaN.
    mean, low, high = (math.exp(v) for v in (e.mean, e.low, e.high))
    return stats.Effect(mean, low, high, e.n, e.p, e.se, e.df), ""


def have_pairs(paper: spec.Paper, subject: str, against: str) -> bool:
    """Whether equal seeds of two subjects share their parents, or one continues the other."""
    subjects = paper.all_subjects()
    first, second = subjects[subject], subjects[against]
    if first and second:
        return first[1] == second[1]
    if first or second:
        return False
    starts = {paper.models[subject].start, paper.models[against].start}
    return subject in starts or against in starts
