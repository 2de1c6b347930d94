"""Darwinian evolution of trained networks: DE/rand/1/bin, or SaDE as its authors released it.

Read `_breed` (one trial of SaDE), then `_learn` (strategy probabilities and CR means).

Source: Du et al. 2024 (its text was not available); `de_imagenet/sade.py`, function evolve4, of the
same group at commit 8e9d91a, and the outer loop of `main.py` there. Losses there are minimised;
here a score is maximised (a negated loss, say). Deviation: a parent whose score is NaN at the
start counts as the worst.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Proposal, method
from mergesuite.methods.de import clip, cross, donor, others, rand_1_bin
from mergesuite.methods.generational import Generational
from mergesuite.methods.pool import counted

WINDOW = 20_000
"""Trials, of all strategies and outcomes, from which SaDE learns."""

P_START = [0.7, 0.1, 0.1, 0.1]
CR_START = [0.1, 0.1, 0.1]
F_MEAN, F_SD, F_CAP = 0.1, 0.04, 0.2
CR_SD, CR_CAP = 0.1, 0.2


@method(
    "darwinian",
    cite="Du et al.: Impacts of Darwinian Evolution on Pre-trained Deep Neural Networks, "
    "arXiv 2408.05563 (2024)",
)
class Darwinian(Generational):
    """Darwinian evolution: the last epochs of one training run bred by DE.

    `variant="sade"` (NP >= 6) is evolve4: four strategies, no forced coordinate, strict
    acceptance. `variant="rand1bin"` (NP >= 4) is the textbook, with `F`, `CR`, a forced coordinate
    and equal scores accepted. Both are synchronous: the trials take as much memory as the members.

    The fitness images may be redrawn: after every `generations` the counter `epoch` rises and all
    members are proposed again, to be scored on the images that belong to the new epoch; what SaDE
    has learnt is forgotten (as released). Scores of different epochs are never compared; after the
    end `epoch` stays, for `best` is scored on the last one's images.
    """

    trials = (
        {"generations": 4},
        {"generations": 4, "variant": "rand1bin", "de_epochs": 2},
        {"generations": 3, "de_epochs": 2},
    )

    variant: Literal["rand1bin", "sade"] = Field(
        "sade", description="textbook DE, or evolve4, which needs 6 parents"
    )
    F: float = Field(0.5, ge=0, le=2, description="rand1bin: weight of the difference")
    CR: float = Field(0.9, ge=0, le=1, description="rand1bin: crossover probability")
    generations: int = Field(10, ge=1, description="per DE epoch (de_iters 10, train.sh)")
    de_epochs: int = Field(1, ge=1, description="times that the fitness images are drawn")

    least = 4  # of rand1bin; see `__init__`
    cost = "(generations * de_epochs + de_epochs - 1) * NP"
    saved = ("epoch", "_rescoring", "_p", "_CRm", "_history")

    def __init__(self, **params: Any) -> None:
        """Check `params`; SaDE needs more parents and accepts strictly."""
        super().__init__(**params)
        self.ties = self.variant == "rand1bin"
        self.least = 4 if self.ties else 6

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(NP, d)` and their scores in epoch 0."""
        self.epoch = 0
        self._rescoring = False
        super().start(parents, fitness, rng)

    def _begin(self) -> None:
        """Forget what was learnt, as at the start of every DE epoch (line 639)."""
        self._p, self._CRm = list(P_START), list(CR_START)
        self._history = torch.empty(0, 3, dtype=torch.float64)  # strategy, won, CR

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end, members scored again included."""
        return len(self.pool) * (self.generations * self.de_epochs + self.de_epochs - 1)

    def ask(self) -> Proposal | None:
        """One trial per member; at the start of epochs 1, 2, ... the members themselves."""
        return Proposal(torch.stack(self.pool.vectors)) if self._rescoring else super().ask()

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i` (lines 64-136)."""
        members, rng = self.pool.vectors, self.rng
        if self.variant == "rand1bin":
            return rand_1_bin(rng, members, i, self.F, self.CR, self.mutable)
        CR = [clip(rng.normal("CR", mean, CR_SD), 0.0, CR_CAP) for mean in self._CRm]
        F = self._draw_F()
        r1, r2, r3, r4, r5 = (members[r] for r in others(rng, "partners", len(members), i, 5))
        k = rng.categorical("strategy", self._p)
        x, best = members[i], members[self.pool.leader]
        self._made.append([k, CR[k] if k < 3 else 0.0])
        if k == 3:  # current-to-rand/1, without crossover
            K = 0.2 * rng.uniform("K")
            return cross(x, None, donor(x, (K, r1, x), (F, r2, r3)), self.mutable)
        made = (
            donor(r1, (F, r2, r3)),  # rand/1
            donor(x, (F, best, x), (F, r2, r3)),  # current-to-best/1
            donor(r1, (F, r2, r3), (F, r4, r5)),  # rand/2
        )[k]
        return cross(x, rng.mask("mask", len(x), CR[k]), made, self.mutable)

    def _draw_F(self) -> float:
        """N(0.1, 0.04), negative ones drawn again, at most 0.2 (lines 79-83)."""
        while (value := self.rng.normal("F", F_MEAN, F_SD)) < 0:
            pass
        return min(value, F_CAP)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Take the members' new scores, or select and adapt."""
        if self._rescoring:
            self.pool.scores = counted(scores.cpu())
            self._rescoring = False
            return
        super().tell(scores, exceeded)
        if self._generation > self.generations and self.epoch + 1 < self.de_epochs:
            self.epoch += 1
            self._generation = 1
            self._begin()
            self._rescoring = True

    def _learn(self, accepted: Tensor, gains: Tensor) -> None:
        """SaDE: strategy probabilities and CR means from the last `WINDOW` trials.

        Wins with CR = 0 do not count for the mean; without a win it stays as it was.
        """
        if self.variant == "rand1bin":
            return
        made = torch.tensor(self._made, dtype=torch.float64)
        trials = torch.stack([made[:, 0], accepted.double(), made[:, 1]], dim=1)
        self._history = torch.cat([self._history, trials])[-WINDOW:]
        strategy, won, CR = self._history.unbind(1)
        rates = []
        for k in range(4):
            used = strategy == k
            wins = float(won[used].sum())
            rates.append(max(wins / (int(used.sum()) + 0.01), 0.01))
            good = CR[used & (won > 0) & (CR > 0)]
            if k < 3 and len(good):
                self._CRm[k] = float(good.mean())
        self._p = [rate / sum(rates) for rate in rates]

    def trace(self) -> dict[str, float]:
        """Best and mean score, epoch, generation, and for SaDE what it has learnt."""
        learnt: dict[str, float] = {}
        if self.variant == "sade":
            learnt = {f"p{k}": p for k, p in enumerate(self._p)}
            learnt |= {f"CR{k}": mean for k, mean in enumerate(self._CRm)}
        return {**super().trace(), "epoch": self.epoch, **learnt}
