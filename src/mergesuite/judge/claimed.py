"""What a paper reports for a claim, in the unit that is measured, and what of it is of interest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import statements

NEAR = 1.5
"""A factor counts as the claimed one within x/: this; papers give them in round numbers."""


@dataclass(frozen=True)
class Claimed:
    """What is claimed; effects are turned so that more is better, ratios are logarithms.

    Attributes:
        subject: the reported value of the subject, the mean of its rows.
        against: that of what it is compared with, the best of its rows.
        difference: subject minus against as reported.
        effect: the reported effect; None without one, or where the paper's own numbers point
            against its claim.
        interest: the smallest effect of interest.
        because: why it is that.
        least: the smallest effect that counts as the reported one.
        slack: how far outside the interval of one run the reported effect may lie.
    """

    subject: float | None
    against: float | None
    difference: float | None
    effect: float | None
    interest: float
    because: str
    least: float | None
    slack: float = 0.0


def claimed(
    name: str, claim: statements.Claim, reported: Mapping[str, statements.Reported]
) -> Claimed:
    """What the paper gives for a claim.

    Raises:
        UserError: a claim names a row that reported.csv does not have, or its interest is none or
            more than half of what is reported.
    """
    subject, against, difference = values(name, claim, reported)
    if claim.ratio is not None:
        effect = math.log(claim.ratio)
        most = math.log(statements.MOST_FACTOR_OF_INTEREST)
        interest = math.log(claim.interest) if claim.interest else min(most, effect / 2)
        least, slack = effect - math.log(NEAR), math.log(NEAR)
    else:
        sign = 1 if claim.direction == "higher" else -1
        effect = sign * difference if difference is not None and sign * difference > 0 else None
        most = statements.MOST_OF_INTEREST if claim.metric == "accuracy" else math.inf
        default = min(most, effect / 2 if effect else math.inf)
        interest = claim.interest or default
        least, slack = (effect / 2 if effect else None), 0.0
    if not math.isfinite(interest):
        raise UserError(
            f"claims.{name}: nothing is reported of which half would be of interest; say how much "
            f"{claim.metric} is (interest: ..., because: ...)"
        )
    if effect is not None and interest > effect / 2 + 1e-12:
        raise UserError(
            f"claims.{name}.interest: more than half of the reported effect; leave it out, or give "
            "less"
        )
    because = _because(claim, effect, interest)
    return Claimed(subject, against, difference, effect, interest, because, least, slack)


def _because(claim: statements.Claim, effect: float | None, interest: float) -> str:
    """Why the smallest effect of interest is what it is, in a few words."""
    if claim.because:
        return claim.because
    if effect is not None and math.isclose(interest, effect / 2):
        return "half of what is reported" if claim.ratio is None else "root of the claimed factor"
    return "half a point at most" if claim.ratio is None else "a factor of 1.5 at most"


def values(
    name: str, claim: statements.Claim, reported: Mapping[str, statements.Reported]
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
