"""What a paper reports for a claim: rows of its reported.csv, in the unit that is measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import spec


def values(
    name: str, claim: spec.Claim, reported: Mapping[str, spec.Reported]
) -> tuple[float | None, float | None, float | None]:
    """What the paper gives: subject (mean of its rows), against (the best), their difference.

    Raises:
        UserError: a claim names a row that reported.csv does not have.
    """
    rows: list[list[float]] = []
    for field in ("reported", "reported_against"):
        ids = getattr(claim, field)
        if unknown := [i for i in ids if i not in reported]:
            raise UserError(
                f"claims.{name}.{field}: reported.csv has no row {unknown[0]!r}"
                f"{nearest(unknown[0], reported)}; add the row or correct the id"
            )
        rows.append([reported[i].measured_value for i in ids])
    best = max if claim.direction == "higher" else min
    if claim.reported and all(reported[i].metric.endswith("_gain") for i in claim.reported):
        return None, None, float(np.mean(rows[0]))  # only the difference is published
    subject = float(np.mean(rows[0])) if rows[0] else None
    against = best(rows[1]) if rows[1] else None
    if subject is None or against is None:
        return subject, against, None
    return subject, against, subject - against
