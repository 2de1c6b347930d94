"""Exponential averages of saved checkpoints: how fast the past is best forgotten."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, method, started
from mergesuite.methods.mixtures import decayed, mixture

DECAYS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""From the last checkpoint alone to the mean of all."""


@method(
    "ema-window",
    cite="Karras et al.: Analyzing and Improving the Training Dynamics of Diffusion Models, CVPR "
    "(2024)",
    control=True,
)
class EmaWindow(Population):
    """The exponential average of the parents, for the decay that is best on the search split.

    Source: Karras et al. (2024, arXiv 2312.02696) choose the length of the average after training.
    This is a simple variant: they rebuild averages over every update, with a power for a profile,
    from averages that were kept in training; here the decay is per saved checkpoint, of the grid
    0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1. Each checkpoint counts `decay` times the next, the first
    no more than that. Of equal scores the smaller decay wins.
    """

    cost = "8"
    composes = True

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, the latest last; their scores are measured anew."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        self._next, self._best = 0, (0, -torch.inf)

    def _average(self, number: int) -> Tensor:
        coefficients = decayed(len(self._parents), DECAYS[number])
        return mixture(self._parents, [coefficients], base=-1)

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return len(DECAYS)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best average so far and its score."""
        return self._average(self._best[0]), self._best[1]

    def ask(self) -> Proposal | None:
        """The average of the next larger decay."""
        if self._next == len(DECAYS):
            return None
        limit = torch.tensor([self._best[1]], dtype=torch.float64)
        return Proposal(self._average(self._next)[None], limit)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Keep the decay or not."""
        if bool(exceeded[0]) and bool(torch.isfinite(scores[0])):
            self._best = (self._next, float(scores[0]))
        self._next += 1

    def trace(self) -> dict[str, float]:
        """Best score and its decay."""
        return {"best": self._best[1], "decay": DECAYS[self._best[0]]}

    def state(self) -> dict[str, Any]:
        """Parents, position, best decay and its score."""
        return {
            "parents": self._parents,
            "next": self._next,
            "decay": self._best[0],
            "score": self._best[1],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents, self._next = state["parents"], state["next"]
        self._best = (state["decay"], state["score"])
