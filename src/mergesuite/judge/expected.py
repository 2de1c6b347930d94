"""Measured numbers, pinned: `accept` writes `expected.csv`, `check` holds new runs against it.

On one machine the workflow repeats itself to the digit. On another, sums of floats round
differently and a training soon takes another path, as if it had another seed. So a tolerance is
the half width of a prediction interval: where the mean of as many new seeds would fall. With few
seeds a standard deviation is itself a guess; each subject's variance is therefore moderated by
those of its kind (Smyth 2004: how much they differ says how much they are worth to each other),
and the level is shared out over all pinned numbers. Pinned are accuracies and, because luck that
parents share cancels in them, gains over the best parent: these see a smaller drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames
from mergesuite.errors import UserError
from mergesuite.experiment import spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect
from mergesuite.judge.gains import gain_rows, pairs
from mergesuite.judge.samples import by_replicate
from mergesuite.judge.stats import Prior, quantile, variance_prior

KEY = ["subject", "batchnorm", "metric", "split"]
COLUMNS = [
    *KEY, "mean", "sd", "n", "tolerance", "profile", "device", "torch", "mergesuite", "commit",
    "date",
]  # fmt: skip
GAIN = "gain"
"""As a metric: accuracy minus that of the population's best parent, replicate by replicate."""
PINNED = ("accuracy", GAIN, "evaluations_asked")
"""What is pinned: the result, and how much search it took. Seconds belong to the machine."""
FALSE_ALARM = 0.0025
"""Of one paper's table, so that a `check` of four papers has one false alarm in a hundred."""
MOST = 4.0
"""Degrees of freedom that a kind's variances are worth to each other, at most. What collapses now
and then is no sample of the others' distribution; without this bound two to thirteen simulated
checks of a paper in a hundred failed for nothing (benchmarks/false_alarms.py)."""
FEW = Prior(0.02**2, MOST)
"""Taken where a kind has fewer than two variances to learn from."""


