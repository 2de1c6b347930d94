"""CADE: differential evolution with cosine-annealed F and CR, and its control.

Read `annealed` (the schedules), then `Cade._breed` and `Cade._turn`.

Source: Jiang et al. 2024 (the paper's body was not available); released code CADE4SNN at commit
154a63c: `de.py` lines 67-104 and `main_cosde.py` lines 165-203. Deviations: a parent keeps its
score until it is replaced (the released code measures it again, on a loader that augments); a
parent whose score is NaN at the start counts as the worst.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.de import cross, donor, force, others
from mergesuite.methods.generational import Generational

PERIODS = {1: 8, 2: 40, 3: 40, 4: 5, 5: 5}
"""Generations of half a cosine, per schedule (main_cosde.py)."""

GRID = 2**24
"""`torch.rand` in float32 returns multiples of 1/GRID."""


def granular_rate(rate: float) -> float:
    """The chance that a float32 number of `torch.rand` lies below float32(`rate`).

    ceil(float32(rate) 2^24) of the 2^24 equally likely numbers do, 0 among them: every rate in
    (0, 2^-24] acts like 2^-24. Not positive or NaN: none.
    """
    single = float(torch.tensor(rate, dtype=torch.float32))
    return min(math.ceil(single * GRID) / GRID, 1.0) if single > 0 else 0.0


def annealed(schedule: int, start: float, floor: float, phase: float) -> float:
    """The cosine part of F or CR, `phase` in half periods.

    Schedule 1 subtracts 1e-6 whatever the floor is; schedule 5 lacks the "+ 1", so it may turn
    negative. All as released (lines 165-202).
    """
    wave = math.cos(math.pi * phase)
    if schedule == 1:
        return floor + (start - 1e-6) * (1 + wave) / 2
    return floor + (start - floor) * (wave if schedule == 5 else 1 + wave) / 2


@method(
    "cade",
    cite="Jiang et al.: Cosine Annealing Differential Evolution for Spiking Neural Networks, "
    "arXiv 2406.02349 (2024)",
)
class Cade(Generational):
    """Cosine annealing differential evolution: DE/rand/1/bin with scheduled F and CR.

    In place, as released: each trial is scored and selected before the next is bred, and one
    vector is all it needs beside the members. With `synchronous` all are bred first (textbook).
    F and CR of generation 1 are `f_init` and `cr_init`; what a schedule computes at the end of
    generation t is used in t + 1. Schedule 3 is the active one; 1, 2, 4, 5 are commented out there.
    """

    trials = (
        {"generations": 20, "schedule": 2, "f_init": 0.5, "cr_init": 0.5},
        {"generations": 5, "f_init": 0.5, "cr_init": 0.5, "synchronous": True, "forced": True},
        {"generations": 3},
    )

    schedule: Literal[1, 2, 3, 4, 5, "constant"] = Field(3, description="rule for F and CR")
    f_init: float = Field(1e-9, ge=0, description="F of generation 1 (main_cosde.sh)")
    cr_init: float = Field(1e-9, ge=0, description="CR of generation 1 (main_cosde.sh)")
    c_min: float = Field(1e-6, ge=0, description="floor of the cosine; 1e-9 in schedules 2, 4, 5")
    period: int | None = Field(None, ge=1, description="half period; None: the schedule's own")
    generations: int = Field(99, ge=1, description="main_cosde.py line 159 with de_epochs 100")
    synchronous: bool = Field(False, description="breed all before selecting any")
    forced: bool = Field(False, description="always take one coordinate; not in the released code")
    granular: bool = Field(True, description="CR on the 2^-24 grid of float32 random numbers")

    saved = ("_F", "_CR", "_improved", "_stayed")
    ties = False

    def _begin(self) -> None:
        self._F, self._CR = self.f_init, self.cr_init
        self._improved = 0  # accepted trials of this generation
        self._stayed = 0  # counter q of schedule 4

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`: donor x_r2 + F (x_r0 - x_r1) (de.py lines 68-83)."""
        members = self.pool.vectors
        plus, minus, base = (members[r] for r in others(self.rng, "partners", len(members), i, 3))
        return cross(
            members[i],
            self._take(len(base)),
            donor(base, (self._F, plus, minus)),
            self.mutable,
        )

    def _take(self, d: int) -> Tensor:
        """The coordinates that change."""
        take = self.rng.mask("mask", d, granular_rate(self._CR) if self.granular else self._CR)
        return force(take, self.rng.integer("forced", d)) if self.forced else take

    def _learn(self, accepted: Tensor, gains: Tensor) -> None:
        """Count what was accepted, strictly (de.py line 101)."""
        self._improved += int(accepted.sum())

    def _turn(self) -> None:
        """F and CR of the next generation (main_cosde.py lines 165-203)."""
        improved, self._improved = self._improved, 0
        if self.schedule == "constant" or (self.schedule == 1 and improved):
            return
        if self.schedule == 4 and improved > 1:
            self._stayed += 1
            return
        phase = (self._generation - self._stayed) / (self.period or PERIODS[self.schedule])
        self._stayed = 0
        self._F = annealed(self.schedule, self.f_init, self.c_min, phase)
        self._CR = annealed(self.schedule, self.cr_init, self.c_min, phase)
        if self.schedule in (3, 4):
            self._F += self.f_init + (self.c_min - self.f_init) * self.rng.uniform("F")
            self._CR += self.cr_init + (self.c_min - self.cr_init) * self.rng.uniform("CR")

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, F and CR."""
        return {**super().trace(), "F": self._F, "CR": self._CR}


@method("random-copy", control=True)
class RandomCopy(Cade):
    """Control for CADE: copy a few random coordinates from one random other member.

    The same CR, schedule and selection, hence the same expected number of changed weights, but no
    difference vector: F plays no part. If CADE does no better, its F did nothing.
    """

    trials = ({"generations": 5, "cr_init": 0.5},)
    least = 2

    def _breed(self, i: int) -> Tensor:
        """Member `i` with some coordinates of another member."""
        members = self.pool.vectors
        source = members[others(self.rng, "partners", len(members), i, 1)[0]]
        return cross(
            members[i],
            self._take(len(source)),
            lambda at: source[at].clone(),
            self.mutable,
        )
