"""Methods: a method is a file in this folder, registered by one decorator.

A *population method* searches: it follows ask/tell (`Population` says how) and never sees data,
only scores. A *one-step* method computes its result from the parents. All declare their parameters
as annotated `Field`s in the class body; `mergesuite.experiment.declared` reads these and the
decorator without importing torch, so that a spec is checked in a moment.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from mergesuite.core.streams import Draws, DrawSource, as_draws
from mergesuite.errors import UserError
from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe

METHODS: dict[str, type[Method]] = {}
"""Those whose files have been imported so far; `experiment.declared` knows them all."""
Kind = TypeVar("Kind", bound="Method")
PROTOCOLS = ("published", "released", "clean")


@dataclass
class Proposal:
    """What a population method wants scored next.

    `candidates`: `(n, d)`. `thresholds`: `(n,)` float64, the score that each candidate must exceed
    to be accepted, -inf where every score counts in full; None is the same for all.
    A candidate that provably cannot exceed its threshold need not be scored to the end.
    """

    candidates: Tensor
    thresholds: Tensor | None = None

    def __len__(self) -> int:
        return len(self.candidates)


class Method:
    """What every method has: a name, a citation, and parameters checked on construction."""

    name: ClassVar[str]
    cite: ClassVar[str]
    control: ClassVar[bool]
    mixes: ClassVar[bool] = True
    """Whether the weights of several parents may be in one result."""
    chooses: ClassVar[bool] = True
    """Whether the parents' scores matter; a method that takes all alike costs no forward pass."""
    estimates: ClassVar[bool] = False
    """Whether BatchNorm statistics of the result are estimated anew, on the whole fit split."""

    tensors: list[int] | None = None
    """Sizes of the tensors that make up a vector, in order (set by the driver before it begins)."""
    statistics: Tensor | None = None
    """`(d,)` bool: coordinates that are BatchNorm statistics (set by the driver); None: none."""

    def __init__(self, **params: Any) -> None:
        """Check `params` against the declared fields.

        Raises:
            UserError: an unknown parameter or a value out of range; all are listed.
        """
        if not hasattr(self, "name"):
            type(self).name = type(self).__name__
        if self.name not in declared.methods():  # a class of one's own, in no file of this folder
            if params:
                raise UserError(f"{self.name} declares no parameters: set them in its own __init__")
            return
        for key, value in declared.check_params(self.name, params).items():
            setattr(self, key, value)


class Population(Method, ABC):
    """A search over weight vectors by ask/tell. Scores are maximised.

    The driver calls `start` once, then `ask` and `tell` in turn until `ask` returns None.
    Everything a method knows between two calls is in `state`, so a run can be cut anywhere.
    """

    mutable: Tensor | None = None
    """`(d,)` bool: coordinates that the search may change; None: all. The driver protects BatchNorm
    statistics in this way from a method that adds noise (`noisy`), unless the protocol is
    `released`; a method that only recombines members treats them as it treats weights."""

    noisy: ClassVar[bool] = False
    """Whether something is added to what the parents hold."""
    quiet: ClassVar[Mapping[str, Any]] = {}
    """Parameters under which a noisy method only mixes."""
    takes: ClassVar[int | None] = None
    """Just so many parents; None: any number from `least`."""
    least: int = 1
    """Fewer parents are refused."""
    cost: ClassVar[str] = ""
    """Candidates of a run, by its parameters and NP, the number of parents; the page of methods
    shows this, and a contract test counts after it."""
    composes: ClassVar[bool] = False
    """Whether candidates are made anew by each `ask`, and none is kept."""
    rounds: ClassVar[bool] = False
    """Whether a mixture of equal vectors may differ from them in the last digits."""
    restarts: ClassVar[bool] = False
    """Whether `best` is that of a part of the run, and falls when the next part begins."""
    trials: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Parameters of small runs, one per way to work: with these its contract is tested."""

    def __init__(self, **params: Any) -> None:
        """Check `params`; `start` or `restore` comes next."""
        super().__init__(**params)
        self.rng: DrawSource = Draws(torch.Generator())

    @property
    @abstractmethod
    def best(self) -> tuple[Tensor, float]:
        """The best vector so far `(d,)` and its score; never one whose score is NaN."""

    @abstractmethod
    def start(self, parents: Tensor, fitness: Tensor, rng: torch.Generator | DrawSource) -> None:
        """Begin a search.

        Args:
            parents: `(k, d)` weights. They are copied.
            fitness: `(k,)` their scores; a method whose source never scores the parents ignores it.
            rng: the only source of chance.

        Raises:
            UserError: fewer parents than the method needs.
        """

    @abstractmethod
    def ask(self) -> Proposal | None:
        """The next candidates, or None when the search is over."""

    @abstractmethod
    def tell(self, scores: Tensor, exceeded: Tensor) -> None:
        """Take the answer to the last proposal.

        Args:
            scores: `(n,)` float64; where `exceeded` is False it may be any bound at or below the
                threshold.
            exceeded: `(n,)` bool, whether each candidate beat its threshold.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Tensors, numbers, strings and containers of them, from which `restore` continues."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken. No `start` is needed before."""

    def candidates(self, parents: int) -> int | None:
        """How many a run on so many parents asks for, by `cost`; None where that is not said."""
        return eval(self.cost, {"NP": parents}, vars(self)) if self.cost else None

    def trace(self) -> dict[str, float]:
        """Numbers worth a column in trace.csv after each `tell`."""
        return {"best": self.best[1]}


