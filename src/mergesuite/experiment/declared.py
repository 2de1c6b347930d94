"""What there is by name, read without importing torch.

Methods, networks and data sets are each declared in their own file, by `@method`, `@family` and
`@dataset`; `reading` reads these lines from the source. So a whole spec is checked before the DAG
is built, `mergesuite list` answers at once, and a new file in the right folder is all that a new
method, network or data set takes.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, create_model

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import reading
from mergesuite.experiment.reading import Declaration
from mergesuite.experiment.strict import Strict, explain

Kind = Literal["population", "one-step"]
OURS = "this suite"
"""Whom to cite for what no paper is the source of."""
KINDS: dict[str, Kind] = {
    "Population": "population",
    "OneStep": "one-step",
    "FurtherTraining": "one-step",
}
"""Base class -> kind of method."""
SAID = ("cost", "least", "takes", "chooses", "mixes", "noisy", "estimates")
"""What the class of a method may say of it: see `methods.Population`."""
FACTS = ("classes", "size", "splits", "origin", "cite")
"""What a data set declares: classes, image side in pixels, images per split, where from, whose."""


TEST_FACTS = ("of", "severities", "origin", "cite")
"""What a set that networks are only evaluated on declares: see `data.sources.test_set`."""


@dataclass(frozen=True)
class Method:
    """One registered method.

    Attributes:
        cite: the citation itself.
        params: checks its parameters.
        text: the paragraphs of its docstring.
        above: those of its file's.
        facts: what its class says of each of `SAID`; None where it says nothing.
    """

    name: str
    cite: str
    control: bool
    kind: Kind
    summary: str
    module: str
    params: type[BaseModel]
    text: tuple[str, ...]
    above: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Family:
    """The networks whose names match `pattern`, whole.

    Attributes:
        pattern: its groups are handed to the builder.
        names: the members that are listed; the pattern may match more.
        options: the names of further arguments of the builder.
    """

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    cite: str
    summary: str
    module: str
    options: tuple[str, ...]


@functools.cache
def methods() -> dict[str, Method]:
    """Every method by name.

    Raises:
        UserError: a file of the folder cannot be read, or two methods have one name.
    """
    return {name: _method(d) for name, d in sorted(_declared("methods", "method").items())}


def method_fields(name: str) -> Method:
    """The method called `name`.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    known = methods()
    if name not in known:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; "
            "`mergesuite list methods` shows them all"
        )
    return known[name]


@functools.cache
def families() -> tuple[Family, ...]:
    """Every family of networks of this suite."""
    return tuple(_family(found) for found in _declared("models", "family").values())


@functools.cache
def family(name: str) -> Family | None:
    """The family of the network called `name`; None for one of timm, torchvision or nobody."""
    return next((one for one in families() if one.pattern.fullmatch(name)), None)


@functools.cache
def datasets() -> dict[str, dict[str, Any]]:
    """Facts about every data set, by name: see `FACTS`; and whether its images are `files`."""
    return {
        name: {fact: found.argument(fact) for fact in FACTS}
        | {"files": found.argument("files", False)}
        for name, found in _declared("data", "dataset").items()
    }


@functools.cache
def test_sets() -> dict[str, dict[str, Any]]:
    """Facts about every set that networks are only evaluated on, by name: see `TEST_FACTS`."""
    return {
        name: {fact: found.argument(fact) for fact in TEST_FACTS}
        for name, found in _declared("data", "test_set").items()
    }


def is_folder(name: str) -> bool:
    """Whether a data set's images are files, to be cut and divided as one likes."""
    return name.startswith("folder:") or datasets().get(name, {}).get("files", False)


@functools.cache
def _declared(folder: str, decorator: str) -> dict[str, Declaration]:
    """What a sub-package declares, by name."""
    found: dict[str, Declaration] = {}
    for one in reading.declarations(folder, decorator):
        if other := found.get(one.name):
            raise UserError(
                f"{one.source.file} line {one.call.lineno}: {one.name!r} is declared in "
                f"{other.source.file} line {other.call.lineno} too: rename one"
            )
        found[one.name] = one
    return found


@functools.cache
def modules(
    *, build: str = "", data: str = "", method: str = "", others: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The files that a network, a data set and a method bring in: see `core.digests`.

    `others`: names of sets to evaluate on, empty for the data's own test images.
    """
    found = []
    if build:
        own = family(build)
        found.append(f"models.{own.module}" if own else "models.foreign")
    if data:
        reader = _declared("data", "dataset").get(data)
        found.append(f"data.{reader.module}" if reader else "data.folders")
    for name in others:
        reader = _declared("data", "test_set").get(name)
        found.append(f"data.{reader.module}" if reader else "data.folders")
    if method:
        found.append(f"methods.{method_fields(method).module}")
    return tuple(found)


def check_params(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """`params` of method `name` with defaults filled in.

    Raises:
        UserError: an unknown parameter or a bad value; all are listed in one line.
    """
    entry = method_fields(name)
    try:
        return entry.params.model_validate(params).model_dump()
    except ValidationError as error:
        raise UserError(
            f"method {name}: " + "; ".join(explain(error, entry.params.model_fields))
        ) from None


def _method(found: Declaration) -> Method:
    source, name = found.source, found.name
    bases = {cls.__name__ for cls in (source.stand_in(found.node.name) or object).__mro__}
    kinds: list[Kind] = [kind for base, kind in KINDS.items() if base in bases]
    if not kinds:
        raise source.unreadable(found.node, f"a method derives from one of {', '.join(KINDS)}")
    return Method(
        name=name,
        cite=found.argument("cite", OURS),
        control=found.argument("control", False),
        kind=kinds[0],
        summary=found.summary,
        module=found.module,
        params=create_model(name, __base__=Strict, **source.fields(found.node.name)),
        text=tuple(found.paragraphs),
        above=tuple(found.above),
        facts={fact: source.attribute(found.node.name, fact) for fact in SAID},
    )


def _family(found: Declaration) -> Family:
    pattern = re.compile(found.name)
    given = {"classes", *pattern.groupindex}
    return Family(
        pattern=pattern,
        names=tuple(found.argument("names", ())),
        cite=found.argument("cite", OURS),
        summary=found.summary,
        module=found.module,
        options=tuple(name for name in found.parameters() if name not in given),
    )
