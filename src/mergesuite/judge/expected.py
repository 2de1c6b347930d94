"""Measured numbers, pinned: `accept` writes `expected.csv`, `check` holds new runs against it.

On one machine the workflow repeats itself to the digit. On another, sums of floats round
differently and a training soon takes another path, as if it had another seed. So a tolerance is
the half width of a prediction interval: where the mean of as many new seeds would fall. With few
seeds a standard deviation is itself a guess; each subject's variance is therefore moderated by the
median of its kind (Smyth 2004, with `PRIOR_DF` degrees of freedom), and the level is shared out
over all pinned numbers, so that a table without any change fails in one of 1 / `FALSE_ALARM` cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats as scipy_stats

from mergesuite.core import frames
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect

KEY = ["subject", "batchnorm", "metric", "split"]
COLUMNS = [
    *KEY, "mean", "sd", "n", "tolerance", "profile", "device", "torch", "mergesuite", "commit",
    "date",
]  # fmt: skip
PINNED = ("accuracy", "evaluations_asked")
"""What is pinned: the result, and how much search it took. Seconds belong to the machine."""
FALSE_ALARM = 0.05
PRIOR_DF = 10
UNKNOWN_SD = 0.02
"""Taken for an accuracy when no subject of its kind has two seeds."""


def accept(runs: pd.DataFrame, profile: str, provenance: Mapping[str, str]) -> pd.DataFrame:
    """The rows of expected.csv that `runs` gives, one per subject, treatment, metric and split.

    Args:
        runs: the tidy frame of one paper and profile.
        profile: its profile.
        provenance: `torch` and `mergesuite` versions and `date`; commit and device are in `runs`.
    """
    table = _summaries(runs)
    prior = _prior_variances(table)
    level = FALSE_ALARM / max(1, len(table))
    rows = []
    for row in table.to_dict("records"):
        group = (row["kind"], row["metric"], row["split"], row["batchnorm"])
        rows.append(
            {k: row[k] for k in [*KEY, "mean", "sd", "n", "device", "commit"]}
            | {"tolerance": _tolerance(row, prior.get(group), level), "profile": profile}
            | {k: provenance.get(k, "unknown") for k in ("torch", "mergesuite", "date")}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _summaries(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, sd and n per subject, with kind, device, commit and images."""
    rows = []
    kept = runs[runs["metric"].isin(PINNED) & (runs["split"] != "fit")]
    for key, part in kept.groupby(KEY, sort=True):
        first = part.iloc[0]
        rows.append(
            dict(zip(KEY, key if isinstance(key, tuple) else (key,), strict=True))
            | {"mean": float(part["value"].mean()), "sd": float(part["value"].std())}
            | {"n": len(part), "images": float(first["n"]), "kind": first["kind"]}
            | {"device": first["device"], "commit": first["commit"]}
        )
    names = [*KEY, "mean", "sd", "n", "images", "kind", "device", "commit"]
    return pd.DataFrame(rows, columns=names)


def _prior_variances(table: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """Median variance over the subjects of one kind, metric, split and treatment."""
    known = table[table["n"] > 1]
    groups = known.groupby(["kind", "metric", "split", "batchnorm"])["sd"]
    return {key: float((sd**2).median()) for key, sd in groups if isinstance(key, tuple)}


def _tolerance(row: Mapping[Any, Any], prior: float | None, level: float) -> float:
    """Half width of the prediction interval for the mean of `n` new seeds, plus one image.

    An evaluation count does not depend on chance and has no tolerance unless it varied.
    """
    n, own = int(row["n"]), float(row["sd"])
    accuracy = row["metric"] == "accuracy"
    if not accuracy and not own > 0:
        return 0.0
    if prior is None:
        prior = UNKNOWN_SD**2
    own_df = n - 1
    df = own_df + PRIOR_DF
    variance = (PRIOR_DF * prior + (own_df * own**2 if own_df else 0.0)) / df
    half = float(scipy_stats.t.ppf(1 - level / 2, df)) * math.sqrt(2 * variance / n)
    return half + (1 / row["images"] if accuracy else 0.0)


def check(runs: pd.DataFrame, expected: pd.DataFrame, profile: str | None = None) -> pd.DataFrame:
    """Each pinned and each measured number with its status.

    `ok`; `drift`: outside the tolerance; `missing`: pinned, but not measured or with fewer seeds;
    `not pinned`: measured only. Drift and missing are regressions.
    """
    if profile is not None:
        expected = expected[expected["profile"] == profile]
    measured = {tuple(r[k] for k in KEY): r for r in _summaries(runs).to_dict("records")}
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

    A paper without expected.csv has nothing pinned.

    Raises:
        UserError: runs.csv is not of what paper.yaml asks for now.
    """
    runs = collect.measured(Jobs(paper_folder.name, profile, str(results)))
    file = paper_folder / "expected.csv"
    pinned = frames.read_csv(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    return check(runs, pinned, profile)


def accept_paper(
    paper_folder: Path, profile: str, results: Path, date: str, versions: Mapping[str, str]
) -> int:
    """Pin the numbers of one profile, leave those of others; returns how many were pinned.

    Raises:
        UserError: runs.csv is not of what paper.yaml asks for now.
    """
    runs = collect.measured(Jobs(paper_folder.name, profile, str(results)))
    made = accept(runs, profile, {**versions, "date": date})
    file = paper_folder / "expected.csv"
    parts = [made]
    if file.is_file():
        before = frames.read_csv(file)
        others = before[before["profile"] != profile]
        parts = [others, made] if len(others) else parts
    table = pd.concat(parts, ignore_index=True).sort_values(["profile", *KEY])
    frames.write_csv(file, table[COLUMNS])
    return len(made)
