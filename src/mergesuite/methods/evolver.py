"""Evolver: each member moves part of the way towards another, at some of its coordinates.

Read `_reference` (towards whom), then `_breed` (one trial).

Source: Du et al. 2024 (the paper's body was not available); released code model-evolution at commit
e0b66b8, `src/model_merge/evolver.py`: `evolve` (lines 64-89) and `mutate_and_crossover` (213-246).
Its F and CR are in `src/configs/defaults.yaml`; a run reads them from its name (lines 220-222).
Deviations: scores are not rounded to five digits (line 150), which tells accuracies on fewer than
100,000 images apart all the same; a parent whose score is NaN at the start counts as the worst.
`evolve_with_merger` (lines 91-144), which scores the mean of all members and hands out whichever
did best on the test sets, is not here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.de import cross, donor, others
from mergesuite.methods.generational import Generational


@method(
    "evolver",
    cite="Du et al.: Knowledge Fusion By Evolving Weights of Language Models, ACL Findings (2024)",
)
class Evolver(Generational):
    """Evolver: x_i + F (x_ref - x_i) where a coordinate is taken, else x_i.

    An interpolation of two members, NP >= 2, no difference of two others; nothing leaves the box
    that the parents span. Equal scores are rejected (line 185). In place, as released: each trial
    is selected before the next is bred, and one vector is all it needs beside the members.

    The reference is a random other member with probability 1/2 + 1/(2 (G - t)) in generation
    t = 0..G-1, else the best other: from hardly more than half to always (lines 223-236). The code
    has the fixed rules `random` (line 238) and `best` beside it.
    """

    trials = (
        {"generations": 5},
        {"generations": 5, "reference": "random", "synchronous": True},
        {"generations": 3, "reference": "best", "F": 0.9},
    )

    F: float = Field(0.5, ge=0, le=1, description="share of the way (defaults.yaml line 69)")
    CR: float = Field(
        0.5, ge=0, le=1, description="chance that a coordinate is taken (defaults.yaml line 70)"
    )
    generations: int = Field(15, ge=1, description="iterations G (defaults.yaml line 71)")
    reference: Literal["annealed", "random", "best"] = Field(
        "annealed", description="towards whom: the best other more and more rarely, never or always"
    )
    synchronous: bool = Field(False, description="breed all before selecting any")

    least = 2
    ties = False

    def _reference(self, i: int) -> int:
        """The member that member `i` moves towards."""
        if self.reference == "annealed":
            left = self.generations - self._generation + 1
            at_random = self.rng.uniform("reference") < 0.5 / left + 0.5
        else:
            at_random = self.reference == "random"
        if not at_random:
            return self.pool.rival(i)
        return others(self.rng, "partner", len(self.pool), i, 1)[0]

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`; written so that equal members breed themselves."""
        x, towards = self.pool.vectors[i], self.pool.vectors[self._reference(i)]
        take = self.rng.mask("mask", len(x), self.CR)
        return cross(x, take, donor(x, (self.F, towards, x)), self.mutable)
