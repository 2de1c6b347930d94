"""What searches wrote down on their way, ready to be drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mergesuite.core.store import read_csv
from mergesuite.errors import UserError
from mergesuite.experiment import settings, spec

SEGMENT = "interpolation-grid"


@dataclass(frozen=True)
class Trace:
    """One search: `frame` is its trace.csv, with scores in the unit of `metric`."""

    entry: str
    population: str
    seed: int
    metric: str
    batchnorm: str
    split: str
    frame: pd.DataFrame


def read(paper: spec.Paper, folder: Path, segment: bool = False) -> list[Trace]:
    """The traces under `folder/merge`: of all searches, or of the segments between two parents.

    What is missing or damaged is left out: a figure of the rest is worth having.
    """
    found = []
    for subject, parts in paper.subjects().items():
        if parts is None or (paper.methods[parts[0]].use == SEGMENT) != segment:
            continue
        fitness = paper.methods[parts[0]].fitness
        for seed, frame in _frames(folder / "merge" / subject, paper.seeds(subject)):
            if not len(frame) or "best" not in frame:
                continue
            found.append(
                Trace(
                    *parts, seed, fitness.metric, fitness.batchnorm, fitness.split,
                    _in_units(frame, fitness),
                )
            )  # fmt: skip
    return found


def _frames(folder: Path, seeds: range) -> Iterator[tuple[int, pd.DataFrame]]:
    """The traces of the seeds that are asked for; a folder may hold others of earlier settings."""
    for seed in seeds:
        try:
            yield seed, read_csv(folder / f"s{seed}" / "trace.csv")
        except UserError:
            continue


def _in_units(frame: pd.DataFrame, fitness: settings.Fitness) -> pd.DataFrame:
    """Scores as fractions correct, or as cross-entropy in nats.

    A search counts images, scores per cent where it averages over batches, and minus the
    cross-entropy where it minimises that.
    """
    scale: pd.Series | float
    if fitness.metric == "cross-entropy":
        scale = -1.0
    elif fitness.batch_mean:
        scale = 0.01
    else:
        scale = 1.0 / frame["fitness_images"]
    columns = [name for name in ("best", "mean", "score") if name in frame]
    return frame.assign(**{name: frame[name] * scale for name in columns})


def curves(traces: list[Trace], points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Best scores of several searches on one axis of evaluations: `(p,)` and `(seeds, p)`.

    Each holds its last value until its next row; before its first row and after its last it has
    none (NaN), so that the mean of the searches is not of some and then of others unnoticed.
    """
    last = max(float(t.frame["evaluations"].max()) for t in traces)
    axis = np.unique(np.linspace(0, last, points).round())
    rows = []
    for trace in traces:
        steps = trace.frame["evaluations"].to_numpy(dtype=float)
        best = trace.frame["best"].to_numpy(dtype=float)
        at = np.searchsorted(steps, axis, side="right") - 1
        known = (at >= 0) & (axis <= steps[-1])
        rows.append(np.where(known, best[at.clip(0)], np.nan))
    return axis, np.array(rows)


def records(paper: spec.Paper, folder: Path) -> list[dict]:
    """The readable run.json of every run that is asked for; `run`: its path below `folder`."""
    found = []
    for subject, parts in paper.subjects().items():
        for seed in paper.seeds(subject):
            run = folder / ("merge" if parts else "train") / subject / f"s{seed}"
            try:
                record = json.loads((run / "run.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            found.append({**record, "run": run.relative_to(folder).as_posix()})
    return found
