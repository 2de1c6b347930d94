"""What every reader of a data set hands to `data.load`: splits whose images lie elsewhere.

A reader is a function in a file of this folder, under one `@dataset` for each name that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


Reader = Callable[[str, Path], Source]
"""From a data set's name and the folder with published data."""
READERS: dict[str, Reader] = {}
"""Name -> reader, of the files that have been imported so far."""


def dataset(name: str, **facts: Any) -> Callable[[Reader], Reader]:
    """Register a reader for data set `name`.

    `facts` are literals that `experiment.declared` reads: `classes`, `size` (image side in pixels),
    `splits` (images in each), `origin` (where it comes from), `cite`.
    """
    del facts

    def register(read: Reader) -> Reader:
        READERS[name] = read
        return read

    return register
