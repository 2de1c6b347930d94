"""What a merge gains over its parents, and how much of that is leakage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.samples import PAIRED, Where, by_replicate, contrast, resolution, samples

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
    "baseline",
    "mean",
    "sd",
    "low",
    "high",
    "n",
    "p",
    "spread_kind",
)
LEAKAGE_COLUMNS = (
    "subject", "entry", "method", "protocol", "population", "batchnorm", "twin",
    "gain", "low", "high", "n", "twin_gain", "twin_low", "twin_high",
    "excess", "excess_low", "excess_high", "spread_kind",
)  # fmt: skip


def baseline(paper: spec.Paper, kind: str, population: str, batchnorm: str) -> str | None:
    """The best or mean parent that results under a BatchNorm treatment are compared with.

    The best parent is the one that was picked on held-out images under that treatment, where there
    is an entry for it: a parent that is best as trained need not be the best with other statistics,
    and a weak parent would be counted as a gain. Statistics averaged over parents would only spoil
    one, so there the parent is as trained. Nothing that was picked on test images is a baseline.
    """
    wanted = "re-estimate" if batchnorm == "re-estimate" else "keep"
    fits = {
        slug: (entry.fitness.split != "search", entry.fitness.batchnorm != wanted)
        for slug, entry in paper.methods.items()
        if entry.use == kind and not entry.leaky
        if paper.is_for(slug, population)
    }
    return f"{min(fits, key=lambda slug: fits[slug])}-{population}" if fits else None


def gain_rows(
    paper: spec.Paper, runs: pd.DataFrame
) -> list[tuple[dict[str, Any], dict[str, dict[int, float]]]]:
    """Each merged subject against its population's best and mean parent, with seed -> value."""
    rows = []
    merged = runs[(runs["kind"] == "merged") & (runs["metric"] == "accuracy")]
    merged = merged[merged["split"].isin(["search", "test"])]
    subjects = paper.subjects()
    for key, _ in merged.groupby(["subject", "split", "batchnorm"], sort=False):
        subject, split, batchnorm = (str(part) for part in key)
        if not (parts := subjects.get(subject)):
            continue
        where = Where("accuracy", split, batchnorm)
        for kind in ("best-parent", "mean-parent"):
            against = baseline(paper, kind, parts[1], batchnorm)
            if not against or against == subject:
                continue
            a, b = (samples(runs, name, where) for name in (subject, against))
            if b:
                row = _named(paper, subject, where) | {"against": kind, "baseline": against}
                row["step"] = resolution(runs, subject, where)
                rows.append((row, {"a": a, "b": b}))
    return rows


def _named(paper: spec.Paper, subject: str, where: Where) -> dict[str, Any]:
    """The first columns of a row of gains."""
    slug, population = paper.all_subjects()[subject] or ("-", "-")
    entry = paper.methods[slug]
    return {
        "subject": subject,
        "entry": slug,
        "method": entry.use,
        "protocol": entry.protocol,
        "leaky": entry.leaky,
        "population": population,
        "batchnorm": where.batchnorm,
        "split": where.split,
    }


def gains(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy gained over the best and the mean parent, paired by replicate.

    One row per merged subject, BatchNorm treatment, split (search, test) and kind of baseline;
    both sides have the same treatment, and `baseline` says which entry picked the parent under it.
    """
    rows = []
    for row, sides in gain_rows(paper, runs):
        comparison = contrast(sides["a"], sides["b"], step=row["step"])
        effect = comparison.effect
        values = pairs(sides)
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


def pairs(sides: Mapping[str, Mapping[int, float]]) -> list[float]:
    """Subject minus baseline of each replicate that both have, in the order of replicates."""
    a, b = by_replicate(sides["a"]), by_replicate(sides["b"])
    return [a[replicate] - b[replicate] for replicate in sorted(a.keys() & b.keys())]


def gain_points(paper: spec.Paper, runs: pd.DataFrame) -> pd.DataFrame:
    """The single pairs behind `gains`: subject, entry, ..., against, gain."""
    rows = [
        {**row, "gain": value} for row, sides in gain_rows(paper, runs) for value in pairs(sides)
    ]
    return pd.DataFrame(rows, columns=[*GAIN_COLUMNS[:10], "gain"])


def leakage(paper: spec.Paper, runs: pd.DataFrame, gained: pd.DataFrame) -> pd.DataFrame:
    """Every leaky search beside its held-out twin, on the same parents and seeds.

    One row per leaky subject with a twin and BatchNorm treatment. `gain` and `twin_gain` are over
    the best parent on test (rows of `gained`, which `gains` makes), `excess` is leaky minus twin,
    replicate by replicate: what the leak alone is worth.
    """
    table = gained
    table = table[(table["against"] == "best-parent") & (table["split"] == "test")]
    by_key = {(r["subject"], r["batchnorm"]): r for r in table.to_dict("records")}
    rows = []
    for (subject, batchnorm), row in by_key.items():
        twin = paper.twin_of(str(subject))
        beside = by_key.get((twin, batchnorm))
        if twin is None or beside is None:
            continue
        where = Where("accuracy", "test", str(batchnorm))
        a, b = samples(runs, str(subject), where), samples(runs, twin, where)
        effect = contrast(a, b, step=resolution(runs, str(subject), where)).effect
        rows.append(
            {str(k): row[k] for k in LEAKAGE_COLUMNS if k in row}
            | {"twin": twin, "gain": row["mean"], "twin_gain": beside["mean"]}
            | {"twin_low": beside["low"], "twin_high": beside["high"]}
            | {"excess": effect.mean, "excess_low": effect.low, "excess_high": effect.high}
        )
    return pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS))
