"""L-SHADE-EpSin as published: SHADE with sinusoids for F and a shrinking population.

Read `sizes` (the schedule), `_draw_F`, then `_remember`.

Source: Awad et al. 2016, which builds on L-SHADE (Tanabe & Fukunaga 2014). Deviations: those of
shade.py; the Gaussian walk is left out, for with 20 members or fewer it would start at once and
replace the method; the last generation is cut where the evaluations end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.de import clip, sinusoid
from mergesuite.methods.shade import (
    TERMINAL,
    SuccessHistory,
    mean_of,
    pbest_trial,
    positive_cauchy,
)

LEAST = 4
"""Members that remain at the end."""


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


@method("lshade-epsin", cite="Awad et al.: LSHADE-EpSin, IEEE CEC (2016)")
class LshadeEpsin(SuccessHistory):
    """L-SHADE with an ensemble of sinusoids for F in the first half of the run.

    There one of two sinusoids makes F, with equal chance: decreasing with the fixed frequency 0.5
    (constant at whole generations, a known flaw that is kept here), or increasing with a frequency
    that adapts. In the second half F comes from SHADE's memory. Synchronous, equal scores accepted.
    """

    trials = ({"evaluations": 50},)

    evaluations: int = Field(400, ge=1, description="candidates in all (max NFE)")
    memory: int = Field(5, ge=1, le=1_000_000, description="slots H")
    best_share: float = Field(0.11, gt=0, le=1, description="p of p-best")
    archive: float = Field(1.4, ge=0, description="archived parents per member")

    cost = "evaluations"
    names = ("F", "CR", "freq")
    saved = ("_archive", "_sizes", "generations")

    def _begin(self) -> None:
        """The memory, the archive, and the members per generation."""
        super()._begin()
        self._sizes = sizes(len(self.pool), self.evaluations)
        self.generations = len(self._sizes)

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.evaluations

    def _targets(self) -> Sequence[int]:
        """All members, in the last generation as far as the evaluations go."""
        done = sum(self._sizes[: self._generation - 1])
        return range(min(len(self.pool), self.evaluations - done))

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        slot = self.rng.integer("slot", self.memory)
        mean = self._memory.means["CR"][slot]
        CR = 0.0 if mean == TERMINAL else clip(self.rng.normal("CR", mean, 0.1), 0.0, 1.0)
        rule, freq, F = self._draw_F(slot)
        how = {"F": F, "CR": CR, "p": self.best_share}
        self._made.append({**how, "freq": freq, "rule": rule})
        return pbest_trial(self.rng, self.pool, self._archive, i, how, self.mutable)

    def _draw_F(self, slot: int) -> tuple[str, float, float]:
        """The rule, the frequency and F (Awad et al. 2016, eq. 7 to 10)."""
        g, G = self._generation, self.generations
        if g > G / 2:
            return "memory", 0.5, positive_cauchy(self.rng, "F", self._memory.means["F"][slot])
        if self.rng.uniform("rule") < 0.5:
            return "S1", 0.5, sinusoid(0.5, 0.5, g, (G - g) / G, math.pi)
        freq = positive_cauchy(self.rng, "freq", self._memory.means["freq"][slot])
        return "S2", freq, sinusoid(0.5, freq, g, g / G)

    def _remember(self, won: Sequence[Mapping[str, Any]]) -> None:
        """Weighted Lehmer means of what won; a CR slot that won only with 0 stays at 0."""
        spent = self._memory.means["CR"][self._memory.at] == TERMINAL
        keep_going = not spent and max(how["CR"] for how in won) > 0
        tuned = [how for how in won if how["rule"] == "S2"]
        self._memory.write(
            {
                "F": mean_of("F", won)[1],
                "CR": mean_of("CR", won)[1] if keep_going else TERMINAL,
                "freq": mean_of("freq", tuned)[1] if tuned else None,
            }
        )

    def _shrink(self) -> None:
        """Keep as many of the best members as the next generation has, in their order."""
        size = self._sizes[min(self._generation, self.generations - 1)]
        ranked = self.pool.scores.argsort(descending=True, stable=True)
        kept = sorted(ranked[:size].tolist())
        self.pool.vectors = [self.pool.vectors[i] for i in kept]
        self.pool.scores = self.pool.scores[kept]

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, members left."""
        return {**super().trace(), "members": len(self.pool)}
