"""The embedded data sets at 12 x 12 and 10 x 10 pixels: each pixel is the mean of its area.

A seventh or a tenth of the computing for such images, so that a search of the size that a paper
reports fits a laptop. The digits were written on 8 x 8 pixels. Bytes are the same on every machine.

`digits12` and `digits5-12` show the very images of `digits` and `digits5`. `digits10` and
`digits5-10` are composed from other streams, with the same division of the handwriting, and
`digits10` has four times the test images: where two networks differ on a few images, the choice of
5,000 was most of what two pairs of parents differed by.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from mergesuite.core import digests
from mergesuite.data import digits
from mergesuite.data.composed import Composed
from mergesuite.data.sources import SPLITS, LazySplit, Source, dataset

SIZES = {"fit": 8000, "search": 2000, "test": 5000}
MORE = {"fit": 8000, "search": 2000, "test": 20000}
SAME = {"digits12": "digits", "digits5-12": "digits5"}
"""Data sets that show the images of another."""
LAPTOP = ("digits10", "digits5-10")
"""Those of the profile with hundreds of short jobs."""
CITE = (
    "Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)"
)


@dataset(
    "digits12",
    classes=10,
    size=12,
    splits=SIZES,
    origin="embedded: `digits` at 12 x 12 pixels",
    cite=CITE,
)
@dataset(
    "digits5-12",
    classes=5,
    size=12,
    splits=SIZES,
    origin="embedded: `digits5` at 12 x 12 pixels",
    cite=CITE,
)
@dataset(
    "digits10",
    classes=10,
    size=10,
    splits=MORE,
    origin="embedded: composed as `digits` is, at 10 x 10 pixels",
    cite=CITE,
)
@dataset(
    "digits5-10",
    classes=5,
    size=10,
    splits=SIZES,
    origin="embedded: composed as `digits5` is, at 10 x 10 pixels",
    cite=CITE,
)
def load(name: str, root: Path) -> Source:
    """The splits of one of these data sets."""
    larger = SAME.get(name, name)
    side = int(name[-2:])  # each is called by its pixels
    splits = {}
    for split in SPLITS:
        planned = digits.plan(larger, split, (MORE if name == "digits10" else SIZES)[split])
        composed = Composed(partial(_composed, planned, side), len(planned.labels), side)
        key = f"{name} {split} {digests.code('data.reduced_digits')}"
        splits[split] = LazySplit(planned.labels, planned.sources, composed.kept_as(key))
    return Source(splits, tuple(str(digit) for digit in range(digits.CLASSES[larger])), {})


def _composed(planned: digits.Plan, side: int, rows: np.ndarray) -> np.ndarray:
    return reduced(digits.compose(planned, rows), side)


def reduced(images: np.ndarray, side: int) -> np.ndarray:
    """Uint8 `(n, c, 32, 32)` -> `(n, c, side, side)`: means over areas, halves rounded up."""
    # So many parts of a source pixel's side are one pixel's side: all areas are whole parts.
    size = digits.SIDE // math.gcd(digits.SIDE, side)
    cover = np.repeat(np.eye(side, dtype=np.float32), size, axis=1)
    cover = cover.reshape(side, digits.SIDE, -1).sum(axis=2)
    # Sums of whole numbers below 2^24, which float32 holds: no order of adding changes them.
    sums = (cover @ images.astype(np.float32) @ cover.T).astype(np.uint32)
    return ((sums + size * size // 2) // (size * size)).astype(np.uint8)
