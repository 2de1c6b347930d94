"""What a merge gains over its parents, and how much of that is leakage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.samples import PAIRED, Where, contrast, resolution, samples

GAIN_COLUMNS = (
    "subject",
    "entry",
    "method",
    "protocol",
    "leaky",
    "population",
    "batchnorm",
    "split",
    "against",
    "mean",
    "sd",
    "low",
    "high",
    "n",
    "p",
    "spread_kind",
)
LEAKAGE_COLUMNS = (
    "method",
    "parents",
    "population",
    "entry",
    "protocol",
    "leaky",
    "batchnorm",
    "own",
    "gain",
    "low",
    "high",
    "n",
    "share",
    "excess",
    "excess_low",
    "excess_high",
    "excess_n",
    "search_gain",
    "spread_kind",
)


def gain_rows(
    paper: spec.Paper, runs: pd.DataFrame
) -> list[tuple[dict[str, Any], dict[str, dict[int, float]]]]:
    """Each merged subject against its population's best and mean parent, with seed -> gain."""
    rows = []
    merged = runs[(runs["kind"] == "merged") & (runs["metric"] == "accuracy")]
    merged = merged[merged["split"].isin(["search", "test"])]
    baselines = {
        (method.use, population): f"{entry}-{population}"
        for entry, method in paper.methods.items()
        for population in method.populations or paper.populations
        if method.use in ("best-parent", "mean-parent")
    }
    subjects = paper.subjects()
    for key, _ in merged.groupby(["subject", "split", "batchnorm"], sort=False):
        subject, split, batchnorm = (str(part) for part in key)
        if not (parts := subjects.get(subject)):
            continue
        where = Where("accuracy", split, batchnorm)
        entry = paper.methods[parts[0]]
        for kind in ("best-parent", "mean-parent"):
            against = baselines.get((kind, parts[1]), "")
            if not against or against == subject:
                continue
            a, b = (samples(runs, name, where) for name in (subject, against))
            if not b:
                continue
            row: dict[str, Any] = {
                "subject": subject,
                "entry": parts[0],
                "method": entry.use,
                "protocol": entry.protocol,
                "leaky": entry.leaky,
                "population": parts[1],
                "batchnorm": batchnorm,
                "split": split,
                "against": kind,
            }
            row["step"] = resolution(runs, subject, where)
            rows.append((row, {"a": a, "b": b}))
    return rows


def gains(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy gained over the best and the mean parent, paired by replicate.

    One row per merged subject, BatchNorm treatment, split (search, test) and baseline; both sides
    have the same treatment, but for `average`, which would spoil a parent: it stays as trained.
    """
    rows = []
    for row, sides in gain_rows(paper, runs):
        comparison = contrast(sides["a"], sides["b"], step=row["step"])
        effect = comparison.effect
        values = _pairs(sides)
        row |= {
            "mean": effect.mean,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
            "low": effect.low,
            "high": effect.high,
            "n": effect.n,
            "p": effect.p,
            "spread_kind": PAIRED,
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(GAIN_COLUMNS))


def _pairs(sides: Mapping[str, Mapping[int, float]]) -> list[float]:
    a, b = sides["a"], sides["b"]
    values = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    return [value for value in values if math.isfinite(value)]


def gain_points(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """The single pairs behind `gains`: subject, entry, ..., against, gain."""
    rows = [
        {**row, "gain": value} for row, sides in gain_rows(paper, runs) for value in _pairs(sides)
    ]
    return pd.DataFrame(rows, columns=[*GAIN_COLUMNS[:9], "gain"])


def leakage(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """The same method under published, released and clean, side by side.

    One row per entry of a method that has more than one protocol, population and BatchNorm
    treatment. `gain` is over the best parent on test. `share` is what protocol clean keeps of
    this gain, and `excess` the rest: gain minus the clean entry's gain, paired by replicate.
    `own` marks the treatment that the protocol prescribes: re-estimated for clean, else kept.
    `search_gain` is the same gain on the split that clean searches use.
    """
    table = gains(paper, runs)
    table = table[table["against"] == "best-parent"]
    rows = []
    for (method, parents), entries in _families(paper).items():
        for record in table[table["entry"].isin(entries) & (table["split"] == "test")].to_dict(
            "records"
        ):
            row = {str(k): v for k, v in record.items()}
            clean = next((e for e in entries if paper.methods[e].protocol == "clean"), None)
            rows.append(
                {k: row[k] for k in LEAKAGE_COLUMNS if k in row}
                | {"method": method, "parents": parents, "gain": row["mean"]}
                | {"own": _is_own(row["protocol"], row["batchnorm"])}
                | _excess(runs, table, row, clean)
                | {"search_gain": _mean_gain(table, row["subject"], row["batchnorm"], "search")}
            )
    return pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS))


def _is_own(protocol: str, batchnorm: str) -> bool:
    return batchnorm == "-" or batchnorm == ("re-estimate" if protocol == "clean" else "keep")


def _families(paper: spec.Paper) -> dict[tuple[str, str], list[str]]:
    """(method, parents) -> its entries, where they differ in protocol."""
    found: dict[tuple[str, str], list[str]] = {}
    for slug, entry in paper.methods.items():
        found.setdefault((entry.use, entry.parents), []).append(slug)
    return {
        key: entries
        for key, entries in found.items()
        if len({paper.methods[entry].protocol for entry in entries}) > 1
    }


def _mean_gain(table: pd.DataFrame, subject: str, batchnorm: str, split: str) -> float:
    rows = table[(table["subject"] == subject) & (table["batchnorm"] == batchnorm)]
    values = rows[rows["split"] == split]["mean"].tolist()
    return float(values[0]) if values else math.nan


def _excess(
    runs: pd.DataFrame, table: pd.DataFrame, row: Mapping[str, Any], clean: str | None
) -> dict[str, float]:
    """What this protocol gains beyond the clean one, under the same BatchNorm treatment."""
    nothing = dict.fromkeys(("share", "excess", "excess_low", "excess_high"), math.nan)
    if clean is None or row["protocol"] == "clean":
        return {**nothing, "excess_n": 0}
    counterpart = f"{clean}-{row['population']}"
    where = Where("accuracy", "test", str(row["batchnorm"]))
    a, b = samples(runs, str(row["subject"]), where), samples(runs, counterpart, where)
    effect = contrast(a, b, step=resolution(runs, str(row["subject"]), where)).effect
    kept = _mean_gain(table, counterpart, where.batchnorm, "test")
    # A share of a gain that is nil, or of a loss, would be a number without a meaning.
    share = kept / row["mean"] if row["low"] > 0 else math.nan
    return {
        "share": share,
        "excess": effect.mean,
        "excess_low": effect.low,
        "excess_high": effect.high,
        "excess_n": effect.n,
    }
