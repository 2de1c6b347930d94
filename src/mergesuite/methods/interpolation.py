"""The straight line between two parents, point by point: the control for a search on it."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.errors import UserError
from mergesuite.methods import Population, Proposal, method, started


@method("interpolation-grid", control=True)
class InterpolationGrid(Population):
    """The best of equally spaced points of the segment between two parents, both ends included."""

    takes = 2
    least = 2
    cost = "points"
    composes = True
    rounds = True

    points: int = Field(21, ge=2, description="points of the grid, the parents included")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(2, d)`.

        Raises:
            UserError: not exactly two parents.
        """
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        if len(parents) != 2:
            raise UserError(
                f"interpolation-grid needs 2 parents, found {len(parents)}: "
                "leave it out for this population"
            )
        self._step = 0
        self._best = (0.0, -torch.inf)
        self._last = -torch.inf

    def _point(self, alpha: float) -> Tensor:
        return (1 - alpha) * self._parents[0] + alpha * self._parents[1]

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best point so far and its score."""
        return self._point(self._best[0]), self._best[1]

    def ask(self) -> Proposal | None:
        """The next point."""
        if self._step == self.points:
            return None
        return Proposal(self._point(self._step / (self.points - 1))[None])

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Note the score; of equals the first stays best."""
        self._last = float(scores[0])
        if self._last > self._best[1] and self._last < torch.inf:
            self._best = (self._step / (self.points - 1), self._last)
        self._step += 1

    def trace(self) -> dict[str, float]:
        """Where the last point was (0: first parent, 1: second), and its score."""
        alpha = (self._step - 1) / (self.points - 1)
        return {"best": self._best[1], "alpha": alpha, "score": self._last}

    def state(self) -> dict[str, Any]:
        """Parents, position and best."""
        return {
            "parents": self._parents,
            "step": self._step,
            "best": list(self._best),
            "last": self._last,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents, self._step = state["parents"], state["step"]
        self._best = (state["best"][0], state["best"][1])
        self._last = state["last"]
