"""What the relatives of differential evolution have in common: one trial per member, selection.

A method of this kind says how a trial is made (`_breed`) and what a generation teaches (`_learn`);
`Generational` does the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mergesuite.core.streams import DrawSource
from mergesuite.methods import Population, Proposal
from mergesuite.methods.pool import Pool, spread


class Generational(Population):
    """A population whose members each compete with a trial in every generation.

    No tensor is changed in place, so that a saved state may share them all.
    """

    generations: int
    least = 4
    cost = "generations * NP"
    synchronous: bool = True
    """Whether all trials are made before any is accepted, so that they take as much memory as the
    members; if not, each is selected before the next is bred."""
    ties: bool = True
    """Whether a trial wins with a score equal to its parent's, as in the textbook."""
    saved: ClassVar[tuple[str, ...]] = ()
    """The attributes that belong to the state, beside those of this class."""

    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin with `parents` `(NP, d)`, NP >= `least`, and their scores."""
        self.pool, self.rng = Pool.begin(parents, fitness, rng, least=self.least, name=self.name)
        self._generation = 1
        self._next = 0  # the member whose trial is due
        self._made: list[Any] = []  # how each waiting trial was made
        self._begin()

    def _begin(self) -> None:
        """Set what is learnt to its first values; `pool` is there."""

    @property
    def budget(self) -> int:
        """Candidates proposed from start to end."""
        return self.generations * len(self.pool)

    @property
    def best(self) -> tuple[Tensor, float]:
        """The best member and its score."""
        return self.pool.best

    def _targets(self) -> Sequence[int]:
        """The members that the next trials compete with."""
        return range(len(self.pool)) if self.synchronous else [self._next]

    def ask(self) -> Proposal | None:
        """One trial per target."""
        if self._generation > self.generations:
            return None
        targets, trials = self._targets(), self.pool.trials
        if trials is None:
            self._made = []
            trials = self.pool.fill(self._breed, targets)
        return Proposal(trials, self.pool.thresholds(ties=self.ties)[list(targets)])

    @abstractmethod
    def _breed(self, i: int) -> Tensor:
        """The trial `(d,)` against member `i`."""

    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Select, and learn from it."""
        before, targets = self.pool.scores, list(self._targets())
        accepted = self.pool.select(targets, scores, exceeded)
        self._learn(accepted, (self.pool.scores - before)[targets])
        self._next += len(targets)
        if self._next == len(self.pool):
            self._turn()
            self._generation, self._next = self._generation + 1, 0

    def _learn(self, accepted: Tensor, gains: Tensor) -> None:
        """Adapt to which of the trials were accepted `(n,)` and how much their scores rose `(n,)`.

        Called after each `tell`: synchronous, once in a generation.
        """

    def _turn(self) -> None:
        """What ends a generation, whose number still holds."""

    def trace(self) -> dict[str, float]:
        """Best and mean score, and the generation."""
        return {**spread(self.pool), "generation": self._generation}

    def state(self) -> dict[str, Any]:
        """Everything that `ask` and `tell` read."""
        own = {name.removeprefix("_"): _copied(getattr(self, name)) for name in self._names()}
        return {**self.pool.state(), **own, "rng": self.rng.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.pool = Pool.restored(state)
        for name in self._names():
            setattr(self, name, _copied(state[name.removeprefix("_")]))
        self.rng.restore(state["rng"])

    def _names(self) -> tuple[str, ...]:
        return ("_generation", "_next", "_made", *self.saved)


def _copied(value: Any) -> Any:
    """New lists and dicts around the same tensors and numbers."""
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value
