"""Statistics that hold for three to ten seeds.

Read `paired_difference` first: nearly every number of the suite with an interval comes from it.
Intervals of means are Student t intervals; with so few seeds a percentile bootstrap covers far
less than it says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """A mean, or a difference of means, with its t interval and the p value of "it is zero".

    Interval and p are NaN where there are too few values (fewer than two).
    """

    mean: float
    low: float
    high: float
    n: int
    p: float
    se: float
    df: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: `p` is the larger of the two, `low` and `high` the 90 % interval."""

    equivalent: bool
    p: float
    low: float
    high: float


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise ValueError("values must be finite: leave out runs without a value before")
    return array


def _effect(mean: float, se: float, df: float, n: int, level: float) -> Effect:
    """An effect from its standard error; without spread the interval is a point."""
    if math.isnan(se):
        return Effect(mean, math.nan, math.nan, n, math.nan, se, df)
    if se == 0:
        return Effect(mean, mean, mean, n, 0.0 if mean else 1.0, se, df)
    half = float(scipy_stats.t.ppf(0.5 + level / 2, df)) * se
    p = 2 * float(scipy_stats.t.sf(abs(mean) / se, df))
    return Effect(mean, mean - half, mean + half, n, p, se, df)


def t_interval(values: ArrayLike, level: float = LEVEL, resolution: float = 0.0) -> Effect:
    """Mean of `(n,)` values with its Student t interval.

    Args:
        values: one number per seed, finite.
        level: coverage of the interval.
        resolution: the smallest step the values can take (one image, for an accuracy). The
            standard deviation is taken as no smaller: three seeds that all gain exactly one
            image show the grid of the measurement, not an effect without noise.
    """
    array = _finite(values)
    n = len(array)
    if n < 2:
        mean = float(array.mean()) if n else math.nan
        return Effect(mean, math.nan, math.nan, n, math.nan, math.nan, math.nan)
    sd = max(float(array.std(ddof=1)), resolution)
    return _effect(float(array.mean()), sd / math.sqrt(n), n - 1, n, level)


def paired_difference(
    a: ArrayLike, b: ArrayLike, level: float = LEVEL, resolution: float = 0.0
) -> Effect:
    """Mean of `a - b`, pair by pair, both `(n,)`; `resolution` as in `t_interval`."""
    first, second = _finite(a), _finite(b)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, found {len(first)} and {len(second)}")
    return t_interval(first - second, level, resolution)


def welch_difference(
    a: ArrayLike, b: ArrayLike, level: float = LEVEL, resolution: float = 0.0
) -> Effect:
    """Difference of two independent means, `(n,)` and `(m,)` (Welch); `n` is the smaller one."""
    first, second = _finite(a), _finite(b)
    n = min(len(first), len(second))
    if n < 2:
        mean = float(first.mean() - second.mean()) if n else math.nan
        return Effect(mean, math.nan, math.nan, n, math.nan, math.nan, math.nan)
    parts = [max(float(x.std(ddof=1)), resolution) ** 2 / len(x) for x in (first, second)]
    variance = sum(parts)
    spread = parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1)
    df = variance**2 / spread if spread else float(n - 1)
    return _effect(float(first.mean() - second.mean()), math.sqrt(variance), df, n, level)


def log_ratio(a: ArrayLike, b: ArrayLike, paired: bool = True, level: float = LEVEL) -> Effect:
    """`log(a / b)`, the effect for costs: exponentiate mean, low and high to get the factor.

    Raises:
        ValueError: a value is not above zero.
    """
    first, second = _finite(a), _finite(b)
    if min(first.min(initial=1.0), second.min(initial=1.0)) <= 0:
        raise ValueError("a ratio needs values above zero")
    test = paired_difference if paired else welch_difference
    return test(np.log(first), np.log(second), level)


def equivalence(effect: Effect, target: float, margin: float, alpha: float = 0.05) -> Equivalence:
    """Is the effect within `margin` of `target`? Two one-sided t tests (Schuirmann 1987)."""
    if margin <= 0:
        raise ValueError(f"the margin must be above zero, found {margin}")
    if math.isnan(effect.se):
        return Equivalence(False, math.nan, math.nan, math.nan)
    if effect.se == 0:
        inside = abs(effect.mean - target) < margin
        return Equivalence(inside, 0.0 if inside else 1.0, effect.mean, effect.mean)
    offset = effect.mean - target
    above = float(scipy_stats.t.sf((offset + margin) / effect.se, effect.df))
    below = float(scipy_stats.t.cdf((offset - margin) / effect.se, effect.df))
    half = float(scipy_stats.t.ppf(1 - alpha, effect.df)) * effect.se
    p = max(above, below)
    return Equivalence(p < alpha, p, effect.mean - half, effect.mean + half)


def holm(pvalues: Sequence[float]) -> list[float]:
    """P values adjusted for testing all of them (Holm 1979); NaN stays and does not count."""
    adjusted = [math.nan] * len(pvalues)
    order = sorted(
        (i for i, p in enumerate(pvalues) if not math.isnan(p)),
        key=lambda i: pvalues[i],
    )
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * pvalues[index]))
        adjusted[index] = highest
    return adjusted


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that two models err equally often (McNemar 1947).

    `only_a` images are right by the first model alone, `only_b` by the second alone.
    """
    if only_a + only_b == 0:
        return 1.0
    return float(scipy_stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)
