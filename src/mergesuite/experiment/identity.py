"""What a result is a result of: everything that was asked for, and its digest, the *spec*.

The planner computes a spec from paper.yaml, a stage from what it is told; they must agree. Nothing
that is only found out (a cost, a score) is part of it. What a merge asks for includes the specs of
its parents, so that a change of a parent's recipe changes the spec of all that is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergesuite.core import sealed, store
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network, digest

Asked = dict[str, Any]


def training(network: Network, data: Data, recipe: Recipe, start: str | None) -> Asked:
    """What a training is asked for; `start` is the spec of the checkpoint that it begins at."""
    return {
        "network": network.model_dump(),
        "data": data.model_dump(),
        "recipe": recipe.model_dump(),
        "start": start,
    }


def merging(
    network: Network, data: Data, how: Merge, parents: Sequence[str], budget_of: str | None
) -> Asked:
    """What a merge is asked for; `parents` and `budget_of` are specs."""
    return {
        "network": network.model_dump(),
        "data": data.model_dump(),
        "merge": how.model_dump(),
        "parents": list(parents),
        "budget_of": budget_of,
    }


def spec(asked: Asked) -> str:
    """The digest of what was asked of a run."""
    return digest(asked)


def checkpoint_spec(run: str, kept: str | None) -> str:
    """The spec of a run's result, or of the weights that it kept as `epochs/KEPT.safetensors`."""
    return f"{run}-{kept}" if kept else run


def file_spec(sha256: str) -> str:
    """The spec of a weights file that no run of ours made."""
    return f"file-{sha256[:12]}"


def path_spec(path: Path) -> str:
    """The spec of a weights file wherever it is: its run's, if a run of ours made it.

    The stages know a checkpoint by the same rule (`stages.record.checkpoint`), and check the file.
    """
    is_epoch = path.parent.name == "epochs"
    folder = path.parent.parent if is_epoch else path.parent
    record = sealed.found(folder / sealed.RUN) or {}
    if path.relative_to(folder).as_posix() not in record.get("weights", {}):
        return file_spec(store.sha256(path))
    return checkpoint_spec(record["spec"], path.stem if is_epoch else None)
