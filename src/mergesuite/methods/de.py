"""Differential evolution: the operators that its relatives share, and the textbook DE/rand/1/bin.

Read `donor` and `cross` (one trial), `Pool` (members, selection), then `De` for the whole loop.
Vectors are never changed in place: a trial that is accepted *becomes* the member, so a pool costs
its members and the trials under way, and a saved state needs no copy.

Source: storn1997. Released code that differs from the textbook is in the methods' own files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import Population, Proposal, method, started
from mergesuite.streams import DrawSource

Index = Tensor | slice
EVERYWHERE = slice(None)


def donor(base: Tensor, *terms: tuple[float, Tensor, Tensor]) -> Callable[[Index], Tensor]:
    """The donor `base + sum of F (plus - minus)` over `terms` `(F, plus, minus)`.

    Returns:
        A function that computes the donor at some coordinates only: with a tiny CR that is a
        handful out of millions. Equal vectors cancel exactly, so equal parents breed themselves.
    """

    def at(index: Index) -> Tensor:
        factor, plus, minus = terms[0]
        value = (plus[index] - minus[index]).mul_(factor)
        for factor, plus, minus in terms[1:]:
            value += (plus[index] - minus[index]).mul_(factor)
        return value.add_(base[index])

    return at


def cross(
    parent: Tensor,
    take: Tensor | None,
    donor_at: Callable[[Index], Tensor],
    mutable: Tensor | None = None,
) -> Tensor:
    """The trial `(d,)`: the donor's coordinates where `take` says so, else the parent's.

    `take` is a bool mask, int64 positions, or None for all. Coordinates outside `mutable` keep the
    parent's value. At most two vectors are alive besides the parents.
    """
    if take is not None and take.dtype != torch.bool:
        take = take.to(parent.device)
        if mutable is not None:
            take = take[mutable[take]]
        trial = parent.clone()
        trial[take] = donor_at(take)
        return trial
    value = donor_at(EVERYWHERE)
    limits = [m.to(parent.device) for m in (take, mutable) if m is not None]
    if not limits:
        return value
    allowed = limits[0] if len(limits) == 1 else limits[0] & limits[1]
    return torch.where(allowed, value, parent, out=value)


def force(take: Tensor, position: int) -> Tensor:
    """`take` with one coordinate more: the k_rand of the textbook crossover."""
    if take.dtype == torch.bool:
        take = take.clone()
        take[position] = True
        return take
    return (
        take if bool((take == position).any()) else torch.cat([take, take.new_tensor([position])])
    )


def others(rng: DrawSource, name: str, n: int, i: int, k: int) -> list[int]:
    """`k` distinct members of `n`, none of them `i`, in the order drawn."""
    return [at + (at >= i) for at in rng.sample(name, n - 1, k)]


def clip(value: float, low: float, high: float) -> float:
    """`value` within [low, high]; NaN stays NaN, as with numpy.clip."""
    return min(max(value, low), high)


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
        members, draws = started(parents, rng, least=least, name=name)
        # One storage per vector: a replaced member's memory is freed at once.
        return cls([vector.clone() for vector in members], counted(fitness.cpu())), draws

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.vectors)

    @property
    def leader(self) -> int:
        """The first member with the highest score."""
        return int(self.scores.nan_to_num(nan=-torch.inf, neginf=-torch.inf).argmax())

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

    def fill(self, breed: Callable[[int], Tensor], count: int | None = None) -> Tensor:
        """Make the trials of members 0.. with `breed(i)`, row by row: `(count, d)`."""
        first = breed(0)
        trials = first.new_empty(len(self) if count is None else count, len(first))
        trials[0] = first
        for i in range(1, len(trials)):
            trials[i] = breed(i)
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


@method("de", cite="storn1997")
class De(Population):
    """Differential evolution DE/rand/1/bin as in the textbook.

    Synchronous: all trials of a generation are made before any is accepted, so they take as much
    memory as the population. One coordinate is always the donor's. Equal scores are accepted.
    With `mutable` set, the forced coordinate may be one that keeps its value.
    """

    F: float = Field(0.5, ge=0, le=2, description="weight of the difference vector")
    CR: float = Field(0.9, ge=0, le=1, description="crossover probability per coordinate")
    generations: int = Field(20, ge=1, description="generations G")

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(NP, d)`, NP >= 4, and their scores."""
        self.pool, self.rng = Pool.begin(parents, fitness, rng, least=4, name=self.name)
        self._generation = 1

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.generations * len(self.pool)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best member and its score."""
        return self.pool.best

    def ask(self) -> Proposal | None:
        """One trial per member."""
        if self._generation > self.generations:
            return None
        trials = self.pool.trials
        if trials is None:
            trials = self.pool.fill(self._breed)
        return Proposal(trials, self.pool.thresholds(ties=True))

    def _breed(self, i: int) -> Tensor:
        """The trial against member `i`."""
        return rand_1_bin(self.rng, self.pool.vectors, i, self.F, self.CR, self.mutable)

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select."""
        self.pool.select(range(len(self.pool)), scores, exceeded)
        self._generation += 1

    def trace(self) -> dict[str, float]:
        """Best and mean score, and the generation."""
        return {**spread(self.pool), "generation": self._generation}

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        return {
            **self.pool.state(),
            "generation": self._generation,
            "rng": self.rng.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.pool = Pool.restored(state)
        self._generation = state["generation"]
        self.rng.restore(state["rng"])


def rand_1_bin(
    rng: DrawSource,
    members: Sequence[Tensor],
    i: int,
    F: float,
    CR: float,
    mutable: Tensor | None,
) -> Tensor:
    """The trial `(d,)` of DE/rand/1/bin against member `i`, with the forced coordinate."""
    base, plus, minus = (members[r] for r in others(rng, "partners", len(members), i, 3))
    take = rng.mask("mask", len(base), CR)
    take = force(take, rng.integer("forced", len(base)))
    return cross(members[i], take, donor(base, (F, plus, minus)), mutable)


def spread(pool: Pool) -> dict[str, float]:
    """Best and mean score of a pool, for trace.csv."""
    return {"best": pool.best[1], "mean": float(pool.scores.mean())}
