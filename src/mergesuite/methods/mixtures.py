"""Mixtures of whole parents, and the coefficients of an exponential average."""

from collections.abc import Sequence

from torch import Tensor


def mixture(
    parents: Tensor,
    coefficients: Sequence[Sequence[float]],
    sizes: Sequence[int] | None = None,
    *,
    base: int = 0,
) -> Tensor:
    """The sum of `parents` `(k, d)` times their coefficients, of which each part's have the sum 1.

    Written as base + sum of w (other - base): equal parents give themselves, to the bit, and so
    does the base where it is alone. Its own coefficient is what the others leave.

    Args:
        parents: `(k, d)`.
        coefficients: k numbers for each part of a vector.
        sizes: how many numbers make up each part; None: a vector is one part.
        base: the parent from which the others are counted.
    """
    middle = parents[base]
    others = [i for i in range(len(parents)) if i != base % len(parents)]
    mixed = middle.clone()
    start = 0
    for size, weights in zip(sizes or [len(middle)], coefficients, strict=True):
        part = slice(start, start + size)
        for i in others:
            mixed[part] += (parents[i][part] - middle[part]).mul_(weights[i])
        start += size
    return mixed


def decayed(count: int, decay: float) -> list[float]:
    """The coefficients of `count` checkpoints, the latest last, in an exponential average.

    Each has `decay` times the coefficient of the next, and their sum is 1: at 0 the last is alone,
    at 1 all are equal.
    """
    raw = [decay**age for age in reversed(range(count))]
    return [value / sum(raw) for value in raw]
