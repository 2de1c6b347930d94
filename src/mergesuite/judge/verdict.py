"""From one interval to one of nine words: the only place where a claim gets its verdict.

`verdict` is pure, and `docs/verdicts.md` is its rule as a table. Whatever it is given is already
turned so that more is better for the claim and no effect is 0: differences in units of the metric,
ratios as their logarithms. The interval is the one that is shown, and it is simultaneous over the
claims of one family, so each word but "cannot tell yet" is wrong in at most 5 % of families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

REPRODUCED = "reproduced"
SMALLER = "smaller than reported"
DIRECTION = "direction only"
NO_GAIN = "no gain"
CONTRADICTED = "contradicted"
LEAKAGE = "only under leakage"
CANNOT_TELL = "cannot tell yet"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"

MEANINGS = {
    REPRODUCED: "the effect is there, more than half of the reported one, which one run could show",
    SMALLER: "the effect is there, and less than what is reported",
    DIRECTION: "the effect is there; its size is not shown, or cannot be compared",
    NO_GAIN: "there is none as large as the smallest gain of interest",
    CONTRADICTED: "the effect points the other way",
    LEAKAGE: "there when the search sees test images, gone when the same search does not",
    CANNOT_TELL: "the interval holds both no effect and a gain of interest: more pairs would tell",
    NOT_COMPARABLE: "nothing that could be compared, or fewer than three pairs",
    NOT_RUN: "the measurements are missing",
}
"""Every word in one line."""
VERDICTS = tuple(MEANINGS)
DECIDED = (REPRODUCED, SMALLER, DIRECTION, NO_GAIN, CONTRADICTED, LEAKAGE)

COLOURS = {
    REPRODUCED: "#00704f",
    SMALLER: "#3d6b1f",
    DIRECTION: "#1f5fa8",
    NO_GAIN: "#7a3b69",
    CONTRADICTED: "#b02a12",
    LEAKAGE: "#8a4b00",
    CANNOT_TELL: "#5f5f5f",
    NOT_COMPARABLE: "#6b5b7b",
    NOT_RUN: "#767676",
}
"""In figures and in the report; white text on each has a contrast above 4.5."""

ALPHA = 0.05
"""Of a family of claims: its intervals miss a true effect in no more than this share of studies."""
FEWEST = 3
"""With two pairs a t interval is 13 times its standard error wide: no evidence either way."""


@dataclass(frozen=True)
class Twin:
    """The same search on held-out images, beside a leaky one.

    Attributes:
        low: lower end of the twin's own interval, at the level of the claim's.
        high: upper end.
        excess_low: lower end of the interval of leaky minus twin, pair by pair.
        excess_high: upper end.
    """

    low: float
    high: float
    excess_low: float
    excess_high: float


@dataclass(frozen=True)
class Evidence:
    """What is known about one claim.

    Attributes:
        untestable: why the claim cannot be tested with what there is, in words.
        missing: what has no measurements, in words.
        undefined: why the comparison has no number, in words (the ratio to a count of zero).
        n: pairs, or the smaller of two unpaired samples.
        low: lower end of the claim's interval.
        high: upper end.
        interest: the smallest gain that is of interest, above 0.
        least: the smallest effect that counts as the reported one; None if none is reported.
        reported: the reported effect.
        run_low: lower end of where the effect of one more run falls.
        run_high: upper end.
        leaky: the search may see test images.
        twin: the same search without them, if it was measured.
        reduced: why sizes cannot be compared with the paper's; empty if they can.
        needed: pairs that would tell, with 80 % power; None if no number of them would.
        remark: what a reader must know beside the verdict; follows the reason.
    """

    untestable: str = ""
    missing: tuple[str, ...] = ()
    undefined: str = ""
    n: int = 0
    low: float = math.nan
    high: float = math.nan
    interest: float = math.nan
    least: float | None = None
    reported: float | None = None
    run_low: float = math.nan
    run_high: float = math.nan
    leaky: bool = False
    twin: Twin | None = None
    reduced: str = ""
    needed: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS` and the reason in one clause."""

    name: str
    why: str


def verdict(evidence: Evidence) -> Verdict:
    """The verdict on one claim; the rules are tried from the top."""
    found = _verdict(evidence)
    why = "; ".join(part for part in (found.why, evidence.remark) if part)
    return Verdict(found.name, why)


def _verdict(evidence: Evidence) -> Verdict:
    if evidence.untestable:
        return Verdict(NOT_COMPARABLE, evidence.untestable)
    if evidence.missing:
        return Verdict(NOT_RUN, "no measurement of " + " nor of ".join(evidence.missing))
    if evidence.undefined:
        return Verdict(NOT_COMPARABLE, evidence.undefined)
    if evidence.n < FEWEST or math.isnan(evidence.low):
        return Verdict(NOT_COMPARABLE, _too_few(evidence.n))
    if evidence.high < 0:
        return Verdict(CONTRADICTED, "the whole interval points the other way" + _scale(evidence))
    if evidence.low <= 0:
        return _without_effect(evidence)
    if evidence.leaky:
        return _leaky(evidence)
    return _size(evidence)


def _without_effect(evidence: Evidence) -> Verdict:
    """No effect is inside the interval: is a gain of interest?"""
    if evidence.high < evidence.interest:
        return Verdict(NO_GAIN, "none as large as the gain of interest" + _scale(evidence))
    return Verdict(CANNOT_TELL, _more(evidence))


def _leaky(evidence: Evidence) -> Verdict:
    """The effect is there in a search that saw test images: what remains without them?"""
    twin = evidence.twin
    if twin is None or math.isnan(twin.low) or math.isnan(twin.excess_low):
        return Verdict(CANNOT_TELL, "the search saw test images, and its held-out twin is missing")
    if twin.excess_low > 0 and twin.high < evidence.interest:
        return Verdict(LEAKAGE, "the search saw test images; its held-out twin shows no gain")
    if twin.excess_low > 0:
        return Verdict(DIRECTION, "inflated by leakage: more than its held-out twin shows")
    if twin.low > 0:
        return _size(evidence)
    return Verdict(
        CANNOT_TELL, "neither the leak nor a gain without it is shown; " + _more(evidence)
    )


def _size(evidence: Evidence) -> Verdict:
    """The effect is there. Is it the reported one?"""
    reported, least = evidence.reported, evidence.least
    if evidence.reduced:
        return Verdict(DIRECTION, f"sizes cannot be compared: {evidence.reduced.rstrip('.')}")
    if reported is None or least is None:
        return Verdict(DIRECTION, "the paper gives no value for this comparison")
    if evidence.high < least:
        return Verdict(SMALLER, "less than what would count as the reported effect")
    if reported > evidence.run_high:
        return Verdict(SMALLER, "the reported effect is more than one run would show")
    if evidence.low >= least and reported >= evidence.run_low:
        return Verdict(REPRODUCED, "large enough, and one run could show the reported effect")
    return Verdict(DIRECTION, "its size is not shown to be the reported one")


def _too_few(n: int) -> str:
    if n <= 1:
        return f"{n} pair{'s' * (n != 1)}: no interval exists, {FEWEST} are needed"
    return f"{n} pairs, {FEWEST} are needed" if n < FEWEST else "no interval exists"


def _more(evidence: Evidence) -> str:
    needed, there = evidence.needed, evidence.n
    if needed is None:
        return "no number of pairs would tell with as many test images"
    if needed <= there:
        return f"{needed} pairs tell in four of five studies, the {there} of this one do not"
    return f"{needed} pairs would tell, there are {there}"


def _scale(evidence: Evidence) -> str:
    return " (at reduced scale)" if evidence.reduced else ""
