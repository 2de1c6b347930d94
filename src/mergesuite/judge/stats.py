"""Statistics that hold for three to ten seeds.

Read `paired_difference` first: nearly every number of the suite with an interval comes from it.
Intervals of means are Student t intervals; with so few seeds a percentile bootstrap covers far
less than it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

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


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise ValueError("values must be finite: leave out runs without a value before")
    return array


def quantile(level: float, df: float) -> float:
    """How many standard errors a two-sided t interval reaches to either side."""
    if math.isinf(df):
        return float(special.ndtri(0.5 + level / 2))
    return float(special.stdtrit(df, 0.5 + level / 2))


def half_width(estimated: Any, df: float, known: Any, level: float) -> Any:
    """Half the interval of a mean whose variance has two parts; arrays go elementwise.

    Args:
        estimated: the part that `df` degrees of freedom estimate.
        df: these.
        known: the part that so many estimate that it counts as known.
        level: coverage of the interval.

    Source: Howe 1974, equation 2.3; "square-and-add" of Zou and Donner 2008.
    """
    return np.sqrt(estimated * quantile(level, df) ** 2 + known * quantile(level, math.inf) ** 2)


def degrees(errors: float, least: float, level: float) -> float:
    """Degrees of freedom, `least` or more, at which a t interval reaches so many errors."""
    return max(least, float(special.stdtridf(0.5 + level / 2, errors)))


def of_standard_error(mean: float, se: float, df: float, n: int, level: float) -> Effect:
    """An effect from its standard error; without spread the interval is a point."""
    if math.isnan(se):
        return Effect(mean, math.nan, math.nan, n, math.nan, se, df)
    if se == 0:
        return Effect(mean, mean, mean, n, 0.0 if mean else 1.0, se, df)
    half = quantile(level, df) * se
    p = 2 * float(special.stdtr(df, -abs(mean) / se))
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
    return of_standard_error(float(array.mean()), sd / math.sqrt(n), n - 1, n, level)


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
    return of_standard_error(float(first.mean() - second.mean()), math.sqrt(variance), df, n, level)


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


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p that two models err equally often (McNemar 1947).

    `only_a` images are right by the first model alone, `only_b` by the second alone.
    """
    if only_a + only_b == 0:
        return 1.0
    fewer = min(only_a, only_b)
    return min(1.0, 2 * float(special.bdtr(fewer, only_a + only_b, 0.5)))


def paired_proportions(
    only_a: int, only_b: int, n: int, level: float = LEVEL
) -> tuple[float, float]:
    """Ends of the interval of a difference of two proportions over the same `n` items.

    `only_a` items count for the first alone, `only_b` for the second alone. The score interval: it
    holds the differences that a score test does not reject, of which McNemar's is that of zero. It
    has a width where no item tells the two apart, and holds its level for few items.

    Source: Tango 1998, Statistics in Medicine 17, 891-908, equations 8 to 12.
    """
    z = quantile(level, math.inf)
    mean = (only_a - only_b) / n

    def beyond(difference: float) -> float:
        """The score statistic, less than z in absolute value for what is in the interval."""
        d = difference
        b = (2 * n - only_a + only_b) * d - only_a - only_b
        q = (math.sqrt(max(0.0, b * b + 8 * n * only_b * d * (1 - d))) - b) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        missing = only_a - only_b - n * d
        if not missing:
            return 0.0
        return missing / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, missing)

    def end(side: float) -> float:
        edge = side * (1 - 1e-12)
        if abs(beyond(edge)) <= z or mean == side:
            return side
        bracket = (min(mean, edge), max(mean, edge))
        return optimize.root_scalar(
            lambda d: beyond(d) + side * z, bracket=bracket, method="brentq", xtol=1e-12
        ).root

    return end(-1.0), end(1.0)


@dataclass(frozen=True)
class Prior:
    """What is known of a variance before it is measured: worth `df` degrees of freedom."""

    variance: float
    df: float

    def moderated(self, variance: float, df: float) -> tuple[float, float]:
        """A measured variance drawn to the prior's, and its degrees of freedom."""
        if math.isinf(self.df):
            return self.variance, math.inf
        if df <= 0:
            return self.variance, self.df
        return (self.df * self.variance + df * variance) / (self.df + df), self.df + df


def variance_prior(variances: ArrayLike, dfs: ArrayLike) -> Prior:
    """The scaled inverse chi-square from which variances come (Smyth 2004, section 6.2).

    Method of moments on their logarithms: how much these spread beyond what their own degrees of
    freedom explain says how much the true variances differ.

    Args:
        variances: `(k,)` above zero, k of two at least.
        dfs: `(k,)` degrees of freedom of each.
    """
    v, d = _finite(variances), _finite(dfs)
    if len(v) < 2 or v.min() <= 0 or d.min() <= 0:
        raise ValueError("needed are two variances above zero at least, each with freedom")
    e = np.log(v) - special.digamma(d / 2) + np.log(d / 2)
    beyond = float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
    if beyond <= 0:
        return Prior(math.exp(float(e.mean())), math.inf)
    df = 2 * _inverse_trigamma(beyond)
    shift = float(special.digamma(df / 2)) - math.log(df / 2)
    return Prior(math.exp(float(e.mean()) + shift), df)


def _inverse_trigamma(value: float) -> float:
    """The y with trigamma(y) = `value`, above 0."""

    # Trigamma falls from 1e16 to 1e-8 between the ends, about evenly on log scales.
    def beyond(log: float) -> float:
        return float(special.polygamma(1, math.exp(log))) - value

    bracket = (math.log(1e-8), math.log(1e8))
    return math.exp(optimize.root_scalar(beyond, bracket=bracket, method="brentq").root)
