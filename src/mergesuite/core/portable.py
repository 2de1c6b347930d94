"""Random numbers with the same bits for every release of numpy, torch and every processor.

Data sets are divided and composed with these: only the raw output of PCG64 and of its seeding,
which numpy promises to keep, and integer or elementwise arithmetic on top of it.
"""

from __future__ import annotations

import math

import numpy as np

from mergesuite.core.streams import derive


def bits(count: int, *names: str | int, first: int = 0) -> np.ndarray:
    """`(count,)` uint64 numbers of the stream called `names`, from number `first` on."""
    return np.random.PCG64(derive(*names)).advance(first).random_raw(count)


def uniforms(shape: tuple[int, ...], *names: str | int) -> np.ndarray:
    """Float64 numbers from U[0, 1) of the stream called `names`."""
    return _scaled(bits(math.prod(shape), *names)).reshape(shape)


def rows_of_bits(rows: np.ndarray, width: int, *names: str | int) -> np.ndarray:
    """`(len(rows), width)`: these rows of a table of `width` columns that the stream fills.

    What lies between the first and the last of them is drawn, and no more.
    """
    if not len(rows):
        return np.empty((0, width), dtype=np.uint64)
    first, last = int(rows.min()), int(rows.max())
    drawn = bits((last - first + 1) * width, *names, first=first * width)
    return drawn.reshape(-1, width)[rows - first]


def rows_of_uniforms(rows: np.ndarray, width: int, *names: str | int) -> np.ndarray:
    """The same as numbers from U[0, 1)."""
    return _scaled(rows_of_bits(rows, width, *names))


def _scaled(drawn: np.ndarray) -> np.ndarray:
    return (drawn >> np.uint64(11)) * 2.0**-53


def permutation(n: int, *names: str | int) -> np.ndarray:
    """`(n,)` int64: the numbers 0..n-1 in the order that the stream called `names` gives them."""
    return np.argsort(bits(n, *names), kind="stable").astype(np.int64)
