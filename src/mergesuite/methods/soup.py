"""Greedy soup: average what helps, one parent after another."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, method, started


@method("greedy-soup", cite="Wortsman et al.: Model Soups, ICML (2022)", control=True)
class GreedySoup(Population):
    """Parents in order of score; one joins the average if the search split does not object.

    Source: Wortsman et al. (2022), recipe 1. The paper keeps a candidate at an equal score, the
    released code of model-soups only at a higher one: `keep`. `variant="cade"` is the port in
    CADE's repository, `greedy_soup_ann.py` lines 59-60 (see replications/cade/README.md): its list
    of ingredients is an alias, so a rejected candidate stays in and an accepted one counts twice.
    """

    cost = "NP - 1"
    composes = True

    keep: Literal["equal", "higher"] = Field("equal", description="a candidate stays at this score")
    variant: Literal["paper", "cade"] = Field("paper", description="cade: with its aliasing bug")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)` and their scores `(k,)`; the best is the first soup."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        scores = torch.nan_to_num(fitness.double(), nan=-torch.inf, posinf=-torch.inf)
        self._order = scores.argsort(descending=True, stable=True).tolist()
        self._soup = [self._order[0]]
        self._best = ([self._order[0]], float(scores[self._order[0]]))
        self._next = 1

    def _mean(self, members: list[int]) -> Tensor:
        total = self._parents[members[0]].double()
        for member in members[1:]:
            total += self._parents[member]
        return (total / len(members)).to(self._parents.dtype)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The soup with the best score so far, and that score."""
        return self._mean(self._best[0]), self._best[1]

    def ask(self) -> Proposal | None:
        """The soup with the next candidate in it."""
        if self._next == len(self._order):
            return None
        candidate = self._mean([*self._soup, self._order[self._next]])
        limit = torch.tensor([self._best[1]], dtype=torch.float64)
        if self.keep == "equal":
            limit = torch.nextafter(limit, torch.tensor(-torch.inf, dtype=torch.float64))
        return Proposal(candidate[None], limit)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Keep the candidate or not."""
        member = self._order[self._next]
        trial = [*self._soup, member]
        accepted = bool(exceeded[0]) and bool(torch.isfinite(scores[0]))
        if accepted:
            self._best = (trial, float(scores[0]))
        if self.variant == "cade":
            self._soup = [*trial, member] if accepted else trial
        elif accepted:
            self._soup = trial
        self._next += 1

    def trace(self) -> dict[str, float]:
        """Best score and number of ingredients."""
        return {"best": self._best[1], "ingredients": len(self._best[0])}

    def state(self) -> dict[str, Any]:
        """Parents, order, ingredients, position."""
        return {
            "parents": self._parents,
            "order": self._order,
            "soup": list(self._soup),
            "best": list(self._best[0]),
            "best_score": self._best[1],
            "next": self._next,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents, self._order = state["parents"], list(state["order"])
        self._soup, self._next = list(state["soup"]), state["next"]
        self._best = (list(state["best"]), state["best_score"])