def accept(
    paper: spec.Paper, runs: pd.DataFrame, profile: str, provenance: Mapping[str, str]
) -> pd.DataFrame:
    """The rows of expected.csv that `runs` gives, one per subject, treatment, metric and split.

    Args:
        paper: the experiment.
        runs: its tidy frame.
        profile: its profile.
        provenance: `torch` and `mergesuite` versions and `date`; commit and device are in `runs`.
    """
    table = _summaries(paper, runs)
    priors = _priors(table)
    level = FALSE_ALARM / max(1, int((table["metric"] != "evaluations_asked").sum()))
    rows = []
    for row in table.to_dict("records"):
        group = (row["kind"], row["metric"], row["split"], row["batchnorm"])
        rows.append(
            {k: row[k] for k in [*KEY, "mean", "sd", "n", "device", "commit"]}
            | {"tolerance": _tolerance(row, priors.get(group, FEW), level), "profile": profile}
            | {k: provenance.get(k, "unknown") for k in ("torch", "mergesuite", "date")}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _summaries(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, sd and n per subject, with kind, device, commit and images; n counts replicates."""
    rows = []
    kept = runs[runs["metric"].isin(PINNED) & (runs["split"] != "fit")]
    for key, part in kept.groupby(KEY, sort=True):
        named = dict(zip(KEY, key if isinstance(key, tuple) else (key,), strict=True))
        seeds = {int(s): float(v) for s, v in zip(part["seed"], part["value"], strict=True)}
        values = list(by_replicate(seeds).values())
        rows.append(named | _about(part) | _spread(values))
    about = {row["subject"]: row for row in rows if row["metric"] == "accuracy"}
    for row, sides in gain_rows(paper, runs):
        if row["against"] == "best-parent" and row["subject"] in about:
            named = {k: row[k] for k in ("subject", "batchnorm", "split")} | {"metric": GAIN}
            rows.append(about[row["subject"]] | named | _spread(pairs(sides)))
    names = [*KEY, "mean", "sd", "n", "images", "kind", "device", "commit"]
    return pd.DataFrame(rows, columns=names)


def _about(part: pd.DataFrame) -> dict[str, Any]:
    first = part.iloc[0]
    named = {name: first[name] for name in ("kind", "device", "commit")}
    return {**named, "images": float(first["n"])}


def _spread(values: list[float]) -> dict[str, Any]:
    column = pd.Series(values, dtype=float)
    return {"mean": float(column.mean()), "sd": float(column.std()), "n": len(column)}


def _priors(table: pd.DataFrame) -> dict[tuple[Any, ...], Prior]:
    """What the subjects of one kind, metric, split and treatment say of each other's variance."""
    known = table[(table["n"] > 1) & (table["metric"] != "evaluations_asked")]
    found = {}
    for key, part in known.groupby(["kind", "metric", "split", "batchnorm"]):
        if isinstance(key, tuple) and len(part) > 1:
            floor = 1 / part["images"]  # a spread below one image is the grid's, not the runs'
            sd = part["sd"].where(part["sd"] > floor, floor)
            prior = variance_prior(sd**2, part["n"] - 1)
            found[key] = Prior(prior.variance, min(prior.df, MOST))
    return found


def _tolerance(row: Mapping[Any, Any], prior: Prior, level: float) -> float:
    """Half width of the prediction interval for the mean of `n` new seeds, plus one image.

    An evaluation count does not depend on chance and has no tolerance unless it varied.
    """
    n, own = int(row["n"]), float(row["sd"])
    if row["metric"] == "evaluations_asked" and not own > 0:
        return 0.0
    variance, df = prior.moderated(0.0 if math.isnan(own) else own**2, n - 1)
    half = quantile(1 - level, df) * math.sqrt(2 * variance / n)
    return half + (1 / row["images"] if row["metric"] != "evaluations_asked" else 0.0)


def check(
    paper: spec.Paper, runs: pd.DataFrame, expected: pd.DataFrame, profile: str | None = None
) -> pd.DataFrame:
    """Each pinned and each measured number with its status.

    `ok`; `drift`: outside the tolerance; `missing`: pinned, but not measured or with fewer seeds;
    `not pinned`: measured only. Drift and missing are regressions.
    """
    if profile is not None:
        expected = expected[expected["profile"] == profile]
    measured = {tuple(r[k] for k in KEY): r for r in _summaries(paper, runs).to_dict("records")}
    rows = []
    for pinned in expected.to_dict("records"):
        found = measured.pop(tuple(pinned[k] for k in KEY), None)
        rows.append({k: pinned[k] for k in KEY} | _status(pinned, found))
    for found in measured.values():
        row = {k: found[k] for k in KEY} | {"measured": found["mean"], "n": found["n"]}
        rows.append(row | {"status": "not pinned"})
    names = [*KEY, "expected", "tolerance", "measured", "difference", "n", "status"]
    return pd.DataFrame(rows, columns=names)


def _status(pinned: Mapping[Any, Any], found: Mapping[Any, Any] | None) -> dict[str, Any]:
    row = {"expected": pinned["mean"], "tolerance": pinned["tolerance"]}
    if found is None:
        return {**row, "measured": math.nan, "n": 0, "status": "missing"}
    difference = found["mean"] - pinned["mean"]
    row |= {"measured": found["mean"], "difference": difference, "n": found["n"]}
    if found["n"] < pinned["n"]:
        return {**row, "status": "missing"}
    # The last digits of a mean depend on the order of its terms.
    inside = abs(difference) <= pinned["tolerance"] + 1e-9 * abs(pinned["mean"])
    return {**row, "status": "ok" if inside else "drift"}


def check_paper(paper_folder: Path, profile: str, results: Path) -> pd.DataFrame:
    """`check` of `results/profile/paper/runs.csv` against `paper_folder/expected.csv`.

    Raises:
        UserError: runs.csv is not of what paper.yaml asks for now, or nothing is pinned for this
            profile: then there is nothing that could fail.
    """
    jobs = Jobs(paper_folder.name, profile, str(results))
    runs = collect.measured(jobs)
    file = paper_folder / "expected.csv"
    pinned = _read(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    if not len(pinned[pinned["profile"] == profile]):
        raise UserError(
            f"{file} has nothing pinned for profile {profile}, so no run could fail: pin it with "
            f"`mergesuite accept --paper {paper_folder.name} --profile {profile}`"
        )
    return check(jobs.paper, runs, pinned, profile)


def _read(file: Path) -> pd.DataFrame:
    """An expected.csv."""
    return frames.read_csv(file, COLUMNS, numbers=["mean", "sd", "tolerance"], whole=["n"])


def accept_paper(
    paper_folder: Path, profile: str, results: Path, date: str, versions: Mapping[str, str]
) -> int:
    """Pin the numbers of one profile, leave those of others; returns how many were pinned.

    Raises:
        UserError: runs.csv is not of what paper.yaml asks for now.
    """
    jobs = Jobs(paper_folder.name, profile, str(results))
    made = accept(jobs.paper, collect.measured(jobs), profile, {**versions, "date": date})
    file = paper_folder / "expected.csv"
    parts = [made]
    if file.is_file():
        before = _read(file)
        others = before[before["profile"] != profile]
        parts = [others, made] if len(others) else parts
    table = pd.concat(parts, ignore_index=True).sort_values(["profile", *KEY])
    frames.write_csv(file, table[COLUMNS])
    return len(made)
