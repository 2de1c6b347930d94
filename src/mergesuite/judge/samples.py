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
from mergesuite.judge.crossed import crossed
from mergesuite.stages.columns import COLUMNS, WHOLE
from mergesuite.stages.hits import Hits

CROSSED = "t interval over pairs and test images"
PAIRED = "t interval over pairs"
UNPAIRED = "t interval, unpaired (Welch)"


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
    """Subject minus against (or their ratio, if `ratio`), with how it was compared.

    Attributes:
        effect: the mean difference or the factor, with its interval.
        subject: mean of the subject.
        against: mean of what it is compared with.
        spread_kind: what the interval is.
        variance: of one pair's difference (of its logarithm, for a ratio); NaN without pairs.
        search_variance: the part of it that comes of the search seed, if there are several.
        image_variance: variance of the mean that comes of the choice of test images.
        both_variance: the part of `variance` that comes of it; NaN where images are not crossed.
        is_ratio: the effect is a factor.
        undefined: why there is no number, in words.
    """

    effect: stats.Effect
    subject: float
    against: float
    spread_kind: str = PAIRED
    variance: float = math.nan
    search_variance: float = math.nan
    image_variance: float = 0.0
    both_variance: float = math.nan
    is_ratio: bool = False
    undefined: str = ""


def read_runs(path: Path) -> pd.DataFrame:
    """The tidy frame of one paper and profile.

    Raises:
        UserError: the file is missing, or is not the table that `mergesuite collect` writes.
    """
    runs = frames.read_csv(path, numbers=["value"], whole=WHOLE)
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
    # Every number is looked for by these: a comparison of words takes ten times one of codes.
    return runs.astype(dict.fromkeys(("subject", "metric", "split", "batchnorm"), "category"))


