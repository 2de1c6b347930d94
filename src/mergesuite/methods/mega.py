"""MeGA: a genetic algorithm on the segment between two parents, pairwise up a binary tree.

Read `_breed` (the lines that are the method), then `tell` (selection and elitism), then `_advance`
(how more than two parents are merged).

Source: Yun 2024, section 3.1 (arXiv v1); released code `mega.py` lines 98-184 and
`multiple-mega.py` lines 99-117 at commit 6651b82. Deviations: replications/mega/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.errors import UserError
from mergesuite.methods import Population, Proposal, method, started


@method("mega", cite="Yun: MeGA, arXiv 2406.04607 (2024)")
class Mega(Population):
    """Genetic merging: arithmetic crossover, Gaussian mutation, tournaments, elitism.

    `mutation="tensor"` is the released rule: each tensor, with probability `mutation_rate`, gets
    noise on all its elements. `mutation="element"` is the paper's: each element by itself. Neither
    touches the coordinates outside `mutable` (set by the driver; default all).

    Of `tournaments` winners only the first two are crossed (mega.py line 131); the others are
    drawn, as the released code draws them. The children of the last generation are not bred here:
    the released code breeds and never scores them. The cost is that of 2, 4, 8, ... parents.
    """

    least = 2
    cost = "(NP - 1) * (population + (generations - 1) * (population - 1))"
    noisy = True
    quiet: ClassVar = {"mutation_rate": 0}
    rounds = True
    restarts = True
    trials = ({"population": 6, "generations": 4},)

    population: int = Field(20, ge=2, le=10_000, description="individuals N (section 4.1)")
    generations: int = Field(20, ge=1, description="generations G (section 4.1)")
    tournaments: int = Field(
        4, ge=2, le=10_000, description="tournaments K per child (section 4.1)"
    )
    tournament_size: int = Field(3, ge=1, description="not in the paper; mega.py line 116")
    mutation: Literal["tensor", "element"] = Field("tensor", description="granularity of mutation")
    mutation_rate: float = Field(0.02, ge=0, le=1, description="p_mut (section 4.1)")
    mutation_sd: float = Field(0.1, ge=0, description="sigma, not in the paper; mega.py line 138")
    odd: Literal["refuse", "carry", "drop"] = Field(
        "refuse", description="one left over in a level: an error, taken up a level, or dropped"
    )

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, k >= 2; their scores are not used (mega.py line 160).

        Raises:
            UserError: fewer than two parents; an odd number in some level with `odd="refuse"`; or a
                population smaller than a tournament.
        """
        level, self.rng = started(parents, rng, least=self.least, name=self.name)
        if self.population < self.tournament_size:
            raise UserError(
                f"method mega: tournament_size {self.tournament_size} is larger than "
                f"population {self.population}"
            )
        if self.odd == "refuse" and len(level) & (len(level) - 1):
            raise UserError(
                f"method mega: {len(level)} parents leave one over in a level of pairwise merges; "
                "set odd to 'carry' or 'drop', or give 2, 4, 8, ... parents"
            )
        self._level = list(level)  # what waits to be merged in this level
        self._merged: list[Tensor] = []  # what this level has made
        self._merge, self._told = 0, {}
        self._begin()

    def _begin(self) -> None:
        """Start the GA on the first two that wait: N points of the segment (lines 98-104)."""
        left, right = self._level[:2]
        alpha = [self.rng.uniform("alpha") for _ in range(self.population)]
        self._individuals = left.new_empty(self.population, len(left))
        for individual, a in zip(self._individuals, alpha, strict=True):
            individual.copy_((1 - a) * left + a * right)
        self._fitness = torch.full((self.population,), torch.nan, dtype=torch.float64)
        self._generation = 1
        self._merge += 1
        self._top, self._top_score = 0, -torch.inf  # where the best is, and its score

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best of the GA under way, or of the last one.

        The released code starts at 0 instead of -inf, which is the same for accuracies unless all
        of generation 1 score 0; then it fails.
        """
        return self._individuals[self._top], self._top_score

    def ask(self) -> Proposal | None:
        """The individuals without a score: all N at first, then the N-1 children.

        The elite keeps its score; the released code scores it again (same data, same score).
        """
        if not self._level:
            return None
        known = int((~torch.isnan(self._fitness)).sum())  # 0, or 1: the elite is the first
        return Proposal(self._individuals[known:])

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select, keep the elite and breed (lines 159-178). A NaN score counts as -inf."""
        waiting = torch.isnan(self._fitness)
        self._fitness[waiting] = torch.nan_to_num(
            scores.double(), nan=-torch.inf, posinf=-torch.inf
        )
        top = int(self._fitness.argmax())  # the first maximum
        if float(self._fitness[top]) > self._top_score:  # else it is still the elite, in place 0
            self._top, self._top_score = top, float(self._fitness[top])
        self._told = {
            "best": self._top_score,
            "mean": float(self._fitness.mean()),
            "generation": self._generation,
            "merge": self._merge,
        }
        if self._generation == self.generations:
            self._advance()
            return
        individuals = torch.empty_like(self._individuals)
        individuals[0] = self._individuals[self._top]
        for child in individuals[1:]:
            self._breed(child)
        self._individuals, self._top = individuals, 0
        self._fitness = torch.full_like(self._fitness, torch.nan)
        if self._top_score > -torch.inf:
            self._fitness[0] = self._top_score
        self._generation += 1

    def _breed(self, child: Tensor) -> None:
        """Fill in one child: tournaments, crossover, mutation (lines 113-140)."""
        winners = [self._tournament() for _ in range(self.tournaments)]
        beta = self.rng.uniform("beta")
        first, second = self._individuals[winners[0]], self._individuals[winners[1]]
        torch.mul(first, 1 - beta, out=child)
        child += beta * second
        self._mutate(child)

    def _tournament(self) -> int:
        """The fittest of a few; of equals the first drawn."""
        drawn = self.rng.sample("tournament", self.population, self.tournament_size)
        return max(drawn, key=lambda i: float(self._fitness[i]))

    def _mutate(self, child: Tensor) -> None:
        """Add N(0, mutation_sd^2) to whole tensors, or to single elements, of a fresh child."""
        if self.mutation == "element":
            take = self.rng.mask("mutate", len(child), self.mutation_rate)
            if take.dtype == torch.bool:
                take = take.nonzero().flatten()
            if self.mutable is not None:
                take = take[self.mutable[take]]
            child[take] += self.rng.normals("noise", len(take), self.mutation_sd).to(child)
            return
        for part in child.split(self.tensors or [len(child)]):
            if self.rng.uniform("mutate") < self.mutation_rate:
                part += self.rng.normals("noise", len(part), self.mutation_sd).to(child)

    def _advance(self) -> None:
        """Store a finished merge, start the next, up the tree (multiple-mega.py lines 99-117)."""
        self._merged.append(self.best[0].clone())
        self._level = self._level[2:]
        if len(self._level) == 1:
            if self.odd == "carry":
                self._merged.append(self._level[0])
            self._level = []
        if not self._level and len(self._merged) > 1:
            self._level, self._merged = self._merged, []
        if self._level:
            self._begin()

    def trace(self) -> dict[str, float]:
        """Of the generation told last: best so far, mean score, its number, and which merge."""
        return dict(self._told)

    def state(self) -> dict[str, Any]:
        """Everything that `tell` reads."""
        return {
            "individuals": self._individuals,
            "fitness": self._fitness.clone(),
            "generation": self._generation,
            "top": self._top,
            "top_score": self._top_score,
            "merge": self._merge,
            "told": dict(self._told),
            "level": list(self._level),
            "merged": list(self._merged),
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._individuals = state["individuals"].clone()
        self._fitness = state["fitness"].clone()
        self._generation = state["generation"]
        self._top, self._top_score = state["top"], state["top_score"]
        self._merge, self._told = state["merge"], dict(state["told"])
        self._level = list(state["level"])
        self._merged = list(state["merged"])
        self.rng.restore(state["rng"])
