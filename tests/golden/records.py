"""Finding, reading and comparing golden vectors.

The folder comes from MERGESUITE_GOLDEN (default: shared/golden beside the repository). Files are
known by their `format` and `method` fields, whatever their names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mergesuite.core.streams import Recorded

FORMAT = "golden vectors 1"
FOLDER = Path(
    os.environ.get("MERGESUITE_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden")
)
KINDS = {
    "mega": {
        "create_population",
        "tournament_selection",
        "crossover",
        "mutation",
        "trace",
        "hierarchy",
        "hierarchy_run",
    },
    "cade": {"generation", "schedule", "trace"},
    "darwinian": {"generation", "trace"},
    "sa_shade": {"mutate", "update", "trace"},
}
"""What the tests of this folder replay."""


@cache
def files() -> list[tuple[Path, dict[str, Any]]]:
    """All files of the known format."""
    found = [(path, json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"))]
    return [
        (path, record)
        for path, record in found
        if isinstance(record, dict) and record.get("format") == FORMAT
    ]


def cases(method: str, *kinds: str) -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: the cases of a method and some kinds."""
    found = [
        pytest.param(case, id=f"{path.stem}-{number}-{case['name']}")
        for path, record in files()
        if record["method"] == method
        for number, case in enumerate(record["cases"])
        if case["kind"] in kinds
    ]
    why = f"no golden vectors of {method} {'/'.join(kinds)} in {FOLDER} (MERGESUITE_GOLDEN)"
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=why))]


def numbers(value: Any) -> Any:
    """Nested lists with "nan", "inf" and "-inf" as floats."""
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def tensor(value: Any) -> Tensor:
    """Nested lists as float64."""
    return torch.tensor(numbers(value), dtype=torch.float64)


def agree(ours: Any, recorded: Any, what: str = "") -> None:
    """Equal to 1e-12, relative and absolute below 1; NaN equals NaN, inf equals inf."""
    got = np.asarray(ours, dtype=np.float64)
    want = np.asarray(numbers(recorded), dtype=np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, recorded {want.shape}"
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= 1e-12 * np.maximum(1, np.abs(want))
    near |= (got == want) | (np.isnan(got) & np.isnan(want))
    assert near.all(), f"{what}: {got[~near][:5]}, recorded {want[~near][:5]}"


def exceeding(scores: Tensor, thresholds: Tensor | None) -> Tensor:
    """What an evaluator answers: does each score beat its threshold?"""
    return scores > (-torch.inf if thresholds is None else thresholds)


def positions(members: Iterable[int], i: int) -> list[int]:
    """Where `members` stand among all but `i`, which is what our draws return."""
    return [member - (member > i) for member in members]


class Witness(Recorded):
    """Recorded draws that note the parameters with which they were asked for."""

    def __init__(self, records: Mapping[str, Iterable[Any]]) -> None:
        super().__init__(records)
        self.normals_asked: list[tuple[float, float]] = []
        self.weights_asked: list[list[float]] = []

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> float:
        self.normals_asked.append((mean, sd))
        return super().normal(name, mean, sd)

    def categorical(self, name: str, p: Sequence[float]) -> int:
        self.weights_asked.append(list(p))
        return super().categorical(name, p)

    def agrees_with(self, draws: Sequence[Mapping[str, Any]]) -> None:
        """Means, spreads and probabilities equal the released code's, call by call; none is left.

        Sizes and lists of candidates among its arguments have no counterpart here.
        """
        normals = [d["args"][:2] for d in draws if d["fn"] == "numpy.random.normal"]
        weights = [
            d["kwargs"]["p"]
            for d in draws
            if d["fn"] == "numpy.random.choice" and "p" in (d.get("kwargs") or {})
        ]
        agree(self.normals_asked, normals, "means and spreads of normal draws")
        agree(self.weights_asked, weights, "strategy probabilities")
        assert not any(self.unused.values()), self.unused
