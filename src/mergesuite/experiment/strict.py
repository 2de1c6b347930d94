"""Settings that refuse what they do not know, and say so in one line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mergesuite.errors import UserError, nearest

MOST: dict[type[int | float], float] = {int: 10**9, float: 1e30}
"""The largest whole number, and the largest other one: float32 ends soon after."""


class Strict(BaseModel):
    """Frozen; an unknown key is an error, and so is a number that is not finite or above `MOST`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _plausible(cls, value: Any) -> Any:
        for place, number in _numbers(value):
            if abs(number) > (most := MOST[type(number)]):
                kind = "whole numbers" if isinstance(number, int) else "numbers"
                raise ValueError(f"{place}{kind} are {most:,.0e} at most")
        return value


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, int | float]]:
    """Those in a value, however it is made up, each with its keys."""
    if type(value) in MOST:  # no bool
        yield place, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{place}{key}: ")
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part, place)


Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], given: dict[str, Any], where: str) -> Model:
    """`given` as a checked `model`.

    Raises:
        UserError: an unknown key or a bad value; all are listed after `where`.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(explain(error, model.model_fields))
        raise UserError(f"{where}: {problems}") from None


def explain(error: ValidationError, known: Iterable[str] = ()) -> list[str]:
    """One phrase per problem, with the key's path and the nearest known key or value."""
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: unknown key{nearest(str(problem['loc'][-1]), known)}")
            continue
        message = problem["msg"].removeprefix("Value error, ")
        # Of several keys together the message says what matters. What is found is shortened while
        # it is written: what a few aliases of YAML say can be very long.
        is_whole = problem["type"] == "value_error" and isinstance(problem["input"], dict)
        said = problem["type"] == "missing" or is_whole
        found = "" if said else f", found {_SHORT.repr(problem['input'])}"
        if problem["type"] == "literal_error":
            values = re.findall(r"'([^']*)'", problem.get("ctx", {}).get("expected", ""))
            found += nearest(str(problem["input"]), values)
        lines.append(f"{path}: {message}{found}".removeprefix(": "))
    return lines


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxstring = 2, 3, 3, 60
