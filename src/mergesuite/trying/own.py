"""A method of one's own: a function, or an ask/tell method that is in no folder of this package."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mergesuite.errors import UserError
from mergesuite.methods import Calling, Method, OneStep, Population

Scorer = Callable[[Tensor], Tensor]
"""From weights `(n, d)` to float64 `(n,)`: how many search images each gets right."""
Function = Callable[[Tensor, Scorer], Tensor]
"""From parents `(k, d)` and a scorer to one vector `(d,)`."""


class OfFunction(Calling):
    """A function as a method."""

    def __init__(self, function: Function) -> None:
        """`function` is called once."""
        super().__init__()
        self._function = function

    def find(self, parents: Tensor, fitness: Scorer) -> Tensor:
        """What the function returns."""
        return self._function(parents, fitness)


def as_method(name: str, given: Function | Method) -> Method:
    """What the merge stage runs.

    Raises:
        UserError: it is neither a function nor a method.
    """
    if isinstance(given, Population | OneStep | Calling):
        return given
    if isinstance(given, type) or not callable(given):
        raise UserError(
            f"method {name} should be a function of parents and fitness, or a Population that is "
            f"made already, found {type(given).__name__}"
        )
    return OfFunction(given)
