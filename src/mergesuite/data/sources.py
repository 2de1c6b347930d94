"""What every reader of a data set hands to `data.load`: splits whose images lie elsewhere.

A reader is a function in a file of this folder, under one `@dataset` for each name that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mergesuite.data.decode import Cut
    from mergesuite.data.ondisk import OnDisk

SPLITS = ("fit", "search", "test")


Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Channel means and standard deviations, of values in [0, 1]."""


@dataclass(frozen=True)
class LazySplit:
    """One split, whose images are read when they are asked for."""

    labels: np.ndarray
    """`(n,)` int64."""
    indices: np.ndarray
    """`(n,)` int64: where each image comes from in the source."""
    read: Callable[[np.ndarray], np.ndarray]
    """Rows `(k,)` -> images uint8 `(k, 3, h, w)`."""
    pictures: Callable[[np.ndarray], OnDisk] | None = None
    """Rows `(k,)` -> the same images, read batch by batch; for data that need not fit in memory."""


@dataclass(frozen=True)
class Source:
    """A data set before any subset is taken."""

    splits: Mapping[str, LazySplit]
    classes: tuple[str, ...]
    files: Mapping[str, str]
    """File -> `md5:...` or `sha256:...`, for data that lie in files."""
    cut: Cut | None = None
    """How images in files are cut."""
    statistics: Statistics | None = None
    """Channel means and deviations to normalise by; None: those of the fit split."""


Reader = Callable[..., Source]
"""From a data set's name and the folder with published data; with `files=True` also from what of
each class is held out for the search, and how images are cut (`settings.Preprocess`)."""
TestReader = Callable[..., Source]
"""From `settings.Other`, the folder with published data and the data set that networks were trained
on, to a source with the split `test`; its classes are among those of that data set."""
READERS: dict[str, Reader] = {}
"""Name -> reader, of the files that have been imported so far."""
TEST_READERS: dict[str, TestReader] = {}
"""The same of sets that networks are only evaluated on."""


def dataset(name: str, **facts: Any) -> Callable[[Reader], Reader]:
    """Register a reader for data set `name`.

    `facts` are literals that `experiment.declared` reads: `classes`, `size` (image side in pixels),
    `splits` (images in each), `origin` (where it comes from), `cite`, and `files` (True: its images
    are files, to be cut and divided as a spec says).
    """
    del facts

    def register(read: Reader) -> Reader:
        READERS[name] = read
        return read

    return register


def test_set(name: str, **facts: Any) -> Callable[[TestReader], TestReader]:
    """Register a reader for a set that networks are only evaluated on.

    `facts` are literals as in `dataset`: `of` (the data set that they were trained on), `origin`,
    `cite`, and `severities` (levels of its corruptions; 0: one; not said: it has no corruptions).
    """
    del facts

    def register(read: TestReader) -> TestReader:
        TEST_READERS[name] = read
        return read

    return register
