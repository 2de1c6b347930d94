"""The embedded data sets at half the side: each pixel is the mean of four of `digits`.

A quarter of the computing for the same images, so that a search of the size that a paper reports
fits a laptop. Integers only: bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mergesuite.data import digits
from mergesuite.data.sources import LazySplit, Source, dataset

SIDE = 16
SIZES = {"fit": 8000, "search": 2000, "test": 5000}


@dataset(
    "digits16",
    classes=10,
    size=SIDE,
    splits=SIZES,
    origin="embedded: `digits` at half the side",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
@dataset(
    "digits5-16",
    classes=5,
    size=SIDE,
    splits=SIZES,
    origin="embedded: `digits5` at half the side",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
def load(name: str, root: Path) -> Source:
    """The splits of `digits16` or `digits5-16`, from those of the larger data set."""
    whole = digits.load({"digits16": "digits", "digits5-16": "digits5"}[name], root)
    splits = {
        split: LazySplit(part.labels, part.indices, _smaller(part.read))
        for split, part in whole.splits.items()
    }
    return Source(splits, whole.classes, whole.files)


def _smaller(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: halved(read(rows))


def halved(images: np.ndarray) -> np.ndarray:
    """Uint8 `(n, c, h, w)` -> `(n, c, h/2, w/2)`: means of 2 x 2 pixels, halves rounded up."""
    n, c, h, w = images.shape
    blocks = images.reshape(n, c, h // 2, 2, w // 2, 2).astype(np.uint16)
    return ((blocks.sum(axis=(3, 5)) + 2) // 4).astype(np.uint8)
