"""What searches wrote down on their way, ready to be drawn."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.core import sealed
from mergesuite.core.frames import read_csv
from mergesuite.errors import UserError
from mergesuite.experiment import settings
from mergesuite.experiment.jobs import Jobs

SEGMENT = "interpolation-grid"
TRACE = "trace.csv"
ALWAYS = ("evaluations", "best")
NUMBERS = (*ALWAYS, "fitness_images", "mean", "score", "alpha")
"""Columns of a trace that are drawn; the trace of what scores nothing has no more than `ALWAYS`."""


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


def read(jobs: Jobs, segment: bool = False) -> list[Trace]:
    """The traces of all searches that are asked for, or of the segments between two parents.

    What is missing is left out: a figure of the rest is worth having.

    Raises:
        UserError: a run is damaged, or was made with other settings than paper.yaml has now.
    """
    found, paper = [], jobs.paper
    for subject, parts in jobs.subjects.items():
        if parts is None or (paper.methods[parts[0]].use == SEGMENT) != segment:
            continue
        fitness = paper.methods[parts[0]].fitness
        for seed, frame in _frames(jobs, subject):
            if not len(frame) or (segment and not {"alpha", "score"} <= set(frame)):
                continue
            found.append(
                Trace(
                    *parts, seed, fitness.metric, fitness.batchnorm, fitness.split,
                    _in_units(frame, fitness),
                )
            )  # fmt: skip
    return found


def _frames(jobs: Jobs, subject: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """The traces of finished runs; a folder may hold other seeds, of earlier settings."""
    for seed in jobs.seeds(subject):
        if _record(jobs, subject, seed, TRACE):
            file = Path(jobs.run(subject, seed)) / TRACE
            yield seed, read_csv(file, ALWAYS, numbers=NUMBERS)


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


def records(jobs: Jobs) -> list[dict[str, Any]]:
    """The run.json of every finished run that is asked for, with its `subject`.

    Raises:
        UserError: a run is damaged, or was made with other settings than paper.yaml has now.
    """
    found = []
    for subject in jobs.subjects:
        for seed in jobs.seeds(subject):
            if record := _record(jobs, subject, seed):
                found.append({**record, "subject": subject})
    return found


def _record(jobs: Jobs, subject: str, seed: int, *files: str) -> dict[str, Any] | None:
    """The run.json of one run, `files` of which are checked; nothing where there is none."""
    file = Path(jobs.run(subject, seed)) / sealed.RUN
    if not file.is_file():
        return None
    again = shlex.join(["snakemake", "--cores", "all", str(file)])
    try:
        record = sealed.check(file, files) if files else sealed.read(file)
    except UserError as error:
        raise UserError(f"{error}: `{again}`") from None
    there, wanted = record.get("spec"), jobs.spec(subject, seed)
    if there != wanted:
        raise UserError(
            f"{file.parent} was made with other settings (spec {there}) than paper.yaml has now "
            f"({wanted}): make it again with `{again}`"
        )
    return record
