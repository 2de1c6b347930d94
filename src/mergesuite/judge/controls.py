"""The method of a paper beside every control on the same parents, with what each costs.

A claim names one control beforehand. Here the best is picked after all were seen, so the intervals
of one method hold for all of its controls at once, and with them for the one that is picked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergesuite.core import frames, sealed
from mergesuite.experiment import declared, spec, statements
from mergesuite.judge.calibration import null_of
from mergesuite.judge.samples import Where, by_replicate, samples
from mergesuite.judge.study import Study, compared
from mergesuite.judge.verdict import ALPHA

CONTROL_COLUMNS = (
    "subject", "batchnorm", "against", "method", "members", "measured", "measured_against",
    "difference", "low", "high", "level", "n", "images", "images_against", "cost", "equal_cost",
    "best", "spread_kind",
)  # fmt: skip
CONTROL_WORDS = (
    "subject", "batchnorm", "against", "method", "equal_cost", "best", "spread_kind",
)  # fmt: skip
"""Those that hold no numbers."""
EQUAL = 1.1
"""Times a method's images that a control may take and still be one at equal cost."""
BACKWARD = 2
"""Forward passes that a backward pass counts as."""
NETWORK, ENSEMBLE, NOT_BEST = "network", "ensemble", "-"
"""What a control is the best of: single networks, ensembles, or nothing."""


def controls(study: Study) -> pd.DataFrame:
    """One row per method, treatment and control that was measured on the same parents, best first.

    `difference` is method minus control in accuracy on test. Its interval is that of a claim about
    the two at `level`, which the controls of one method share (Bonferroni). `cost` is how many
    images the control takes for each of the method's (`images`); at `equal_cost` it takes at most
    `EQUAL` times as many. `best` marks the control of the least difference at equal cost, once
    among single networks and once among ensembles, which take `members` times as long to use.
    """
    rows = [row for one in methods(study.paper) for row in _rows(study, *one)]
    return pd.DataFrame(rows, columns=list(CONTROL_COLUMNS))


def read(folder: Path, recorded: bool = True) -> pd.DataFrame:
    """The controls.csv of a paper's results; what is published is git's and has no record.

    Raises:
        UserError: it is missing or damaged, or is not the table that `compare` writes.
    """
    numbers = [name for name in CONTROL_COLUMNS if name not in CONTROL_WORDS]
    file = folder / "controls.csv"
    if recorded:
        sealed.check(sealed.beside(folder / "verdicts.csv"), [file.name])
    return frames.read_csv(file, CONTROL_COLUMNS, numbers=numbers, whole=["n"])


def methods(paper: spec.Paper) -> list[tuple[str, str]]:
    """The paper's own methods: who gains in accuracy on test in what it claims, and how treated."""
    asked = [
        (claim.subject, claim.batchnorm)
        for claim in paper.claims.values()
        if claim.family == "primary" and (claim.metric, claim.split) == ("accuracy", "test")
        if _is_fair(paper, claim.subject, control=False)
    ]
    return list(dict.fromkeys(asked))


def controls_of(paper: spec.Paper, subject: str) -> Iterator[str]:
    """The controls on the population of a method, in the order of the spec."""
    parts = paper.all_subjects()[subject]
    for name, others in paper.subjects().items():
        if parts and others and others[1] == parts[1] and _is_fair(paper, name, control=True):
            yield name


def _is_fair(paper: spec.Paper, subject: str, control: bool) -> bool:
    """Whether a subject is run, is a control or none, saw no test image and may gain."""
    entry = paper.entry_of(subject) if subject in paper.subjects() else None
    if entry is None or entry.leaky or null_of(entry):
        return False
    return declared.method_fields(entry.use).control == control


def _rows(study: Study, subject: str, batchnorm: str) -> list[dict[str, Any]]:
    """All controls of one method under one treatment."""
    same = {"text": "", "subject": subject, "batchnorm": batchnorm}
    claims = [
        statements.Claim.model_validate({**same, "against": name})
        for name in controls_of(study.paper, subject)
    ]
    there = [claim for claim in claims if _has_pairs(study, claim)]
    rows = [_row(study, claim, 1 - ALPHA / len(there)) for claim in there]
    # Sums that are rounded apart are equal; of equals the cheaper one comes first.
    rows.sort(key=lambda row: (round(row["difference"], 12), _or_last(row["images_against"])))
    for kind in (NETWORK, ENSEMBLE):
        equal = (row for row in rows if row["equal_cost"] and _kind(row) == kind)
        if best := next(equal, None):
            best["best"] = kind
    return rows


def _has_pairs(study: Study, claim: statements.Claim) -> bool:
    a, b = (by_replicate(study.samples(claim, name)) for name in (claim.subject, claim.against))
    return bool(a.keys() & b.keys())


def _row(study: Study, claim: statements.Claim, level: float) -> dict[str, Any]:
    made = compared(study, claim, claim.subject, claim.against, level)
    effect, entry = made.effect, study.paper.entry_of(claim.against)
    mine, other = (images(study.runs, name) for name in (claim.subject, claim.against))
    return {
        "subject": claim.subject,
        "batchnorm": claim.batchnorm,
        "against": claim.against,
        "method": entry.use if entry else "-",
        "members": _members(study, claim.against),
        "measured": made.subject,
        "measured_against": made.against,
        "difference": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "level": level,
        "n": effect.n,
        "images": mine,
        "images_against": other,
        "cost": other / mine if mine else math.nan,
        "equal_cost": other <= EQUAL * mine,
        "best": NOT_BEST,
        "spread_kind": made.spread_kind,
    }


def images(runs: pd.DataFrame, subject: str) -> float:
    """Images that a result took, as forward passes: the mean over replicates, of one search each.

    What a search asked for counts, not what early rejection left of it: two searches of one budget
    cost the same. NaN where nothing says. The parents, which all results share, are not counted.
    """
    names = ("forward_images", "backward_images", "images_asked")
    forward, backward, asked = (_mean(runs, subject, name) for name in names)
    return max(forward, 0.0 if math.isnan(asked) else asked) + BACKWARD * backward


def _mean(runs: pd.DataFrame, subject: str, metric: str) -> float:
    values = by_replicate(samples(runs, subject, Where(metric, "-", "-")))
    return float(np.mean(list(values.values()))) if values else math.nan


def _members(study: Study, subject: str) -> int:
    """Networks that a prediction takes; of the parents that a mean is over, it takes one."""
    entry, mine = study.paper.entry_of(subject), study.runs["subject"] == subject
    if entry and entry.use == "mean-parent":
        return 1
    return int(study.runs["members"][mine].max())


def _kind(row: dict[str, Any]) -> str:
    return NETWORK if row["members"] == 1 else ENSEMBLE


def _or_last(value: float) -> float:
    return math.inf if math.isnan(value) else value
