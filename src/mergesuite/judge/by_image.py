"""McNemar's test over test images.

An interval over pairs asks what other trainings would show. McNemar's test asks what other test
images would, of the very networks of one pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergesuite.experiment.spec import SEARCH
from mergesuite.judge import stats
from mergesuite.stages.hits import Hits


@dataclass(frozen=True)
class ByImage:
    """McNemar's test in every pair of a comparison.

    Attributes:
        p: median over the pairs; NaN without any.
        more: pairs in which the subject is right on significantly more images (5 %, unadjusted).
        fewer: pairs in which it is right on significantly fewer.
    """

    p: float = math.nan
    more: int = 0
    fewer: int = 0


def by_image(hits: Hits, subject: str, against: str, treatment: str) -> ByImage:
    """Compare two subjects of one population, replicate by replicate, image by image.

    Of several searches the first counts: images that are right in half of them are no test.
    """
    tests = []
    for seed in sorted({seed for name, seed, _ in hits if name == subject and seed < SEARCH}):
        a, b = (_bits(hits, name, seed, treatment) for name in (subject, against))
        if a is None or b is None or a.shape != b.shape:
            continue
        only_a, only_b = (int(np.bitwise_count(x & ~y).sum()) for x, y in ((a, b), (b, a)))
        tests.append((stats.mcnemar(only_a, only_b), only_a > only_b))
    if not tests:
        return ByImage()
    clear = [more for p, more in tests if p < 0.05]
    return ByImage(float(np.median([p for p, _ in tests])), clear.count(True), clear.count(False))


def _bits(hits: Hits, subject: str, seed: int, treatment: str) -> NDArray[np.uint8] | None:
    """As in `samples.samples`: where a treatment changes nothing, `keep` is the name it goes by."""
    return hits.get((subject, seed, treatment), hits.get((subject, seed, "keep")))
