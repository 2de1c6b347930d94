"""What every reader of a data set hands to `data.load`: splits whose images lie elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SPLITS = ("fit", "search", "test")


@dataclass(frozen=True)
class LazySplit:
    """One split, whose images are read when they are asked for."""

    labels: np.ndarray
    """`(n,)` int64."""
    indices: np.ndarray
    """`(n,)` int64: where each image comes from in the source."""
    read: Callable[[np.ndarray], np.ndarray]
    """Rows `(k,)` -> images uint8 `(k, 3, h, w)`."""


@dataclass(frozen=True)
class Source:
    """A data set before any subset is taken."""

    splits: Mapping[str, LazySplit]
    classes: tuple[str, ...]
    files: Mapping[str, str]
    """File -> `md5:...` or `sha256:...`, for data that lie in files."""
