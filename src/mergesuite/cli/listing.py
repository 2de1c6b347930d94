"""What `mergesuite list` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mergesuite.errors import UserError
from mergesuite.experiment import config, declared, loading

Rows = list[dict[str, Any]]
OTHERS = {
    "models": "Other libraries' networks have a prefix: timm:NETWORK, torchvision:NETWORK; their "
    "weights, where a checkpoint is asked for, are timm:NETWORK.TAG, torchvision:NETWORK@WEIGHTS.",
}
"""What stands below a list, since it cannot be listed."""


def papers() -> Rows:
    """The replications of this folder, with the number of claims and reported numbers."""
    return [_paper(name) for name in config.papers_there()]


def _paper(name: str) -> dict[str, Any]:
    """One row; a draft that does not load yet says why, and hides no other paper."""
    folder = config.folder_of(name)
    try:
        paper, reported = loading.paper(folder), loading.reported(folder)
    except UserError as error:
        return {"name": name, "title": f"does not load: {error}"}
    return {
        "name": name,
        "title": paper.title,
        "citation": paper.cite.text,
        "claims": len(paper.claims),
        "reported": len(reported),
    }


def _methods(entries: Iterable[declared.Method]) -> Rows:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "summary": entry.summary,
            "citation": entry.cite,
            "parameters": {
                name: field.default for name, field in entry.params.model_fields.items()
            },
        }
        for entry in entries
    ]


def methods() -> Rows:
    """Every method and control."""
    return _methods(declared.methods().values())


def controls() -> Rows:
    """The controls alone: what a method has to beat."""
    return _methods(entry for entry in declared.methods().values() if entry.control)


def models() -> Rows:
    """The networks of this suite; see `OTHERS` for the rest."""
    return [
        {
            "name": name,
            "summary": family.summary,
            "citation": family.cite,
            "options": list(family.options),
        }
        for family in declared.families()
        for name in family.names
    ]


def datasets() -> Rows:
    """The data sets; folder:PATH takes any folder of images."""
    return [
        {"name": name, **{k: v for k, v in facts.items() if k != "cite"}, "citation": facts["cite"]}
        for name, facts in declared.datasets().items()
    ]


def test_sets() -> Rows:
    """What networks can be evaluated on beside their own test split; so can folder:PATH."""
    return [
        {"name": name, **{k: v for k, v in facts.items() if k != "cite"}, "citation": facts["cite"]}
        for name, facts in declared.test_sets().items()
    ]


LISTS: dict[str, Callable[[], Rows]] = {
    "papers": papers,
    "methods": methods,
    "controls": controls,
    "models": models,
    "datasets": datasets,
    "test-sets": test_sets,
}
