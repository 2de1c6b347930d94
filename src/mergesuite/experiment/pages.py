"""The page of all methods, made from what their files declare, not written by hand.

`python -m mergesuite.experiment.pages > docs/methods.md` makes it again; torch is not imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from mergesuite.experiment import declared
from mergesuite.experiment.declared import Method

COMMAND = "python -m mergesuite.experiment.pages > docs/methods.md"
HEAD = f"""# Methods and controls

Made by `{COMMAND}` from the files in
`src/mergesuite/methods/`; do not edit it. `mergesuite list methods` has the same in short, and
[contributing.md](contributing.md) says how one is added.

Cost is what a run asks for, in fitness evaluations: one is a candidate on all fitness images. What
early rejection and unchanged weights save is not taken off (see [evaluation.md](evaluation.md)). NP
is the number of parents. Parameters stand under `params:` in `paper.yaml` and after `--set`.
"""
SOURCES = ("Source:", "Deviation")
"""What the paragraphs of a docstring that tell where a method comes from begin with."""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def text() -> str:
    """The page as it is written to its file."""
    known = declared.methods().values()
    parts = [HEAD]
    for title, control in (("Methods", False), ("Controls: what a method has to beat", True)):
        found = [entry for entry in known if entry.control is control]
        links = ", ".join(f"[{entry.name}](#{entry.name})" for entry in found)
        parts += [f"## {title}\n\n{links}\n", *(_section(entry) for entry in found)]
    return "\n".join(parts)


def _section(entry: Method) -> str:
    """One method: what it does, where it comes from, what it takes and costs, its parameters."""
    about = [part for part in entry.text if not part.startswith(SOURCES)]
    return "\n\n".join([f"### {entry.name}", *about, *_source(entry), _facts(entry), _table(entry)])


def _source(entry: Method) -> Iterator[str]:
    """Whom to cite, and the paragraphs on it in the docstring, or else in that of the file."""
    if entry.cite != declared.OURS:
        yield f"Cite: {entry.cite}."
    own = [part for part in entry.text if part.startswith(SOURCES)]
    if own or entry.cite != declared.OURS:
        yield from own or [part for part in entry.above if part.startswith(SOURCES)]


def _facts(entry: Method) -> str:
    file = f"methods/{entry.module}.py"
    link = f"[{file}](../src/mergesuite/{file})"
    return f"- Parents: {_parents(entry)}\n- Cost: {_cost(entry)}\n- File: {link}"


def _parents(entry: Method) -> str:
    """How many it takes, and whether their scores matter."""
    facts = entry.facts
    least = facts["takes"] or facts["least"] or 1
    count = f"{least}" if facts["takes"] else f"{least} or more"
    scored = "scored first" if facts["chooses"] else "their scores do not matter"
    return f"{count}; {scored}" + ("" if facts["mixes"] else "; not mixed")


def _cost(entry: Method) -> str:
    """What a run asks for, as the class says it."""
    facts = entry.facts
    found = []
    if entry.kind == "population":
        found.append(f"`{facts['cost']}`" if facts["cost"] else "as many candidates as it takes")
    if {"images", "epochs"} <= entry.params.model_fields.keys():
        found.append("training")
    if facts["chooses"]:
        found.append("the parents' own scores")
    if facts["estimates"]:
        found.append("a pass over the fit images for BatchNorm")
    return ", ".join(found) or "none"


def _table(entry: Method) -> str:
    """The parameters; a method may have none."""
    fields = entry.params.model_fields
    if not fields:
        return "No parameters.\n"
    rows = [
        f"| `{name}` | {_value(field.default)} | {_range(field)} | {_cell(field)} |"
        for name, field in fields.items()
    ]
    return "\n".join(
        ["| Parameter | Default | Range | What it is |", "|---|---|---|---|", *rows, ""]
    )


def _cell(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _value(value: Any) -> str:
    """A value as YAML has it."""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _range(field: FieldInfo) -> str:
    """The values that a parameter may have."""
    kinds = _alternatives(field.annotation)
    named = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    if bool in kinds:
        named = [False, True]
    nothing = [None] if type(None) in kinds else []
    if named:
        return ", ".join(_value(value) for value in [*named, *nothing])
    number = "integer" if int in kinds else "number"
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in BOUNDS.items()
        if hasattr(limit, name)
    ]
    words = " ".join([number, ", ".join(bounds)]).strip()
    return ", ".join([words, *(_value(value) for value in nothing)])


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    parts = get_args(annotation)
    return parts if parts and get_origin(annotation) is not Literal else (annotation,)


if __name__ == "__main__":
    sys.stdout.write(text())
