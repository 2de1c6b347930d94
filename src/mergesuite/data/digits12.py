"""The embedded data sets at 12 x 12 pixels: each pixel is the mean of the area it covers.

A seventh of the computing for the same images, so that a search of the size that a paper reports
fits a laptop. The digits were written on 8 x 8 pixels. Bytes are the same on every machine.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mergesuite.core import digests
from mergesuite.data import digits
from mergesuite.data.composed import Composed
from mergesuite.data.sources import SPLITS, LazySplit, Source, dataset

SIDE = 12
SIZES = {"fit": 8000, "search": 2000, "test": 5000}
FINE = 3
"""Parts of a source pixel's side; 8 of them are one pixel's side here (3 x 32 = 8 x 12)."""


@dataset(
    "digits12",
    classes=10,
    size=SIDE,
    splits=SIZES,
    origin="embedded: `digits` at 12 x 12 pixels",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
@dataset(
    "digits5-12",
    classes=5,
    size=SIDE,
    splits=SIZES,
    origin="embedded: `digits5` at 12 x 12 pixels",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
def load(name: str, root: Path) -> Source:
    """The splits of `digits12` or `digits5-12`, from those of the larger data set."""
    larger = {"digits12": "digits", "digits5-12": "digits5"}[name]
    splits = {}
    for split in SPLITS:
        planned = digits.plan(larger, split)
        composed = Composed(partial(_composed, planned), len(planned.labels), SIDE)
        key = f"{name} {split} {digests.code('data.digits12')}"
        splits[split] = LazySplit(planned.labels, planned.sources, composed.kept_as(key))
    return Source(splits, tuple(str(digit) for digit in range(digits.CLASSES[larger])), {})


def _composed(planned: digits.Plan, rows: np.ndarray) -> np.ndarray:
    return reduced(digits.compose(planned, rows))


def reduced(images: np.ndarray) -> np.ndarray:
    """Uint8 `(n, c, 32, 32)` -> `(n, c, 12, 12)`: means over areas, halves rounded up."""
    size = digits.SIDE * FINE // SIDE
    cover = np.repeat(np.eye(SIDE, dtype=np.float32), size, axis=1)
    cover = cover.reshape(SIDE, digits.SIDE, FINE).sum(axis=2)
    # Sums of whole numbers below 2^24, which float32 holds: no order of adding changes them.
    sums = (cover @ images.astype(np.float32) @ cover.T).astype(np.uint16)
    return ((sums + size * size // 2) // (size * size)).astype(np.uint8)
