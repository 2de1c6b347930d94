"""SHADE and L-SHADE-EpSin as published: DE that remembers which F and CR have won.

Read `pbest_trial` (one trial), `Memory` (what is learnt), then `SuccessHistory` and `Shade`.

Source: Tanabe & Fukunaga 2013 (SHADE) and Awad et al. 2016 (L-SHADE-EpSin, which builds on
L-SHADE). Deviations from both, because members are networks: the population is the parents instead
of 100 or 18 d random points; there are no bounds to repair; p of p-best never names fewer than two
members. From the second: no Gaussian walk once few are left (with up to 20 parents it would replace
the method).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import method
from mergesuite.methods.de import clip, cross, donor, force, lehmer, others
from mergesuite.methods.generational import Generational
from mergesuite.methods.pool import Pool

TERMINAL = -1.0
"""L-SHADE's mark of a CR slot that stays at 0."""


def positive_cauchy(rng: DrawSource, name: str, location: float) -> float:
    """Cauchy(location, 0.1), drawn again while not positive, at most 1 (SHADE, section IV)."""
    while (value := rng.cauchy(name, location, 0.1)) <= 0:
        pass
    return min(value, 1.0)


def pbest_trial(
    rng: DrawSource,
    pool: Pool,
    archive: Sequence[Tensor],
    i: int,
    made: Mapping[str, float],
    mutable: Tensor | None,
) -> Tensor:
    """current-to-pbest/1/bin: x_i + F (x_pbest - x_i) + F (x_r1 - x_r2), one coordinate forced.

    `made`: F, CR, and p, the share of members that count as best. r2 may be an archived vector.
    """
    members, n = pool.vectors, len(pool)
    ranked = pool.scores.argsort(descending=True, stable=True)
    best = int(ranked[rng.integer("pbest", min(max(round(made["p"] * n), 2), n))])
    r1 = others(rng, "r1", n, i, 1)[0]
    rest = [j for j in range(n + len(archive)) if j not in (i, r1)]
    r2 = rest[rng.integer("r2", len(rest))]
    minus = members[r2] if r2 < n else archive[r2 - n]
    x, F = members[i], made["F"]
    take = force(rng.mask("mask", len(x), made["CR"]), rng.integer("forced", len(x)))
    return cross(x, take, donor(x, (F, members[best], x), (F, members[r1], minus)), mutable)


class Memory:
    """`slots` remembered means of each of several parameters, overwritten in turn."""

    def __init__(self, slots: int, names: Sequence[str]) -> None:
        """All start at 0.5."""
        self.means = {name: [0.5] * slots for name in names}
        self.at = 0

    def write(self, means: Mapping[str, float | None]) -> None:
        """Overwrite the next slot; a mean that is None or not finite stays as it was."""
        for name, mean in means.items():
            if mean is not None and math.isfinite(mean):
                self.means[name][self.at] = mean
        self.at = (self.at + 1) % len(next(iter(self.means.values())))

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"means": {name: list(means) for name, means in self.means.items()}, "at": self.at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.means = {name: list(means) for name, means in state["means"].items()}
        self.at = state["at"]


def weighted_means(values: Sequence[float], gains: Sequence[float]) -> tuple[float, float]:
    """The arithmetic and the Lehmer mean of winners' values, weighted by their gains.

    sum w x and sum w x^2 / sum w x with w = gain / sum of gains (SHADE, eq. 13 to 17). Where
    a gain is infinite (a parent without a score) all count alike. Lehmer of zeros: NaN.
    """
    x = torch.tensor(values, dtype=torch.float64)
    w = torch.tensor(gains, dtype=torch.float64)
    if not bool(torch.isfinite(w).all()):
        w = torch.ones_like(w)
    w = w / w.sum()
    return float((w * x).sum()), lehmer(x, w)


def mean_of(name: str, won: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The two means of a parameter over winners."""
    return weighted_means([how[name] for how in won], [how["gain"] for how in won])


def archived(
    rng: DrawSource, archive: list[Tensor], beaten: Sequence[Tensor], room: int
) -> list[Tensor]:
    """The archive with beaten parents; random ones leave where there is no room."""
    archive = [*archive, *beaten]
    while len(archive) > room:
        archive.pop(rng.integer("archive", len(archive)))
    return archive


class SuccessHistory(Generational):
    """What SHADE and its successors share: a memory of what won, an archive of who lost.

    Fields of a subclass: `memory` slots, and `archive`, archived parents per member.
    """

    memory: int
    archive: float
    names: ClassVar[tuple[str, ...]] = ("F", "CR")
    """What the memory is of."""
    saved = ("_archive",)

    def _begin(self) -> None:
        self._memory = Memory(self.memory, self.names)
        self._archive: list[Tensor] = []

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select, remember what won, let the worst leave, archive beaten parents."""
        before, parents = self.pool.scores, list(self.pool.vectors)
        self.pool.select(self._targets(), scores, exceeded)
        gains = (self.pool.scores - before).tolist()
        beaten = [x for x, gain in zip(parents, gains, strict=True) if gain > 0]
        # The last generation may have fewer trials than members.
        made = zip(self._made, gains, strict=False)
        if won := [{**how, "gain": gain} for how, gain in made if gain > 0]:
            self._remember(won)
        self._shrink()
        room = round(self.archive * len(self.pool))
        self._archive = archived(self.rng, self._archive, beaten, room)
        self._generation += 1

    @abstractmethod
    def _remember(self, won: Sequence[Mapping[str, Any]]) -> None:
        """Write into the memory how the strictly better trials were made, each with its gain."""

    def _shrink(self) -> None:
        """Nobody leaves."""

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {**super().state(), "memory": self._memory.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        super().restore(state)
        self._memory = Memory(self.memory, self.names)
        self._memory.restore(state["memory"])


@method("shade", cite="Tanabe & Fukunaga: SHADE, IEEE CEC (2013)")
class Shade(SuccessHistory):
    """Success-history based adaptive DE: current-to-pbest/1/bin with an archive.

    Synchronous: the trials take as much memory as the members, the archive up to `archive` times
    as much. Equal scores are accepted, and teach nothing.
    """

    trials = ({"generations": 5},)

    generations: int = Field(20, ge=1, description="generations G")
    memory: int = Field(
        100, ge=1, le=1_000_000, description="slots H (Tanabe & Fukunaga 2013: 100)"
    )
    archive: float = Field(1.0, ge=0, description="archived parents per member (1)")

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        means, n = self._memory.means, len(self.pool)
        slot = self.rng.integer("slot", self.memory)
        CR = clip(self.rng.normal("CR", means["CR"][slot], 0.1), 0.0, 1.0)
        F = positive_cauchy(self.rng, "F", means["F"][slot])
        least = 2 / n
        p = least + (max(0.2, least) - least) * self.rng.uniform("p")
        self._made.append({"F": F, "CR": CR, "p": p})
        return pbest_trial(self.rng, self.pool, self._archive, i, self._made[-1], self.mutable)

    def _remember(self, won: Sequence[Mapping[str, Any]]) -> None:
        """The weighted means of F and CR."""
        self._memory.write({"CR": mean_of("CR", won)[0], "F": mean_of("F", won)[1]})

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, size of the archive."""
        return {**super().trace(), "archive": len(self._archive)}
