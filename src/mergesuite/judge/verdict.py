"""From statistics to one of seven words: the only place where a claim gets its verdict.

`verdict` is pure, and `docs/verdicts.md` is its rule as a table. Whatever it is given is already
turned so that more is better for the claim: a difference above 0, a ratio above 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

REPRODUCED = "reproduced"
DIRECTION = "direction only"
NOISE = "within noise"
CONTRADICTED = "contradicted"
LEAKAGE = "only under leakage"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"
VERDICTS = (
    REPRODUCED,
    DIRECTION,
    NOISE,
    CONTRADICTED,
    LEAKAGE,
    NOT_COMPARABLE,
    NOT_RUN,
)

COLOURS = {
    REPRODUCED: "#00704f",
    DIRECTION: "#1f5fa8",
    NOISE: "#5f5f5f",
    CONTRADICTED: "#b02a12",
    LEAKAGE: "#8a4b00",
    NOT_COMPARABLE: "#6b5b7b",
    NOT_RUN: "#767676",
}
"""In figures and in the report; white text on each has a contrast above 4.5."""

MEANINGS = {
    REPRODUCED: "the effect is there and as large as reported, within the margin",
    DIRECTION: "the effect is there; its size is not shown to be the reported one",
    NOISE: "the 95 % interval includes no effect, or p is not below 0.05 among all claims",
    CONTRADICTED: "the whole interval points the other way",
    LEAKAGE: "there when the search sees test images, not there when it does not",
    NOT_COMPARABLE: "fewer than three pairs, or nothing that could be compared",
    NOT_RUN: "the measurements are missing",
}

ALPHA = 0.05
FEWEST = 3
"""With two pairs a t interval is 13 times its standard error wide: no evidence either way."""

Side = Literal["in favour", "noise", "against", "unknown"]


@dataclass(frozen=True)
class Evidence:
    """What is known about one claim.

    Attributes:
        missing: what has no measurements, in words; nothing else counts if there is any.
        undefined: why the comparison has no number, in words (the ratio to a count of zero).
        n: pairs, or the smaller of two unpaired samples.
        low: lower end of the 95 % interval, signed so that more is better for the claim.
        high: upper end.
        p: of "no effect", Holm-adjusted over the paper's claims.
        null: the value that means no effect: 0 for a difference, 1 for a ratio.
        leaky: the subject's search may see test images.
        protocol: the subject's.
        clean: what the same claim shows under protocol clean; unknown if it was not measured.
        reduced: why values cannot be compared with the paper's; empty if they can.
        reported: whether the paper gives a value for this comparison.
        equivalent: the measured difference is within the margin of the reported one.
        ratio: the factor the paper claims, for claims about cost.
    """

    missing: tuple[str, ...] = ()
    undefined: str = ""
    n: int = 0
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    null: float = 0.0
    leaky: bool = False
    protocol: str = "clean"
    clean: Side = "unknown"
    reduced: str = ""
    reported: bool = False
    equivalent: bool = False
    ratio: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS` and the reason in one clause."""

    name: str
    why: str


def side(n: int, low: float, high: float, p: float, null: float = 0.0) -> Side:
    """Which way an interval points; only a significant one points anywhere."""
    if n < FEWEST or math.isnan(low) or math.isnan(p):
        return "unknown"
    if p >= ALPHA or low <= null <= high:
        return "noise"
    return "in favour" if low > null else "against"


def verdict(evidence: Evidence) -> Verdict:
    """The verdict on one claim; the rules are tried from the top."""
    if evidence.missing:
        return Verdict(NOT_RUN, "no measurement of " + " nor of ".join(evidence.missing))
    if evidence.undefined:
        return Verdict(NOT_COMPARABLE, evidence.undefined)
    pointing = side(evidence.n, evidence.low, evidence.high, evidence.p, evidence.null)
    if pointing == "unknown":
        return Verdict(NOT_COMPARABLE, _too_few(evidence.n))
    if pointing == "noise":
        return Verdict(NOISE, _noise(evidence))
    if pointing == "against":
        return Verdict(CONTRADICTED, "the whole interval points the other way" + _scale(evidence))
    return _in_favour(evidence)


def _in_favour(evidence: Evidence) -> Verdict:
    """The effect is there. Is it clean, and is it as large as reported?"""
    if evidence.ratio is None and (evidence.leaky or evidence.protocol != "clean"):
        if evidence.clean in ("noise", "against"):
            return _not_when_clean(evidence)
        if evidence.leaky and evidence.clean == "unknown":
            why = "the search saw test images and no clean counterpart with three pairs is measured"
            return Verdict(DIRECTION, why)
    if evidence.reduced:
        return Verdict(DIRECTION, f"values cannot be compared: {evidence.reduced.rstrip('.')}")
    if evidence.ratio is not None:
        return _factor(evidence.high, evidence.ratio)
    if not evidence.reported:
        return Verdict(DIRECTION, "the paper gives no value for this comparison")
    if evidence.equivalent:
        return Verdict(REPRODUCED, "the difference is the reported one within the margin")
    return Verdict(DIRECTION, "not shown to be within the margin of the reported difference")


def _not_when_clean(evidence: Evidence) -> Verdict:
    shown = "no gain" if evidence.clean == "noise" else "a loss"
    if evidence.leaky:
        return Verdict(LEAKAGE, f"the search saw test images; under protocol clean it is {shown}")
    why = f"under protocol {evidence.protocol} only; under protocol clean it is {shown}"
    return Verdict(DIRECTION, why)


def _factor(high: float, claimed: float) -> Verdict:
    if high >= claimed:
        return Verdict(REPRODUCED, f"the interval reaches the claimed factor {claimed:g}")
    return Verdict(DIRECTION, f"less than the claimed factor {claimed:g}")


def _too_few(n: int) -> str:
    if n <= 1:
        return f"{n} pair{'s' * (n != 1)}: no interval exists, {FEWEST} are needed"
    return f"{n} pairs, {FEWEST} are needed" if n < FEWEST else "no interval exists"


def _noise(evidence: Evidence) -> str:
    if evidence.low <= evidence.null <= evidence.high:
        return "the interval includes no effect" + _scale(evidence)
    return f"not significant among all claims of the paper (Holm p = {evidence.p:.2g})"


def _scale(evidence: Evidence) -> str:
    return " (at reduced scale)" if evidence.reduced else ""
