"""Random numbers with the same bits for every release of numpy, torch and every processor.

Data sets are divided and composed with these: only the raw output of PCG64 and of its seeding,
which numpy promises to keep, and integer or elementwise arithmetic on top of it.
"""

from __future__ import annotations

import numpy as np

from mergesuite.core.streams import derive


def bits(count: int, *names: str | int) -> np.ndarray:
    """`(count,)` uint64 numbers of the stream called `names`."""
    return np.random.PCG64(derive(*names)).random_raw(count)


def uniforms(shape: tuple[int, ...], *names: str | int) -> np.ndarray:
    """Float64 numbers from U[0, 1) of the stream called `names`."""
    count = int(np.prod(shape, dtype=np.int64))
    return ((bits(count, *names) >> np.uint64(11)) * 2.0**-53).reshape(shape)


def permutation(n: int, *names: str | int) -> np.ndarray:
    """`(n,)` int64: the numbers 0..n-1 in the order that the stream called `names` gives them."""
    return np.argsort(bits(n, *names), kind="stable").astype(np.int64)
