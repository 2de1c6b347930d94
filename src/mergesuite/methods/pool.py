"""The members of a population and how trials replace them; shared by all that evolve one.

Vectors are never changed in place: a trial that is accepted *becomes* the member, so a pool costs
its members and the trials under way, and a saved state needs no copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import started


class Pool:
    """The members of a population, their scores, and the trials that wait for theirs.

    A parent that comes with NaN or +inf counts as -inf, so that any finite score replaces it.
    A NaN that enters through a restored state is kept for ever, as every released code does
    (no number is greater than NaN).
    """

    def __init__(self, vectors: Sequence[Tensor], scores: Tensor) -> None:
        """`vectors`: NP of `(d,)`; `scores`: `(NP,)` float64."""
        self.vectors = list(vectors)
        self.scores = scores
        self.trials: Tensor | None = None

    @classmethod
    def begin(
        cls,
        parents: Tensor,
        fitness: Tensor,
        rng: torch.Generator | DrawSource,
        *,
        least: int,
        name: str,
    ) -> tuple[Pool, DrawSource]:
        """A pool of copies of `parents` `(NP, d)` with scores `fitness` `(NP,)`, and the draws.

        Raises:
            UserError: fewer than `least` parents.
        """
        # Without columns: the check and the draws, not a second copy of everything.
        _, draws = started(parents[..., :0], rng, least=least, name=name)
        # One storage per vector: a replaced member's memory is freed at once.
        vectors = [vector.detach().clone() for vector in parents]
        return cls(vectors, counted(fitness.cpu())), draws

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.vectors)

    @property
    def leader(self) -> int:
        """The first member with the highest score."""
        return int(self.scores.nan_to_num(nan=-torch.inf, neginf=-torch.inf).argmax())

    def rival(self, i: int) -> int:
        """The first with the highest score among the others of member `i`."""
        scores = self.scores.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        scores[i] = -torch.inf
        top = int(scores.argmax())
        return top if top != i else int(i == 0)  # all others at -inf: the first of them

    @property
    def best(self) -> tuple[Tensor, float]:
        """The leader and its score; selection never lowers a score, so none was ever better."""
        leader = self.leader
        score = float(self.scores[leader])
        return self.vectors[leader], -torch.inf if math.isnan(score) else score

    def thresholds(self, *, ties: bool = False) -> Tensor:
        """`(NP,)`: what a trial against each member must exceed; just below it if `ties` win."""
        bars = self.scores.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        return torch.nextafter(bars, torch.full_like(bars, -torch.inf)) if ties else bars

    def fill(self, breed: Callable[[int], Tensor], targets: Sequence[int]) -> Tensor:
        """Make the trials `(n, d)` against the members `targets` `(n,)` with `breed(i)`."""
        first = breed(targets[0])[None]
        trials = first if len(targets) == 1 else first.new_empty(len(targets), first.shape[1])
        trials[:1] = first
        del first
        for row, target in enumerate(targets[1:], 1):
            trials[row] = breed(target)
        self.trials = trials
        return trials

    def select(self, targets: Sequence[int], scores: Tensor, exceeded: Tensor) -> Tensor:
        """Let accepted trials take the places `targets` of their parents.

        Returns:
            `(n,)` bool, which were accepted. A score that is NaN or infinite never is.
        """
        assert self.trials is not None, "tell without ask"
        scores = scores.detach().cpu().double()
        accepted = exceeded.cpu().bool() & torch.isfinite(scores)
        self.scores = self.scores.clone()
        for row in accepted.nonzero().flatten().tolist():
            # A row of a larger block is copied, for it would keep the whole block alive.
            self.vectors[targets[row]] = (
                self.trials[row].clone() if len(accepted) > 1 else (self.trials[row])
            )
            self.scores[targets[row]] = scores[row]
        self.trials = None
        return accepted

    def state(self) -> dict[str, Any]:
        """Members, scores and waiting trials."""
        return {
            "members": list(self.vectors),
            "scores": self.scores,
            "trials": self.trials,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Pool:
        """The pool that `state` was taken of."""
        pool = cls(list(state["members"]), state["scores"].clone())
        pool.trials = state["trials"]
        return pool


def counted(scores: Tensor) -> Tensor:
    """Scores as float64 of which NaN and +inf count as -inf: they never win."""
    return scores.detach().double().nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def spread(pool: Pool) -> dict[str, float]:
    """Best and mean score of a pool, for trace.csv."""
    return {"best": pool.best[1], "mean": float(pool.scores.mean())}
