"""SHADE and L-SHADE-EpSin as published: DE that remembers which F and CR have won.

Read `pbest_trial` (one trial), `Memory` (what is learnt), then the two classes.

Source: tanabe2013 (SHADE) and awad2016 (L-SHADE-EpSin, which builds on L-SHADE). Deviations from
both, because members are networks: the population is the parents instead of 100 or 18 d random
points; there are no bounds to repair; p of p-best never names fewer than two members. From
awad2016: no Gaussian walk once few are left (with up to 20 parents it would replace the method).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import Population, Proposal, method
from mergesuite.methods.de import clip, cross, donor, force, lehmer, others
from mergesuite.methods.pool import Pool, spread
from mergesuite.streams import DrawSource

TERMINAL = -1.0
"""L-SHADE's mark of a CR slot that stays at 0."""


def positive_cauchy(rng: DrawSource, name: str, location: float) -> float:
    """Cauchy(location, 0.1), drawn again while not positive, at most 1 (tanabe2013, section IV)."""
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

    sum w x and sum w x^2 / sum w x with w = gain / sum of gains (tanabe2013, eq. 13 to 17). Where
    a gain is infinite (a parent without a score) all count alike. Lehmer of zeros: NaN.
    """
    x = torch.tensor(values, dtype=torch.float64)
    w = torch.tensor(gains, dtype=torch.float64)
    if not bool(torch.isfinite(w).all()):
        w = torch.ones_like(w)
    w = w / w.sum()
    return float((w * x).sum()), lehmer(x, w)


def wins(pool: Pool, made: Sequence[dict[str, Any]], before: Tensor) -> list[dict[str, Any]]:
    """How the strictly better trials were made, each with its gain."""
    gains = (pool.scores - before).tolist()
    return [{**how, "gain": gain} for how, gain in zip(made, gains, strict=False) if gain > 0]


def archived(
    rng: DrawSource, archive: list[Tensor], beaten: Sequence[Tensor], room: int
) -> list[Tensor]:
    """The archive with beaten parents; random ones leave where there is no room."""
    archive = [*archive, *beaten]
    while len(archive) > room:
        archive.pop(rng.integer("archive", len(archive)))
    return archive


@method("shade", cite="tanabe2013")
class Shade(Population):
    """Success-history based adaptive DE: current-to-pbest/1/bin with an archive.

    Synchronous: the trials take as much memory as the members, the archive up to `archive` times
    as much. Equal scores are accepted, and teach nothing.
    """

    generations: int = Field(20, ge=1, description="generations G")
    memory: int = Field(100, ge=1, description="slots H (tanabe2013: 100)")
    archive: float = Field(1.0, ge=0, description="archived parents per member (1)")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(NP, d)`, NP >= 4, and their scores."""
        self.pool, self.rng = Pool.begin(parents, fitness, rng, least=4, name=self.name)
        self._generation = 1
        self._memory = Memory(self.memory, ("F", "CR"))
        self._archive: list[Tensor] = []
        self._made: list[dict[str, float]] = []

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.generations * len(self.pool)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best member and its score."""
        return self.pool.best

    def ask(self) -> Proposal | None:
        """One trial per member."""
        if self._generation > self.generations:
            return None
        trials = self.pool.trials
        if trials is None:
            self._made = []
            trials = self.pool.fill(self._breed)
        return Proposal(trials, self.pool.thresholds(ties=True))

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

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select, archive beaten parents, remember what won."""
        before, parents = self.pool.scores, list(self.pool.vectors)
        self.pool.select(range(len(self.pool)), scores, exceeded)
        beaten = [x for x, good in zip(parents, self.pool.scores > before, strict=True) if good]
        room = round(self.archive * len(self.pool))
        self._archive = archived(self.rng, self._archive, beaten, room)
        if won := wins(self.pool, self._made, before):
            gains = [how["gain"] for how in won]
            self._memory.write(
                {
                    "CR": weighted_means([how["CR"] for how in won], gains)[0],
                    "F": weighted_means([how["F"] for how in won], gains)[1],
                }
            )
        self._generation += 1

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, size of the archive."""
        return {
            **spread(self.pool),
            "generation": self._generation,
            "archive": len(self._archive),
        }

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {
            **self.pool.state(),
            "generation": self._generation,
            "memory": self._memory.state(),
            "archive": list(self._archive),
            "made": [dict(made) for made in self._made],
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.pool = Pool.restored(state)
        self._generation = state["generation"]
        self._memory = Memory(self.memory, ("F", "CR"))
        self._memory.restore(state["memory"])
        self._archive = list(state["archive"])
        self._made = [dict(made) for made in state["made"]]
        self.rng.restore(state["rng"])
