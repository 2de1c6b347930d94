"""Differential evolution: the operators that its relatives share, and the textbook DE/rand/1/bin.

Read `donor` and `cross` (one trial), then `De`; `generational.Generational` is the loop, and
`pool.Pool` holds the members.

Source: Storn & Price 1997. Released code that differs from the textbook is in the methods' own
files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import method
from mergesuite.methods.generational import Generational

Index = Tensor | slice
EVERYWHERE = slice(None)


def donor(base: Tensor, *terms: tuple[float, Tensor, Tensor]) -> Callable[[Index], Tensor]:
    """The donor `base + sum of F (plus - minus)` over `terms` `(F, plus, minus)`.

    Returns:
        A function that computes the donor at some coordinates only: with a tiny CR that is a
        handful out of millions. Equal vectors cancel exactly, so equal parents breed themselves.
    """

    def at(index: Index) -> Tensor:
        factor, plus, minus = terms[0]
        value = (plus[index] - minus[index]).mul_(factor)
        for factor, plus, minus in terms[1:]:
            value += (plus[index] - minus[index]).mul_(factor)
        return value.add_(base[index])

    return at


def cross(
    parent: Tensor,
    take: Tensor | None,
    donor_at: Callable[[Index], Tensor],
    mutable: Tensor | None = None,
) -> Tensor:
    """The trial `(d,)`: the donor's coordinates where `take` says so, else the parent's.

    `take` is a bool mask, int64 positions, or None for all. Coordinates outside `mutable` keep the
    parent's value. At most two vectors are alive besides the parents.
    """
    if take is not None and take.dtype != torch.bool:
        take = take.to(parent.device)
        if mutable is not None:
            take = take[mutable.to(parent.device)[take]]
        trial = parent.clone()
        trial[take] = donor_at(take)
        return trial
    value = donor_at(EVERYWHERE)
    limits = [m.to(parent.device) for m in (take, mutable) if m is not None]
    if not limits:
        return value
    allowed = limits[0] if len(limits) == 1 else limits[0] & limits[1]
    return torch.where(allowed, value, parent, out=value)


def force(take: Tensor, position: int) -> Tensor:
    """`take` with one coordinate more: the k_rand of the textbook crossover."""
    if take.dtype == torch.bool:
        take = take.clone()
        take[position] = True
        return take
    return (
        take if bool((take == position).any()) else torch.cat([take, take.new_tensor([position])])
    )


def others(rng: DrawSource, name: str, n: int, i: int, k: int) -> list[int]:
    """`k` distinct members of `n`, none of them `i`, in the order drawn."""
    return [at + (at >= i) for at in rng.sample(name, n - 1, k)]


def clip(value: float, low: float, high: float) -> float:
    """`value` within [low, high]; NaN stays NaN, as with numpy.clip."""
    return min(max(value, low), high)


def sinusoid(scale: float, freq: float, t: float, weight: float, shift: float = 0.0) -> float:
    """F = scale (sin(2 pi freq t + shift) weight + 1); NaN where the frequency is not finite."""
    phase = 2 * math.pi * freq * t + shift
    return scale * (math.sin(phase) * weight + 1) if math.isfinite(phase) else math.nan


def lehmer(values: Tensor, weights: Tensor) -> float:
    """The weighted Lehmer mean sum w x^2 / sum w x; NaN or inf where the divisor is 0."""
    return float((weights * values**2).sum() / (weights * values).sum())


def trigonometric_weights(scores: Sequence[float], rule: str) -> list[float]:
    """Coefficients of three vectors in the trigonometric mutation; they sum to 1.

    Source: Fan & Lampinen: trigonometric mutation, J. Global Optimization 27 (2003).

    With p_j = |f_j| / sum |f| they have (x1+x2+x3)/3 + (p2-p1)(x1-x2) + (p3-p2)(x2-x3)
    + (p1-p3)(x3-x1), so x_j gets 1/3 - (2 p_j - p_k - p_l): made for losses, less weight for a
    larger one. `released` applies it to scores; `right-sign` turns the sign, unless the
    scores are negative (the greater in size is then the worse, as with losses); `mean-of-three`
    gives each a third. NaN where all scores are 0 or one is infinite.
    """
    if rule == "mean-of-three":
        return [1 / 3] * 3
    size = torch.tensor(scores, dtype=torch.float64).abs()
    p = size / size.sum()
    sign = 1.0 if rule == "right-sign" and sum(scores) > 0 else -1.0
    return (1 / 3 + sign * (3 * p - 1)).tolist()


@method("de", cite="Storn & Price: Differential Evolution, J. Global Optimization 11 (1997)")
class De(Generational):
    """Differential evolution DE/rand/1/bin as in the textbook.

    Synchronous: all trials of a generation are made before any is accepted, so they take as much
    memory as the population. One coordinate is always the donor's. Equal scores are accepted.
    With `mutable` set, the forced coordinate may be one that keeps its value.
    """

    trials = ({"generations": 5},)

    F: float = Field(0.5, ge=0, le=2, description="weight of the difference vector")
    CR: float = Field(0.9, ge=0, le=1, description="crossover probability per coordinate")
    generations: int = Field(20, ge=1, description="generations G")

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        return rand_1_bin(self.rng, self.pool.vectors, i, self.F, self.CR, self.mutable)


def rand_1_bin(
    rng: DrawSource,
    members: Sequence[Tensor],
    i: int,
    F: float,
    CR: float,
    mutable: Tensor | None,
) -> Tensor:
    """The trial `(d,)` of DE/rand/1/bin against member `i`, with the forced coordinate."""
    base, plus, minus = (members[r] for r in others(rng, "partners", len(members), i, 3))
    take = rng.mask("mask", len(base), CR)
    take = force(take, rng.integer("forced", len(base)))
    return cross(members[i], take, donor(base, (F, plus, minus)), mutable)
