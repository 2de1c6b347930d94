"""Random search between the parents: the control with the same budget and no evolution.

The points are those of MeGA's first generation (Yun 2024, section 3.1), on the
simplex instead of the segment where there are more than two parents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal, method, started
from mergesuite.methods.pool import counted


@method("random-search", control=True)
class RandomSearch(Population):
    """Random points between the parents; the best one wins.

    Uniform on the segment (two parents) or the simplex (more). `mutation` adds noise as MeGA does,
    to whole tensors or to single weights. Parents compete only if `include_parents`: MeGA's do not.
    Two vectors and one batch are all the memory beside the parents.
    """

    least = 2
    cost = "evaluations"
    noisy = True
    quiet: ClassVar = {"mutation": "none"}
    trials = (
        {"evaluations": 21, "batch": 4},
        {"evaluations": 21, "include_parents": True, "mutation": "element", "mutation_rate": 0.5},
    )

    evaluations: int = Field(381, ge=1, description="points in all; 381 = MeGA with N = G = 20")
    batch: int = Field(16, ge=1, le=10_000, description="points proposed at a time")
    include_parents: bool = Field(False, description="start from the best parent's score")
    mutation: Literal["none", "tensor", "element"] = Field("none", description="noise, as in MeGA")
    mutation_rate: float = Field(0.02, ge=0, le=1, description="chance of noise, as in MeGA")
    mutation_sd: float = Field(0.1, ge=0, description="its standard deviation, as in MeGA")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(k, d)`, k >= 2; scores are used only with `include_parents`."""
        self._parents, self.rng = started(parents, rng, least=self.least, name=self.name)
        self._done = 0
        self._trials: Tensor | None = None
        self._best, self._score = self._parents[0], -math.inf
        if self.include_parents:
            known = counted(fitness.cpu())
            first = int(known.argmax())
            self._best, self._score = self._parents[first], float(known[first])

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.evaluations

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best point so far; before any, a parent with -inf."""
        return self._best, self._score

    def ask(self) -> Proposal | None:
        """The next points; each must beat the best so far."""
        if self._done == self.evaluations:
            return None
        if self._trials is None:
            self._trials = self._points(min(self.batch, self.evaluations - self._done))
        bars = torch.full((len(self._trials),), self._score, dtype=torch.float64)
        return Proposal(self._trials, bars)

    def _points(self, count: int) -> Tensor:
        """`count` new points, row by row."""
        points = self._parents.new_empty(count, self._parents.shape[1])
        for row in points:
            row.copy_(self._mutated(self._point()))
        return points

    def _point(self) -> Tensor:
        """One point, uniform between the parents.

        Written as first + sum of w (other - first): equal parents give themselves, to the bit.
        """
        first, *rest = self._parents
        if len(rest) == 1:
            weights = [self.rng.uniform("alpha")]
        else:  # exponentials over their sum are uniform on the simplex
            raw = [-math.log1p(-self.rng.uniform("alpha")) for _ in self._parents]
            weights = [value / sum(raw) for value in raw[1:]]
        point = first.clone()
        for weight, other in zip(weights, rest, strict=True):
            point += (other - first).mul_(weight)
        return point

    def _mutated(self, point: Tensor) -> Tensor:
        """`point` with MeGA's noise, in place; nothing outside `mutable` is touched by `element`.

        Noise on whole tensors leaves out what is not `mutable`, too.
        """
        if self.mutation == "none":
            return point
        if self.mutation == "element":
            take = self.rng.mask("mutate", len(point), self.mutation_rate)
            if take.dtype == torch.bool:
                take = take.nonzero().flatten()
            if self.mutable is not None:
                take = take[self.mutable[take]]
            point[take] += self.rng.normals("noise", len(take), self.mutation_sd).to(point)
            return point
        start = 0
        for size in self.tensors or [len(point)]:
            if self.rng.uniform("mutate") < self.mutation_rate:
                noise = self.rng.normals("noise", size, self.mutation_sd).to(point)
                if self.mutable is not None:
                    noise *= self.mutable[start : start + size]
                point[start : start + size] += noise
            start += size
        return point

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Keep the first best of those that beat the best so far."""
        assert self._trials is not None, "tell without ask"
        known = counted(scores.cpu()).masked_fill(~exceeded.cpu().bool(), -math.inf)
        top = int(known.argmax())
        if float(known[top]) > self._score:
            self._best, self._score = self._trials[top].clone(), float(known[top])
        self._done += len(self._trials)
        self._trials = None

    def trace(self) -> dict[str, float]:
        """The best score, and points tried."""
        return {"best": self._score, "evaluations": self._done}

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {
            "parents": self._parents,
            "trials": self._trials,
            "done": self._done,
            "best": self._best,
            "best_score": self._score,
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._parents, self._trials = state["parents"], state["trials"]
        self._done = state["done"]
        self._best, self._score = state["best"], state["best_score"]
        self.rng.restore(state["rng"])
