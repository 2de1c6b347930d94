"""Two networks on the same test images: what other images would say of these very networks.

Nothing here is about other trainings: an interval over images is no interval over parents
(`crossed` has both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mergesuite.judge import power, stats
from mergesuite.judge.verdict import ALPHA

BETTER, WORSE, OPEN = "better", "worse", "not distinguishable"


@dataclass(frozen=True)
class Paired:
    """The difference in accuracy of two networks on `n` images.

    Attributes:
        mean: accuracy of the first minus that of the second.
        low: lower end of its interval.
        high: upper end.
        only_first: images that the first alone gets right.
        only_second: those that the second alone gets right.
        n: images.
    """

    mean: float
    low: float
    high: float
    only_first: int
    only_second: int
    n: int

    @property
    def word(self) -> str:
        """What the interval says of the first: `BETTER`, `WORSE`, or `OPEN` where 0 is in it."""
        return BETTER if self.low > 0 else WORSE if self.high < 0 else OPEN

    @property
    def p(self) -> float:
        """McNemar's exact p, of this comparison alone."""
        return stats.mcnemar(self.only_first, self.only_second)

    @property
    def variance(self) -> float:
        """Of one image's difference; that of one image that tells the two apart at least."""
        apart = max(1, self.only_first + self.only_second)
        return max(apart / self.n - self.mean**2, 1 / self.n**2)


def paired(first: ArrayLike, second: ArrayLike, level: float) -> Paired:
    """Compare what two networks get right, `(n,)` bool each, image by image.

    Raises:
        ValueError: they are of other numbers of images, or of none.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"pairs need the same images, found {a.shape} and {b.shape}")
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    low, high = stats.paired_proportions(only_a, only_b, n, level)
    return Paired((only_a - only_b) / n, low, high, only_a, only_b, n)


def simultaneous(comparisons: int) -> float:
    """The level of each of so many intervals that all hold in 95 % of cases (Bonferroni)."""
    return 1 - ALPHA / max(1, comparisons)


def resolved(pairs: Sequence[Paired], level: float) -> float:
    """The true difference that such a comparison shows with a chance of 80 %, of a typical pair.

    It is no less than an interval reaches to either side: where hardly an image tells two networks
    apart, their variance is not known so well. NaN without any pair.
    """
    if not pairs:
        return float("nan")
    seen = [
        max(power.detectable(pair.variance, 0.0, pair.n, level), (pair.high - pair.low) / 2)
        for pair in pairs
    ]
    return float(np.median(seen))
