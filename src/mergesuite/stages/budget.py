"""What one run cost, as the budget of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergesuite.errors import UserError
from mergesuite.experiment import declared


def asked_of(cost: Mapping[str, int], path: Path) -> dict[str, int]:
    """What of a run's cost is a budget for another: only what was asked for.

    What was computed depends on how early candidates happened to be rejected, and is no budget.

    Raises:
        UserError: the run.json at `path` does not say.
    """
    names = ("evaluations_asked", "images_asked")
    if missing := [name for name in names if name not in cost]:
        raise UserError(
            f"{path} does not say {missing[0]}, so it sets no budget: run its stage again"
        )
    return {name: cost[name] for name in names}


def with_budget(
    name: str, params: dict[str, Any], budget: Mapping[str, int] | None
) -> dict[str, Any]:
    """`params` with what a budget sets: `evaluations` or `images`, where the method has it.

    Raises:
        UserError: the method has neither, or it is set already.
    """
    if budget is None:
        return params
    known = declared.method_fields(name).params.model_fields
    for field, asked in (("evaluations", "evaluations_asked"), ("images", "images_asked")):
        if field in known:
            if field in params:
                raise UserError(
                    f"method {name} has both {field}={params[field]} and budget_of, which sets "
                    "it too: remove one of them"
                )
            return {**params, field: budget[asked]}
    raise UserError(
        f"method {name} has no parameter `evaluations` or `images`, so no budget to set: "
        "remove budget_of"
    )
