"""What `mergesuite list` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import config, declared, loading
from mergesuite.experiment.datasets import DATASET_INFO

Rows = list[dict[str, Any]]


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


def _methods(wanted: Callable[[str], bool]) -> Rows:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "summary": entry.summary,
            "citation": citation(entry.cite),
            "parameters": {
                name: field.default for name, field in entry.params.model_fields.items()
            },
        }
        for entry in declared.methods().values()
        if wanted(entry.cite)
    ]


def methods() -> Rows:
    """Every method and control."""
    return _methods(lambda cite: True)


def controls() -> Rows:
    """The controls alone: what a method has to beat."""
    free = {"control", "wortsman2022", "izmailov2018", "huang2017", "hansen2001"}
    return _methods(lambda cite: cite in free)


def models() -> Rows:
    """The networks of this suite; any name of timm or torchvision works too."""
    from mergesuite.models import FAMILIES

    return [
        {"name": name, "summary": family.summary, "citation": citation(family.cite)}
        for family in FAMILIES
        for name in family.names
    ]


def datasets() -> Rows:
    """The data sets; folder:PATH takes any folder of images."""
    return [{"name": name, **facts} for name, facts in DATASET_INFO.items()]


def citation(key: str) -> str:
    """The citation called `key`.

    Raises:
        UserError: there is none.
    """
    if key not in declared.CITATIONS:
        raise UserError(
            f"no citation is called {key!r}{nearest(key, declared.CITATIONS)}: "
            "add it to CITATIONS in src/mergesuite/declared.py"
        )
    return declared.CITATIONS[key]


LISTS: dict[str, Callable[[], Rows]] = {
    "papers": papers,
    "methods": methods,
    "controls": controls,
    "models": models,
    "datasets": datasets,
}
