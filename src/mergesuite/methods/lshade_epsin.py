"""L-SHADE-EpSin as published: SHADE with sinusoids for F and a shrinking population.

Read `sizes` (the schedule), `_draw_F`, then `tell`.

Source: awad2016, which builds on L-SHADE (Tanabe & Fukunaga 2014). Deviations: those of shade.py;
the Gaussian walk is left out, for with 20 members or fewer it would start at once and replace the
method; the last generation is cut where the evaluations end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import Population, Proposal, method
from mergesuite.methods.de import clip, sinusoid
from mergesuite.methods.pool import Pool, spread
from mergesuite.methods.shade import (
    TERMINAL,
    Memory,
    archived,
    pbest_trial,
    positive_cauchy,
    weighted_means,
    wins,
)
from mergesuite.streams import DrawSource

LEAST = 4
"""Members that remain at the end."""

NAMES = ("F", "CR", "freq")


def sizes(first: int, evaluations: int) -> list[int]:
    """Members per generation under linear reduction from `first` to `LEAST`.

    The rule depends on evaluations only, so the number of generations is known beforehand: it is
    the G of the sinusoids.
    """
    found, done, size = [], 0, first
    while done < evaluations:
        found.append(size)
        done += size
        share = min(done / evaluations, 1.0)
        size = max(min(size, round(first + (LEAST - first) * share)), LEAST)
    return found


@method("lshade-epsin", cite="awad2016")
class LshadeEpsin(Population):
    """L-SHADE with an ensemble of sinusoids for F in the first half of the run.

    There one of two sinusoids makes F, with equal chance: decreasing with the fixed frequency 0.5
    (constant at whole generations, a known flaw that is kept here), or increasing with a frequency
    that adapts. In the second half F comes from SHADE's memory. Synchronous, equal scores accepted.
    """

    evaluations: int = Field(400, ge=1, description="candidates in all (max NFE)")
    memory: int = Field(5, ge=1, description="slots H")
    best_share: float = Field(0.11, gt=0, le=1, description="p of p-best")
    archive: float = Field(1.4, ge=0, description="archived parents per member")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(NP, d)`, NP >= 4, and their scores."""
        self.pool, self.rng = Pool.begin(parents, fitness, rng, least=LEAST, name=self.name)
        self._sizes = sizes(len(self.pool), self.evaluations)
        self._generation, self._done = 1, 0
        self._memory = Memory(self.memory, NAMES)
        self._archive: list[Tensor] = []
        self._made: list[dict[str, Any]] = []

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.evaluations

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best member and its score; the worst are the ones that leave."""
        return self.pool.best

    def ask(self) -> Proposal | None:
        """One trial per member, as far as the evaluations go."""
        if self._done == self.evaluations:
            return None
        trials = self.pool.trials
        if trials is None:
            self._made = []
            count = min(len(self.pool), self.evaluations - self._done)
            trials = self.pool.fill(self._breed, count)
        return Proposal(trials, self.pool.thresholds(ties=True)[: len(trials)])

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        slot = self.rng.integer("slot", self.memory)
        mean = self._memory.means["CR"][slot]
        CR = 0.0 if mean == TERMINAL else clip(self.rng.normal("CR", mean, 0.1), 0.0, 1.0)
        rule, freq, F = self._draw_F(slot)
        made = {"F": F, "CR": CR, "freq": freq, "rule": rule, "p": self.best_share}
        self._made.append(made)
        how = {"F": F, "CR": CR, "p": self.best_share}
        return pbest_trial(self.rng, self.pool, self._archive, i, how, self.mutable)

    def _draw_F(self, slot: int) -> tuple[str, float, float]:
        """The rule, the frequency and F (awad2016, eq. 7 to 10)."""
        g, G = self._generation, len(self._sizes)
        if g > G / 2:
            return "memory", 0.5, positive_cauchy(self.rng, "F", self._memory.means["F"][slot])
        if self.rng.uniform("rule") < 0.5:
            return "S1", 0.5, sinusoid(0.5, 0.5, g, (G - g) / G, math.pi)
        freq = positive_cauchy(self.rng, "freq", self._memory.means["freq"][slot])
        return "S2", freq, sinusoid(0.5, freq, g, g / G)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select, archive, remember, and let the worst leave."""
        before, parents = self.pool.scores, list(self.pool.vectors)
        self.pool.select(range(len(self._made)), scores, exceeded)
        self._done += len(self._made)
        beaten = [x for x, good in zip(parents, self.pool.scores > before, strict=True) if good]
        self._remember(wins(self.pool, self._made, before))
        if self._generation < len(self._sizes):
            self._shrink(self._sizes[self._generation])
        room = round(self.archive * len(self.pool))
        self._archive = archived(self.rng, self._archive, beaten, room)
        self._generation += 1

    def _remember(self, won: list[dict[str, Any]]) -> None:
        """Weighted Lehmer means of what won; a CR slot that won only with 0 stays at 0."""
        if not won:
            return
        gains = [how["gain"] for how in won]
        spent = self._memory.means["CR"][self._memory.at] == TERMINAL
        keep_going = not spent and max(how["CR"] for how in won) > 0
        CR = weighted_means([how["CR"] for how in won], gains)[1] if keep_going else TERMINAL
        tuned = [how for how in won if how["rule"] == "S2"]
        freq = None
        if tuned:
            gains_of_tuned = [how["gain"] for how in tuned]
            freq = weighted_means([how["freq"] for how in tuned], gains_of_tuned)[1]
        F = weighted_means([how["F"] for how in won], gains)[1]
        self._memory.write({"F": F, "CR": CR, "freq": freq})

    def _shrink(self, size: int) -> None:
        """Keep the best `size` members, in their order."""
        ranked = self.pool.scores.argsort(descending=True, stable=True)
        kept = sorted(ranked[:size].tolist())
        self.pool.vectors = [self.pool.vectors[i] for i in kept]
        self.pool.scores = self.pool.scores[kept]

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, members left."""
        return {**spread(self.pool), "generation": self._generation, "members": len(self.pool)}

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {
            **self.pool.state(),
            "sizes": list(self._sizes),
            "generation": self._generation,
            "done": self._done,
            "memory": self._memory.state(),
            "archive": list(self._archive),
            "made": [dict(made) for made in self._made],
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.pool = Pool.restored(state)
        self._sizes = list(state["sizes"])
        self._generation, self._done = state["generation"], state["done"]
        self._memory = Memory(self.memory, NAMES)
        self._memory.restore(state["memory"])
        self._archive = list(state["archive"])
        self._made = [dict(made) for made in state["made"]]
        self.rng.restore(state["rng"])
