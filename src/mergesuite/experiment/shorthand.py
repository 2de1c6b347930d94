"""What a paper.yaml may say in short, and what it stands for. Read `written_out` first.

- `like: NAME` in any mapping takes over the values of `shared.NAME`, which a profile may change.
- `controls:` adds the entries of `standard`, what every method should be compared with.
- `over:` in a claim makes one claim of each of its rows.

What stands beside one of these is laid over what it makes, and null removes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from mergesuite.errors import UserError, nearest
from mergesuite.experiment.settings import Fitness
from mergesuite.experiment.statements import Slug
from mergesuite.experiment.strict import Strict, checked

Raw = dict[str, Any]
"""A part of a paper.yaml before it is checked."""


class Controls(Strict):
    """The key `controls`: the standard controls, each of which `methods` may change or remove."""

    budget_of: Slug = Field(description="entry whose budget the searches and train-on get")
    fitness: Fitness = Field(
        Fitness.model_validate({}), description="what those among them that search maximise"
    )


def standard(budget_of: str, fitness: Raw) -> Raw:
    """The controls that a sceptical reader asks for, by the names they have in every paper.

    The best parent comes three times: picked as trained, picked with BatchNorm re-estimated for
    what is compared under that treatment, and picked on test, which shows what such a choice adds.
    """
    reestimated = {**fitness, "batchnorm": "re-estimate"}
    seen = {"split": "test"}
    return {
        "cma-es": {"use": "cma-es", "budget_of": budget_of, "fitness": fitness},
        "affine": {"use": "affine", "budget_of": budget_of, "fitness": fitness},
        "random-search": {"use": "random-search", "budget_of": budget_of, "fitness": fitness},
        "train-on": {"use": "train-on", "budget_of": budget_of},
        "best-parent": {"use": "best-parent"},
        "best-parent-bn": {"use": "best-parent", "fitness": reestimated},
        "best-parent-on-test": {
            "use": "best-parent", "protocol": "released", "leaky": True, "fitness": seen,
        },
        "mean-parent": {"use": "mean-parent"},
        "average": {"use": "uniform-average"},
        "greedy-soup": {"use": "greedy-soup", "fitness": fitness},
        "ens-logits": {"use": "ensemble", "params": {"rule": "logits"}},
        "ens-probs": {"use": "ensemble", "params": {"rule": "probabilities"}},
    }  # fmt: skip


def laid(base: Any, change: Any) -> Any:
    """`change` laid over `base`: mappings merge, anything else replaces."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = dict(base)
    for key, value in change.items():
        merged[key] = laid(merged.get(key), value)
    return merged


def without_nulls(raw: Any) -> Any:
    """`raw` without the keys whose value is null: what a profile removes."""
    if not isinstance(raw, dict):
        return raw
    return {key: without_nulls(value) for key, value in raw.items() if value is not None}


def written_out(raw: Raw) -> Raw:
    """A paper.yaml with everything that it says in short written out.

    Raises:
        UserError: a `like` or a {word} that leads nowhere, or controls that are none.
    """
    shared = _mapping(raw, "shared")
    rest = {key: value for key, value in raw.items() if key != "shared"}
    alike = _alike(rest, shared, "", ())
    return _with_claims(_with_controls(alike))


def likes(raw: Any) -> Iterator[str]:
    """Every NAME that some `like: NAME` asks for."""
    if isinstance(raw, dict):
        if isinstance(raw.get("like"), str):
            yield raw["like"]
        for value in raw.values():
            yield from likes(value)


def _mapping(raw: Raw, key: str) -> Raw:
    found = raw.get(key)
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{key}: expected a mapping, found {type(found).__name__}")
    return found or {}


def _alike(raw: Any, shared: Raw, where: str, seen: tuple[str, ...]) -> Any:
    """`raw` with every `like` in it replaced by what it names."""
    if not isinstance(raw, dict):
        return raw
    name = raw.get("like")
    own = {
        key: _alike(value, shared, f"{where}.{key}".lstrip("."), seen)
        for key, value in raw.items()
        if key != "like" or not isinstance(name, str)
    }
    if not isinstance(name, str):
        return own
    if name in seen:
        raise UserError(f"{where}.like: {' -> '.join([*seen, name])} goes in a circle")
    if not isinstance(shared.get(name), dict):
        raise UserError(f"{where}.like: there is no shared.{name}{nearest(name, shared)}")
    return laid(_alike(shared[name], shared, f"shared.{name}", (*seen, name)), own)


def _with_controls(raw: Raw) -> Raw:
    """The standard controls after the other entries, with what `methods` says of them."""
    if raw.get("controls") is None:
        return {key: value for key, value in raw.items() if key != "controls"}
    given = without_nulls(_mapping(raw, "controls"))
    chosen = checked(Controls, given, "controls")
    made = standard(chosen.budget_of, given.get("fitness", {}))
    methods = _mapping(raw, "methods")
    others = {name: entry for name, entry in methods.items() if name not in made}
    changed = {name: laid(made[name], methods.get(name, {})) for name in made}
    rest = {key: value for key, value in raw.items() if key != "controls"}
    return {**rest, "methods": {**others, **changed}}


def _with_claims(raw: Raw) -> Raw:
    """CLAIM-ROW for each row of a claim's `over`; one written out as well is laid over it."""
    claims = raw.get("claims")
    if not isinstance(claims, dict):
        return raw
    made: Raw = {}
    for name, claim in claims.items():
        if isinstance(claim, dict) and "over" in claim:
            made |= _rows(str(name), claim)
        elif name not in made:
            made[name] = claim
    return {
        **raw,
        "claims": {name: laid(claim, claims.get(name, {})) for name, claim in made.items()},
    }


def _rows(name: str, claim: Raw) -> Raw:
    """The claims that one with `over` stands for."""
    made = {}
    text = {key: value for key, value in claim.items() if key != "over"}
    for row, words in _mapping(claim, "over").items():
        where = f"claims.{name}.over.{row}"
        if words is None:  # a profile has removed it
            continue
        if not isinstance(words, dict):
            raise UserError(f"{where}: expected the {{words}} of this row as a mapping")
        known = {**words, "row": row, "name": f"{name}-{row}"}
        made[f"{name}-{row}"] = _filled(text, known, where)
    return made


def _filled(value: Any, words: Mapping[str, Any], where: str) -> Any:
    """`value` with every {word} in its strings replaced."""
    if isinstance(value, dict):
        return {key: _filled(part, words, where) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, words, where) for part in value]
    if not isinstance(value, str):
        return value

    def word(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise UserError(f"{where}: there is no {{{match[1]}}}{nearest(match[1], words)}")
        return str(words[match[1]])

    return re.sub(r"\{(\w+)\}", word, value)
