"""SA-SHADE-tri-ensin: strategy choice of SaDE, memory of SHADE, trigonometric mutation, sinusoids.

Read `_breed` (one trial), `_draw_F`, then `_learn`: `_count`, `_remember`, `_choose`.

Source: the submission (its PDF was not available); released code `spe.py` of CADE4SNN at commit
154a63c, mutate_and_crossover (lines 88-200) and update_pop (lines 202-370). That this is the
submission's code is an inference: every part of the name occurs in it.

What `variant="released"` keeps although it looks wrong, and `variant="named"` mends:
- S1 is a constant: sin(pi t + pi) = 0 for whole t (line 132). Named: half the frequency.
- F and frequencies are Normal, not Cauchy (lines 135-143). Named: Cauchy, redrawn if not positive.
- a winner at index 0 alone is overlooked, for positions are summed (lines 248, 260). Named: not.
- NaN from 0/0 enters memories and p1 (lines 127, 245-258). Named: such an update is skipped, and an
  empty window counts as no win.
- the trigonometric weights prefer the lower score (line 176); see `trigonometric_weights`.
- no coordinate is forced, and equal scores are rejected (lines 166, 208). Named: as in SHADE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.de import (
    clip,
    cross,
    donor,
    force,
    lehmer,
    others,
    sinusoid,
    trigonometric_weights,
)
from mergesuite.methods.generational import Generational

STRATEGIES = 5
TRIGONOMETRIC = 4
F_LEAST = 1e-4
RECENT = 10
"""Trials per member from which the strategy probabilities come."""


@method(
    "sa-shade",
    cite="Evolving Neural Network's Weights at Imagenet Scale, ICLR 2024 submission 690 (2023)",
)
class SaShade(Generational):
    """SA-SHADE-tri-ensin: five strategies, each with its own memory of F, CR and frequency.

    `trigonometric` is the rule of strategy 4: `released`, `right-sign`, and two controls that show
    whether it is more than averaging: `mean-of-three` (the same three models), `mean-of-all`.
    None takes the variant's own.
    Synchronous: the trials of a generation take as much memory as the members. Above 20 members
    strategy 4 takes three random others.
    """

    trials = (
        {"generations": 8},
        {"generations": 8, "variant": "named"},
        {"generations": 8, "trigonometric": "mean-of-all"},
    )

    variant: Literal["released", "named"] = Field("released", description="see the file's head")
    trigonometric: Literal["released", "right-sign", "mean-of-three", "mean-of-all"] | None = Field(
        None, description="rule of strategy 4; None: by variant"
    )
    generations: int = Field(299, ge=1, description="generations run (de_epochs 300, from 1)")
    planned: int | None = Field(None, ge=2, description="G in the formulas; None: generations + 1")
    memory: int = Field(5, ge=1, le=1_000_000, description="slots H (shade_mem)")
    window: int = Field(5, ge=1, description="generations LP for the choice of S1 or S2")
    trig_perc: float = Field(0.2, ge=0, le=1, description="first probability of strategy 4")
    cr_init: float = Field(0.8, ge=0, le=1, description="first value of the CR memory")
    cr_std: float = Field(0.05, ge=0, description="spread of CR")
    cr_clip: float = Field(0.99, ge=0, le=1, description="greatest CR")
    f_init: float = Field(0.6, gt=0, description="first value of the F memory; scale of sinusoids")
    f_std: float = Field(0.05, ge=0, description="spread of F")
    f_clip: float = Field(0.99, gt=0, description="greatest F")
    freq_init: float = Field(0.5, ge=0, description="first value of the frequency memory")
    freq_std: float = Field(0.1, ge=0, description="spread of frequencies")

    saved = ("_u_F", "_u_CR", "_u_freq", "_slot", "_uses", "_recent", "_p")
    least = 2

    def __init__(self, **params: Any) -> None:
        """Check `params`; the released code accepts strictly."""
        super().__init__(**params)
        self._named = self.ties = self.variant == "named"

    def _begin(self) -> None:
        """First values (main_cosde.py lines 135-146)."""
        shape = (self.memory, TRIGONOMETRIC)
        self._u_F = torch.full(shape, self.f_init, dtype=torch.float64)
        self._u_CR = torch.full(shape, self.cr_init, dtype=torch.float64)
        self._u_freq = torch.full(shape, self.freq_init, dtype=torch.float64)
        self._slot = [0] * TRIGONOMETRIC
        self._uses: list[list[int]] = []  # per generation: S1 won, S1 lost, S2 won, S2 lost
        self._recent: list[list[int]] = []  # strategy, won
        share = (1 - self.trig_perc) / TRIGONOMETRIC
        self._p = [share] * TRIGONOMETRIC + [self.trig_perc]

    @property
    def _G(self) -> int:
        return self.planned or self.generations + 1

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i` (lines 117-190)."""
        rng, members = self.rng, self.pool.vectors
        k = rng.categorical("strategy", self._p)
        r1 = others(rng, "r1", len(members), i, 1)[0]
        top = self.pool.rival(i)  # lines 372-377
        made: dict[str, Any] = {
            "k": k,
            "rule": "trig",
            "F": self.f_init,
            "CR": self.cr_init,
            "freq": self.freq_init,
        }
        self._made.append(made)
        x, mate, best = members[i], members[r1], members[top]
        if k == TRIGONOMETRIC:
            return self._breed_trigonometric(i, r1, top)
        made["rule"], made["freq"], made["F"] = self._draw_F(k)
        made["CR"] = self._draw_CR(k)
        F = made["F"]
        by_best = F * rng.uniform("k3") if k == 3 else F
        terms = ((F, mate, x), (by_best, best, x))
        terms = {0: terms[:1], 1: terms[1:]}.get(k, terms)
        take = rng.mask("mask", len(x), made["CR"])
        if self._named:
            take = force(take, rng.integer("forced", len(x)))
        return cross(x, take, donor(x, *terms), self.mutable)

    def _breed_trigonometric(self, i: int, r1: int, top: int) -> Tensor:
        """Strategy 4, without crossover (lines 173-188)."""
        members = self.pool.vectors
        rule = self.trigonometric or ("right-sign" if self._named else "released")
        if rule == "mean-of-all":
            weights, points = (
                [1 / len(members)] * len(members),
                list(range(len(members))),
            )
        else:
            points = [i, r1, top]
            if len(members) > 20:
                points = others(self.rng, "r_trig", len(members), i, 3)
            weights = trigonometric_weights([float(self.pool.scores[j]) for j in points], rule)
        first = members[points[0]]
        # The weights sum to 1, so the first vector's is what the others leave.
        terms = [(w, members[j], first) for w, j in zip(weights[1:], points[1:], strict=True)]
        return cross(members[i], None, donor(first, *terms), self.mutable)

    def _draw_F(self, k: int) -> tuple[str, float, float]:
        """The rule, the frequency and F for strategy `k` (lines 120-143)."""
        t, G = self._generation, self._G
        if t >= G / 2:
            value = self._near(self._u_F, "F", k, self.f_std)
            return "memory", self.freq_init, clip(value, F_LEAST, self.f_clip)
        if self._p1() > self.rng.uniform("rule"):
            freq = self.freq_init / 2 if self._named else self.freq_init
            return "S1", self.freq_init, sinusoid(self.f_init, freq, t, (G - t) / G, math.pi)
        freq = self._near(self._u_freq, "freq", k, self.freq_std)
        value = sinusoid(self.f_init, freq, t, t / G)
        return "S2", freq, clip(value, F_LEAST, self.f_clip)

    def _near(self, memory: Tensor, name: str, k: int, spread: float) -> float:
        """A draw around a random slot of strategy `k`: Normal, or positive Cauchy if named."""
        mean = float(memory[self.rng.integer(f"slot_{name}", self.memory), k])
        if not self._named:
            return self.rng.normal(name, mean, spread)
        value = self.rng.cauchy(name, mean, spread)
        while value <= 0:
            value = self.rng.cauchy(name, mean, spread)
        return value

    def _draw_CR(self, k: int) -> float:
        """CR for strategy `k`, from a slot of its own (lines 147-149)."""
        mean = float(self._u_CR[self.rng.integer("slot_CR", self.memory), k])
        return clip(self.rng.normal("CR", mean, self.cr_std), 0.0, self.cr_clip)

    def _p1(self) -> float:
        """The probability of S1 (lines 121-129); NaN, so never, where a window holds no use."""
        if self._generation <= self.window:
            return 0.5
        totals = [sum(row[column] for row in self._uses) for column in range(4)]
        won1, lost1, won2, lost2 = totals
        if not (won1 + lost1 and won2 + lost2) and not self._named:
            return math.nan
        s1 = won1 / max(won1 + lost1, 1) + 0.01
        s2 = won2 / max(won2 + lost2, 1) + 0.01
        return s1 / (s1 + s2)

    def _learn(self, accepted: Tensor, gains: Tensor) -> None:
        """Adapt (lines 202-370)."""
        # A saved state may hold the memories as they were.
        self._u_F, self._u_CR = self._u_F.clone(), self._u_CR.clone()
        self._u_freq = self._u_freq.clone()
        won = (accepted & (gains > 0)).tolist()  # in the named variant a tie is no success
        self._count(won)
        for k in range(TRIGONOMETRIC):
            winners = [i for i, made in enumerate(self._made) if made["k"] == k and won[i]]
            if any(winners) or (winners and self._named):  # released: only index 0 counts as none
                self._remember(k, winners, gains)
        self._choose(won)

    def _count(self, won: Sequence[bool]) -> None:
        """Wins and losses of S1 and S2, up to and including t = G/2 (lines 236-241)."""
        if self._generation > self._G / 2:
            return
        row = [
            sum(made["rule"] == rule and won[i] == good for i, made in enumerate(self._made))
            for rule in ("S1", "S2")
            for good in (True, False)
        ]
        self._uses = [*self._uses, row][-self.window :]

    def _remember(self, k: int, winners: list[int], gains: Tensor) -> None:
        """Write the winners' weighted Lehmer means into strategy `k`'s slot (lines 245-267)."""
        slot = self._slot[k]
        self._slot[k] = (slot + 1) % self.memory
        for name, memory in (("F", self._u_F), ("CR", self._u_CR)):
            self._write(memory, slot, k, self._mean(name, winners, gains))
        if self._generation >= self._G / 2:
            self._write(self._u_freq, slot, k, float(self._made[0]["freq"]))
            return
        tuned = [i for i in winners if self._made[i]["rule"] == "S2"]
        if any(tuned) or (tuned and self._named):
            mean = self._mean("freq", tuned, gains)
            self._write(self._u_freq, slot, k, 0.5 if math.isnan(mean) else mean)

    def _mean(self, name: str, winners: list[int], gains: Tensor) -> float:
        """The Lehmer mean of a parameter over winners, weighted by their gains."""
        weights = gains[winners]
        if self._named and not bool(torch.isfinite(weights).all()):
            weights = torch.ones_like(weights)
        values = torch.tensor([self._made[i][name] for i in winners], dtype=torch.float64)
        return lehmer(values, weights / weights.sum())

    def _write(self, memory: Tensor, slot: int, k: int, value: float) -> None:
        """One cell; the named variant does not write what is not finite."""
        if not self._named or math.isfinite(value):
            memory[slot, k] = value

    def _choose(self, won: Sequence[bool]) -> None:
        """Strategy probabilities from the last 10 NP trials (lines 306-338).

        Under the cap of strategy 4 the others keep their proportions.
        """
        made = [[entry["k"], int(good)] for entry, good in zip(self._made, won, strict=True)]
        self._recent = [*self._recent, *made][-RECENT * len(self.pool) :]
        rates = []
        for k in range(STRATEGIES):
            outcomes = [good for strategy, good in self._recent if strategy == k]
            rate = (sum(outcomes) + 0.01) / (len(outcomes) + 0.01)
            rates.append(max(rate, 0.01) if outcomes else 0.01)
        p = [rate / sum(rates) for rate in rates]
        if p[TRIGONOMETRIC] > 0.8:
            rest = sum(p[:TRIGONOMETRIC])
            p = [0.2 * share / rest for share in p[:TRIGONOMETRIC]] + [0.8]
        self._p = p

    def trace(self) -> dict[str, float]:
        """Best and mean score, generation, and the strategy probabilities."""
        shares = {f"p{k}": p for k, p in enumerate(self._p)}
        return {**super().trace(), **shares}