@dataclass
class Combination:
    """The result of a one-step method.

    `members`: `(m, d)` weight vectors. `combine` says how their predictions become one:
    `single` (m = 1), `logits`, `probabilities`, `votes`, or `mean` (the mean of their scores).
    """

    members: Tensor
    combine: str = "single"


@dataclass(frozen=True)
class Gradients:
    """What a one-step method wants to know of the parents' gradients: see `stages.fisher`.

    `images`: of the fit split, at most. `labels`: of which log-probabilities; `expected`: all, each
    with its probability, `sampled`: of one label that is drawn by them.
    """

    images: int
    labels: Literal["expected", "sampled"]


class OneStep(Method, ABC):
    """A method that needs no search."""

    squared: Tensor | None = None
    """`(k, d)`: mean squared gradients of the parents (set by the driver where it `wants` them)."""

    @property
    def wants(self) -> Gradients | None:
        """The gradients that the method needs; None: none, so that it never costs an image."""
        return None

    @abstractmethod
    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """The result for `parents` `(k, d)` with scores `fitness` `(k,)` on the search split."""


class Calling(Method, ABC):
    """A search that calls the fitness itself, and so cannot be cut and continued.

    Those of this folder are asked instead (`Population`); it is for functions of one's own.
    """

    @abstractmethod
    def find(self, parents: Tensor, fitness: Callable[[Tensor], Tensor]) -> Tensor:
        """The result `(d,)` for `parents` `(k, d)`; `fitness` scores `(n, d)` as float64 `(n,)`."""


class FurtherTraining(Method, ABC):
    """A method that trains the best parent on instead of merging."""

    mixes = False

    @abstractmethod
    def asked(self, fit: int) -> int:
        """How many images to train on when the fit split has `fit`.

        Raises:
            UserError: nothing says how many, or two parameters do.
        """

    @abstractmethod
    def recipe(self, images: int, fit: int) -> Recipe:
        """How to train for `images` images when the fit split has `fit`."""


def method(
    name: str, *, cite: str = declared.OURS, control: bool = False
) -> Callable[[type[Kind]], type[Kind]]:
    """Register a class under `name`.

    Args:
        name: how specs and commands call it.
        cite: the citation of its source; none for what is of this suite.
        control: whether it is something that a method has to beat.
    """

    def register(cls: type[Kind]) -> type[Kind]:
        if name in METHODS:
            raise ValueError(f"two methods are called {name!r}")
        cls.name, cls.cite, cls.control = name, cite, control
        METHODS[name] = cls
        return cls

    return register


def named(name: str) -> type[Method]:
    """The class of a method; no file but its own, and what that imports, is loaded.

    Raises:
        UserError: no such method; the nearest name is given.
    """
    importlib.import_module(f"{__name__}.{declared.method_fields(name).module}")
    return METHODS[name]


def create(name: str, **params: Any) -> Any:
    """A method by name, with its parameters.

    Raises:
        UserError: no such method, an unknown parameter, or a value out of range.
    """
    return named(name)(**params)


def started(
    parents: Tensor, rng: torch.Generator | DrawSource, *, least: int, name: str
) -> tuple[Tensor, DrawSource]:
    """A private copy of `parents` and a draw source; the first lines of every `start`.

    Raises:
        UserError: fewer than `least` parents.
    """
    if parents.ndim != 2 or len(parents) < least:
        raise UserError(
            f"method {name} needs at least {least} parents, found {len(parents)}: "
            "add parents to the population"
        )
    return parents.clone(), as_draws(rng)
