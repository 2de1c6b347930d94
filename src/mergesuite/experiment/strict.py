"""Settings that refuse what they do not know, and say so in one line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mergesuite.errors import UserError, nearest


class Strict(BaseModel):
    """Frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
