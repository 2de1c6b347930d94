"""The embedded data sets at 12 x 12 pixels: each pixel is the mean of the area it covers.

A seventh of the computing for the same images, so that a search of the size that a paper reports
fits a laptop. The digits were written on 8 x 8 pixels. Bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mergesuite.data import digits
from mergesuite.data.sources import LazySplit, Source, dataset

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
    whole = digits.load({"digits12": "digits", "digits5-12": "digits5"}[name], root)
    splits = {
        split: LazySplit(part.labels, part.indices, _smaller(part.read))
        for split, part in whole.splits.items()
    }
    return Source(splits, whole.classes, whole.files)


def _smaller(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: reduced(read(rows))


def reduced(images: np.ndarray) -> np.ndarray:
    """Uint8 `(n, c, 32, 32)` -> `(n, c, 12, 12)`: means over areas, halves rounded up."""
    size = digits.SIDE * FINE // SIDE
    cover = np.repeat(np.eye(SIDE, dtype=np.float32), size, axis=1)
    cover = cover.reshape(SIDE, digits.SIDE, FINE).sum(axis=2)
    # Sums of whole numbers below 2^24, which float32 holds: no order of adding changes them.
    sums = (cover @ images.astype(np.float32) @ cover.T).astype(np.uint16)
    return ((sums + size * size // 2) // (size * size)).astype(np.uint8)
