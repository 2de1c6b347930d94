"""Searching for the coefficients of a mixture of whole parents, not for weights.

`CoefficientSearch` moves them by CMA-ES; a method of this kind says which coefficients a point
stands for (`_coefficients`), and `mixtures.mixture` what these mean.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, started
from mergesuite.methods.mixtures import mixture
from mergesuite.methods.pool import counted


class CoefficientSearch(Population):
    """CMA-ES over the coefficients of k parents; weights themselves are never mutated.

    Parents do not compete. Candidates are ranked, so all of them are scored to the end.

    `cma` draws its normal numbers from our stream. Its objects are not saved: `state` holds the
    stream's start and all scores told, from which `restore` repeats the run (points are short).
    """

    least = 2
    cost = "evaluations"
    composes = True
    trials = (
        {"evaluations": 64},
        {"evaluations": 21, "sigma": 0.3},
        {"evaluations": 64, "per": "tensor"},
    )

    sigma: float
    evaluations: int = Field(200, ge=1, description="candidates in all")
    per: Literal["network", "tensor"] = Field(
        "network", description="what has coefficients of its own; tensor: each entry of the weights"
    )

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, k >= 2; their scores are not used."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        whole = [self._parents.shape[1]]
        self._sizes = list(self.tensors or whole) if self.per == "tensor" else whole
        self._origin = self.rng.state()
        self._told: list[list[float]] = []
        self._best: tuple[list[float] | None, float] = (None, -math.inf)
        self._begin()

    def _begin(self) -> None:
        """A fresh strategy, and nothing asked yet.

        Of hundreds of coefficients no budget of a search teaches how they hang together: one set
        per tensor is searched with a diagonal covariance (Ros & Hansen 2008), at linear cost.
        """
        import cma

        diagonal = self.per == "tensor"
        options = {"randn": self._normals, "verbose": -9, "CMA_diagonal": diagonal}
        # It refuses a single dimension; then the second means nothing.
        dimension = max(2, len(self._sizes) * self._degrees)
        self._strategy = cma.CMAEvolutionStrategy(dimension * [0.0], self.sigma, options)
        self._asked: list[np.ndarray] | None = None

    @property
    @abstractmethod
    def _degrees(self) -> int:
        """Numbers of a point that decide on the coefficients of one part."""

    @abstractmethod
    def _coefficients(self, points: Tensor) -> Tensor:
        """`(p, k)`, each row of sum 1, for `points` `(p, degrees)`; zeros mean the average."""

    def _normals(self, *shape: int) -> np.ndarray:
        """Standard normal numbers for `cma` from our stream."""
        return self.rng.normals("normals", math.prod(shape), 1.0).numpy().reshape(shape)

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.evaluations

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best candidate so far; before any, a parent with -inf."""
        point, score = self._best
        return (self._parents[0] if point is None else self._mixed(point)), score

    def _mixed(self, point: list[float]) -> Tensor:
        """The parents mixed with the coefficients of `point`."""
        parts = len(self._sizes)
        used = torch.tensor(point[: parts * self._degrees], dtype=torch.float64)
        coefficients = self._coefficients(used.view(parts, self._degrees))
        return mixture(self._parents, coefficients.tolist(), self._sizes)

    def ask(self) -> Proposal | None:
        """The next sample; the last one may be cut short by the budget."""
        left = self.evaluations - sum(len(scores) for scores in self._told)
        if not left:
            return None
        if self._asked is None:
            self._asked = self._strategy.ask()
        points: list[np.ndarray] = self._asked or []
        return Proposal(torch.stack([self._mixed(z.tolist()) for z in points[:left]]))

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Keep the best and update mean, step size and covariance."""
        assert self._asked is not None, "tell without ask"
        known = counted(scores.cpu())
        top = int(known.argmax())
        if float(known[top]) > self._best[1]:
            self._best = (self._asked[top].tolist(), float(known[top]))
        self._told.append(known.tolist())
        self._update()

    def _update(self) -> None:
        """Hand the last scores to the strategy, which minimises; a cut sample is not handed over.

        Only ranks count, so a candidate without a score gets one below all others of its sample.
        """
        assert self._asked is not None
        scores, asked, self._asked = self._told[-1], self._asked, None
        if len(scores) == len(asked):
            below = min((score for score in scores if math.isfinite(score)), default=0.0) - 1.0
            losses = [-score if math.isfinite(score) else -below for score in scores]
            self._strategy.tell(asked, losses)

    def trace(self) -> dict[str, float]:
        """Best score, generation and step size."""
        return {
            "best": self._best[1],
            "generation": len(self._told),
            "sigma": float(self._strategy.sigma),
        }

    def state(self) -> dict[str, Any]:
        """Parents and their parts, the start of the stream, all scores told, the best."""
        point, score = self._best
        return {
            "parents": self._parents,
            "sizes": list(self._sizes),
            "origin": self._origin,
            "told": [list(scores) for scores in self._told],
            "best": None if point is None else list(point),
            "best_score": score,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken, by repeating the run so far."""
        self._parents, self._sizes = state["parents"], list(state["sizes"])
        self._origin = state["origin"]
        self._best = (state["best"], state["best_score"])
        self.rng.restore(self._origin)
        self._begin()
        self._told = []
        for scores in state["told"]:
            self._asked = self._strategy.ask()
            self._told.append(list(scores))
            self._update()
