"""What a decision would cost: pairs, hours of one core as the runs took them, and test images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge import power
from mergesuite.judge.study import seen_images
from mergesuite.judge.verdict import CANNOT_TELL

COLUMNS = (
    "claim", "family", "interest", "level", "n", "pairs_needed", "core_hours", "images",
    "images_needed", "leaky",
)  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """Processor seconds of one set of parents, and of one search of all that is compared."""

    parents: float
    search: float

    def minutes(self, pairs: int, searches: int) -> float:
        """Of a study; measuring images is small beside either."""
        return pairs * (self.parents + searches * self.search) / 60


def prices(paper: spec.Paper, verdicts: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per claim that cannot be told yet, in the order of `verdicts`.

    `core_hours` are those of a study of `pairs_needed` pairs, not of the missing ones alone: who
    adds pairs until a verdict appears has other error rates than the verdict says. Where no number
    of pairs is enough, more than `images_needed` test images are, whatever the number of pairs; it
    is NaN where as many are there and something else stands in the way.
    """
    spent = seconds(runs)
    undecided = verdicts[(verdicts["verdict"] == CANNOT_TELL) & (verdicts["n"] > 1)]
    rows = [_row(paper, row, runs, spent) for row in undecided.to_dict("records")]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    paper: spec.Paper, row: Mapping[Any, Any], runs: pd.DataFrame, spent: Mapping[str, float]
) -> dict[str, Any]:
    subject, pairs = str(row["subject"]), row["pairs_needed"]
    twin = [row["twin"]] if isinstance(row["twin"], str) and row["twin"] else []
    of_pair = costs(paper, spent, subject, str(row["against"]), *twin)
    needed = not math.isnan(pairs)
    images = _images(paper, row, runs)
    more = power.images_needed(row["interest"], row["se_images"], images, row["level"])
    study = of_pair.minutes(int(pairs), searches(paper, subject)) / 60 if needed else math.nan
    return {name: row[name] for name in COLUMNS if name in row} | {
        "core_hours": study,
        "images": images,
        "images_needed": math.nan if needed or more <= images else more,
    }


def _images(paper: spec.Paper, row: Mapping[Any, Any], runs: pd.DataFrame) -> float:
    """Test images that a claim is measured on; NaN for one that is not about images."""
    mine = runs[runs["subject"] == row["subject"]]
    found = mine[(mine["metric"] == row["metric"]) & (mine["split"] == row["split"])]["n"]
    of_leak = seen_images(paper, str(row["subject"])) if row["split"] == "test" else None
    return float(of_leak or found.max())


def seconds(runs: pd.DataFrame) -> dict[str, float]:
    """Mean processor seconds of one run, by subject; of older runs, which lack them, wall time."""
    clock = "cpu_seconds" if (runs["metric"] == "cpu_seconds").any() else "seconds"
    timed = runs[runs["metric"] == clock].groupby("subject")["value"].mean()
    return {str(subject): float(value) for subject, value in timed.items()}


def searches(paper: spec.Paper, subject: str) -> int:
    """Search seeds for one set of parents."""
    entry = paper.entry_of(subject)
    return entry.searches if entry else 1


def costs(paper: spec.Paper, spent: Mapping[str, float], *subjects: str) -> Costs:
    """What one more set of parents, and one more search of each subject, cost.

    Args:
        paper: the experiment.
        spent: mean processor seconds of one run, by subject; what has none costs nothing.
        subjects: what is compared.
    """
    searched = {name for name in subjects if paper.all_subjects()[name]}
    # What two replicates share, such as the one network that all start at, is there already.
    one, other = (set().union(*(_behind(paper, s, r) for s in subjects)) for r in (1, 0))
    trained = [name for name, _ in one - other if name not in searched]
    # Exact sums: sets have no order that two processes share.
    return Costs(*(math.fsum(spent.get(n, 0.0) for n in names) for names in (trained, searched)))


def _behind(paper: spec.Paper, subject: str, seed: int) -> set[tuple[str, int]]:
    """The runs that a result needs, as (subject, seed): its own, its members', their starts'."""
    parts = paper.all_subjects()[subject]
    of = paper.parents(parts[1], seed) if parts else [paper.start_of(subject, seed)]
    found = {(subject, seed)}
    for run in of:
        if isinstance(run, spec.Checkpoint):
            found |= _behind(paper, run.subject, run.seed)
    return found
