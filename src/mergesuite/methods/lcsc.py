"""LCSC: an evolutionary search for the coefficients of saved checkpoints.

Read `Lcsc._child` (how a new set of coefficients is made), then `tell`.

Source: Liu et al. 2024, arXiv 2404.02241. No code of their search is public: the README of
github.com/imagination-research/LCSC (commit 34ead5b) says in line 48 that it will follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, method, started
from mergesuite.methods.mixtures import decayed, mixture

DECAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
"""The search begins at exponential averages, from the last checkpoint alone to the mean of all."""

Coefficients = list[float]


@method(
    "lcsc",
    cite="Liu et al.: Linear Combination of Saved Checkpoints Makes Consistency and Diffusion "
    "Models Better, ICLR (2025)",
    control=True,
)
class Lcsc(Population):
    """Evolution of coefficients of sum 1, also below zero, of a run's checkpoints.

    Source: the evolutionary search of Liu et al. (2024): the population begins with exponential
    averages of the checkpoints; of the best `elite` of all that was scored two parents are drawn,
    crossed and mutated, `population` times a generation; the children join. k - 1 coefficients are
    searched, and the first checkpoint has what is left to 1.

    Deviations: without their code, the forms of the operators and all sizes are ours. Crossover
    takes each coefficient from either parent with equal chance, mutation adds normal noise to each,
    and the exponential averages are those of `DECAYS`, per checkpoint. Their measure is FID, ours
    the search split's. Where negative coefficients make a running variance negative, see `affine`.

    A child that does not beat the last of a full elite can never be a parent; it is dropped, which
    changes nothing and lets the evaluator stop early. One without a finite score is dropped, too.
    """

    least = 2
    cost = "evaluations"
    composes = True
    trials = (
        {"evaluations": 64, "population": 8},
        {"evaluations": 21, "population": 4, "elite": 2, "sd": 0.5},
    )

    evaluations: int = Field(200, ge=1, description="sets of coefficients in all")
    population: int = Field(20, ge=1, le=10_000, description="children of a generation; ours")
    elite: int = Field(10, ge=2, description="best sets, which may be parents; ours")
    sd: float = Field(0.1, ge=0, description="standard deviation of the mutation; ours")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, k >= 2, the latest last; their scores are not used."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        self._elite: list[tuple[Coefficients, float]] = []
        self._asked: list[Coefficients] = []
        self._done = self._generation = 0

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.evaluations

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best combination so far; before any, a checkpoint with -inf."""
        if not self._elite:
            return self._parents[0], -math.inf
        coefficients, score = self._elite[0]
        return self._mixed(coefficients), score

    def ask(self) -> Proposal | None:
        """The exponential averages, then the children of each generation; cut by the budget."""
        left = self.evaluations - self._done
        if not left:
            return None
        if not self._asked and not self._generation:
            self._asked = self._averages()[:left]
        elif not self._asked:
            self._asked = [self._child() for _ in range(min(self.population, left))]
        full = len(self._elite) == self.elite
        bar = self._elite[-1][1] if full else -math.inf
        return Proposal(
            torch.stack([self._mixed(one) for one in self._asked]),
            torch.full((len(self._asked),), bar, dtype=torch.float64),
        )

    def _mixed(self, coefficients: Coefficients) -> Tensor:
        return mixture(self._parents, [coefficients], base=-1)

    def _averages(self) -> list[Coefficients]:
        return [decayed(len(self._parents), decay) for decay in DECAYS]

    def _child(self) -> Coefficients:
        """Two of the elite crossed and mutated.

        The averages stand in for an elite in which nobody has a score.
        """
        among = [one for one, _ in self._elite] or self._averages()
        pair = self.rng.sample("parents", len(among), 2) if len(among) > 1 else [0, 0]
        a, b = (torch.tensor(among[i][1:], dtype=torch.float64) for i in pair)
        from_a = torch.tensor([self.rng.uniform("cross") < 0.5 for _ in range(len(a))])
        free = torch.where(from_a, a, b) + self.rng.normals("mutate", len(a), self.sd)
        return [1 - float(free.sum()), *free.tolist()]

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Let those that beat the bar join; of equal scores the earlier stays ahead."""
        assert self._asked, "tell without ask"
        joins = (exceeded.cpu().bool() & torch.isfinite(scores.cpu())).tolist()
        answers = zip(self._asked, scores.tolist(), joins, strict=True)
        more = [(one, score) for one, score, joined in answers if joined]
        self._elite = sorted([*self._elite, *more], key=lambda entry: -entry[1])[: self.elite]
        self._done += len(self._asked)
        self._generation += 1
        self._asked = []

    def trace(self) -> dict[str, float]:
        """Best score, the last of the elite, and the generation."""
        scores = [score for _, score in self._elite] or [-math.inf]
        return {"best": scores[0], "bar": scores[-1], "generation": self._generation}

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {
            "parents": self._parents,
            "elite": [list(one) for one, _ in self._elite],
            "scores": [score for _, score in self._elite],
            "asked": [list(one) for one in self._asked],
            "done": self._done,
            "generation": self._generation,
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents = state["parents"]
        self._elite = list(zip(map(list, state["elite"]), state["scores"], strict=True))
        self._asked = [list(one) for one in state["asked"]]
        self._done, self._generation = state["done"], state["generation"]
        self.rng.restore(state["rng"])
