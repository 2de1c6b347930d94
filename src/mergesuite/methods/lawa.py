"""Latest weight averaging: how many ending epochs are worth averaging."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, method, started


@method(
    "lawa",
    cite="Kaddour: Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest "
    "Weight Averaging, arXiv 2209.14981 (2022)",
    control=True,
)
class LAWA(Population):
    """The mean of the last k parents, for the k that is best on the search split.

    Source: Kaddour (2022): the mean of the k latest checkpoints of one run, each from the end of an
    epoch. k is given there; here every k is tried, 1 included, and of equal scores the shorter
    window wins.
    """

    cost = "NP"
    composes = True

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, the latest last; their scores are measured anew."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        self._next, self._best = 1, (1, -torch.inf)

    def _mean(self, window: int) -> Tensor:
        total = self._parents[-window].double()
        for parent in self._parents[len(self._parents) - window + 1 :]:
            total += parent
        return (total / window).to(self._parents.dtype)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best mean so far and its score."""
        return self._mean(self._best[0]), self._best[1]

    def ask(self) -> Proposal | None:
        """The mean over the next longer window."""
        if self._next > len(self._parents):
            return None
        limit = torch.tensor([self._best[1]], dtype=torch.float64)
        return Proposal(self._mean(self._next)[None], limit)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Keep the window or not."""
        if bool(exceeded[0]) and bool(torch.isfinite(scores[0])):
            self._best = (self._next, float(scores[0]))
        self._next += 1

    def trace(self) -> dict[str, float]:
        """Best score and its window."""
        return {"best": self._best[1], "window": self._best[0]}

    def state(self) -> dict[str, Any]:
        """Parents, position, best window and its score."""
        return {
            "parents": self._parents,
            "next": self._next,
            "window": self._best[0],
            "score": self._best[1],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents, self._next = state["parents"], state["next"]
        self._best = (state["window"], state["score"])