def samples(runs: pd.DataFrame, subject: str, where: Where) -> dict[int, float]:
    """Seed -> value of one subject; empty where nothing was measured.

    Costs have no split and no BatchNorm treatment: a `-` in `runs` matches what is asked. In a
    network without BatchNorm all treatments are one, and `keep` is the name it goes by. What mixes
    no weights, or those of aligned parents, has no `average`: there it counts as it is.
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


def by_replicate(values: Mapping[int, float]) -> dict[int, float]:
    """Seed -> value as replicate -> mean over its searches; values not finite are left out."""
    found = _searches(values)
    return {replicate: float(np.mean(found[replicate])) for replicate in sorted(found)}


def _searches(values: Mapping[int, float]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for seed, value in values.items():
        if math.isfinite(value):
            found.setdefault(spec.replicate_of(seed), []).append(value)
    return found


def search_variance(a: Mapping[int, float], b: Mapping[int, float]) -> float:
    """Variance of a replicate's mean difference that comes of its search seeds; NaN with one each.

    What is searched once has no such part that could be told from that of its parents.
    """
    parts = []
    for values in (a, b):
        several = [np.array(v) for v in _searches(values).values() if len(v) > 1]
        if several:
            parts.append(float(np.mean([v.var(ddof=1) / len(v) for v in several])))
    return sum(parts) if parts else math.nan


def contrast(
    a: Mapping[int, float],
    b: Mapping[int, float],
    paired: bool = True,
    step: float = 0.0,
    ratio: bool = False,
    level: float = stats.LEVEL,
) -> Comparison:
    """Compare seed -> value of two subjects, replicate by replicate if they are paired."""
    first, second = by_replicate(a), by_replicate(b)
    if paired:
        seeds = sorted(first.keys() & second.keys())
        first, second = ({s: x[s] for s in seeds} for x in (first, second))
    x, y = (np.array(list(values.values())) for values in (first, second))
    means = [float(v.mean()) if len(v) else math.nan for v in (x, y)]
    undefined = ""
    if ratio:
        effect, undefined = _ratio(x, y, paired, level)
    else:
        test = stats.paired_difference if paired else stats.welch_difference
        effect = test(x, y, level, step)
    return Comparison(
        effect,
        *means,
        spread_kind=PAIRED if paired else UNPAIRED,
        # Of unpaired samples, what a pair of one value each would have.
        variance=effect.se**2 * effect.n,
        search_variance=math.nan if ratio else search_variance(a, b),
        is_ratio=ratio,
        undefined=undefined,
    )


def contrast_by_image(
    right: Hits, subject: str, against: str, treatment: str, images: int, level: float
) -> Comparison | None:
    """The same of accuracies on test, for other images too (`crossed`); None without hits."""
    a, b = (right_of(right, name, treatment, images) for name in (subject, against))
    replicates = sorted(a.keys() & b.keys())
    if len(replicates) < 2 or images < 2:
        return None
    first, second = (np.stack([x[r] for r in replicates]) for x in (a, b))
    found = crossed(first - second, level, 1 / images)
    return Comparison(
        found.effect,
        float(first.mean()),
        float(second.mean()),
        CROSSED,
        found.pairs,
        image_variance=found.images,
        both_variance=found.both,
    )


def right_of(right: Hits, subject: str, treatment: str, images: int) -> dict[int, np.ndarray]:
    """Replicate -> `(images,)` share of its searches that are right."""
    found: dict[int, list[np.ndarray]] = {}
    for seed in sorted({seed for name, seed, _ in right if name == subject}):
        # As in `samples`: where a treatment changes nothing, `keep` is the name it goes by.
        bits = right.get((subject, seed, treatment), right.get((subject, seed, "keep")))
        if bits is not None:
            found.setdefault(spec.replicate_of(seed), []).append(np.unpackbits(bits, count=images))
    return {replicate: np.mean(bits, axis=0) for replicate, bits in found.items()}


def _ratio(x: np.ndarray, y: np.ndarray, paired: bool, level: float) -> tuple[stats.Effect, str]:
    """`x / y` with its interval on the log scale, or why there is none."""
    if len(x) and len(y) and min(x.min(), y.min()) <= 0:
        nan = math.nan
        nothing = stats.Effect(nan, nan, nan, min(len(x), len(y)), nan, nan, nan)
        return nothing, "a measured value is zero, so there is no ratio"
    e = stats.log_ratio(x, y, paired, level)
    # With e.mean NaN (no pairs at all) exp keeps it NaN.
    mean, low, high = (math.exp(v) for v in (e.mean, e.low, e.high))
    return stats.Effect(mean, low, high, e.n, e.p, e.se, e.df), ""


def have_pairs(paper: spec.Paper, subject: str, against: str) -> bool:
    """Whether equal seeds share their parents, or one is what the other was made from."""
    subjects = paper.all_subjects()
    first, second = subjects[subject], subjects[against]
    if first and second:
        return first[1] == second[1]
    if first or second:
        merged, model = (first, against) if first else (second, subject)
        return bool(merged) and _all_start_at(paper, merged[1], model)
    starts = {paper.models[subject].start, paper.models[against].start}
    return subject in starts or against in starts


def _all_start_at(paper: spec.Paper, population: str, model: str) -> bool:
    """Whether the members of replicate r are all trained on from seed r of a model."""
    made = paper.populations[population]
    by_seed = bool(made.models or made.epochs) and paper.models[model].seeds > 1
    trained = paper.trained_for(population)
    return by_seed and all(paper.models[name].start == model for name in trained) and bool(trained)


def run_interval(made: Comparison, level: float) -> tuple[float, float]:
    """Where the effect of one more pair falls: its logarithm, for a ratio.

    A prediction interval: what the paper reports of one run is compared with it. Unpaired samples
    stand for pairs of one value each.
    """
    e = made.effect
    if math.isnan(e.se) or math.isnan(made.variance):
        return math.nan, math.nan
    middle = (e.low + e.high) / 2 if not made.is_ratio else (math.log(e.low) + math.log(e.high)) / 2
    half = stats.quantile(level, e.df) * math.sqrt(made.variance + e.se**2)
    return middle - half, middle + half
