"""What an experiment of a size can see, and the size that sees an effect.

The variance of a mean over pairs is `pairs / n + fixed`: what more pairs make smaller, and what
they leave as it is, because all pairs are measured on the same test images. Power is that of a
two-sided interval (`stats.half_width`) to exclude zero on the side of the effect: noncentral t. Of
the variance only the part of the pairs is a guess from few numbers, so its degrees of freedom are
those of Satterthwaite (1946) with the part of the images, of which there are hundreds, as known.
"""

from __future__ import annotations

import math

from scipy import optimize, special

from mergesuite.judge.stats import half_width

POWER = 0.80
MOST_PAIRS = 100_000
MOST_FREE = 10_000.0
"""As good as infinitely many: the quantiles are those of a normal distribution."""


def power(effect: float, pairs: float, fixed: float, n: int, level: float) -> float:
    """The chance that the interval lies above zero, if `effect` is the truth.

    Args:
        effect: true mean of the differences, above zero.
        pairs: variance of one pair's difference.
        fixed: variance of the mean that more pairs do not change.
        n: pairs.
        level: coverage of the interval.
    """
    if n < 2:
        return 0.0
    se = math.sqrt(pairs / n + fixed)
    if se == 0:
        return 1.0
    df = _free(pairs, fixed, n)
    bound = half_width(pairs / n, n - 1, fixed, level) / se
    # Not scipy.stats: the same numbers, and a report asks for thousands.
    found = 1.0 - float(special.nctdtr(df, effect / se, bound))
    # It gives up far out in the tail, where power is 1.
    return found if math.isfinite(found) else 1.0


def _free(pairs: float, fixed: float, n: int) -> float:
    """Degrees of freedom of `pairs / n + fixed`; n - 1 where nothing is fixed."""
    if not fixed:
        return n - 1
    part = pairs / n
    return min((part + fixed) ** 2 * (n - 1) / part**2, MOST_FREE) if part else MOST_FREE


def detectable(pairs: float, fixed: float, n: int, level: float) -> float:
    """The smallest effect that `n` pairs show with 80 % power; infinite for fewer than two.

    NaN where the variance is not known.
    """
    if n < 2:
        return math.inf
    se = math.sqrt(pairs / n + fixed)
    if math.isnan(se):
        return math.nan
    if se == 0:
        return 0.0

    def lacking(effect: float) -> float:
        return power(effect * se, pairs, fixed, n, level) - POWER

    most = 2 * float(half_width(pairs / n, n - 1, fixed, level)) / se + 3
    return optimize.root_scalar(lacking, bracket=(0.0, most), method="brentq").root * se


def pairs_needed(effect: float, pairs: float, fixed: float, level: float) -> int | None:
    """The fewest pairs that show `effect` with 80 % power; None if no number of them does."""
    if math.isnan(pairs) or not effect > 0:
        return None

    def enough(n: int) -> bool:
        return power(effect, pairs, fixed, n, level) >= POWER

    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_PAIRS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def images_needed(effect: float, se_images: float, images: float, level: float) -> float:
    """The test images that show `effect` with 80 % power in as many pairs as one likes; or NaN.

    A bound from below: fewer pairs need more images.

    Args:
        effect: true mean of the differences, above zero.
        se_images: what the choice of test images adds to the standard error of the mean.
        images: test images that this is so for.
        level: coverage of the interval.
    """
    if not (effect > 0 and se_images > 0 and images > 0):
        return math.nan
    quantiles = special.ndtri((1 + level) / 2) + special.ndtri(POWER)
    return math.ceil(images * (se_images * quantiles / effect) ** 2)
