"""From measurements and what is reported to the evidence that a verdict is given on."""

from __future__ import annotations

from mergesuite.experiment import spec, statements
from mergesuite.judge import power
from mergesuite.judge.claimed import Claimed
from mergesuite.judge.samples import CROSSED, Comparison, have_pairs, run_interval
from mergesuite.judge.study import Measured, Study, in_favour, seen_images, where_of
from mergesuite.judge.verdict import Evidence, Twin
from mergesuite.stages.columns import COSTS

SHOWN = ("seconds", "cpu_seconds")
"""Costs that belong to the machine: they are shown and decide nothing."""


def evidence(
    study: Study, claim: statements.Claim, known: Claimed, found: Measured, level: float
) -> Evidence:
    """All that is known about a claim; `level` is the coverage of its intervals."""
    entry, main = study.paper.entry_of(claim.subject), found.main
    low, high = in_favour(claim, main.effect)
    run = run_interval(main, level)
    if claim.direction == "lower" and claim.ratio is None:
        run = (-run[1], -run[0])
    return Evidence(
        untestable=_untestable(claim, main),
        missing=_missing(study, claim),
        undefined=main.undefined,
        n=main.effect.n,
        low=low,
        high=high,
        interest=known.interest,
        least=known.least,
        reported=known.effect,
        run_low=run[0] - known.slack,
        run_high=run[1] + known.slack,
        leaky=bool(entry and entry.leaky) and claim.metric not in COSTS,
        twin=_twin(claim, found),
        reduced=study.paper.reduced,
        needed=needed(known.interest, found, level),
        remark="; ".join(filter(None, _remarks(study, claim, main))),
    )


def needed(interest: float, found: Measured, level: float) -> int | None:
    """Pairs that would show an effect of interest in each comparison that the verdict needs."""
    of_each = [
        power.pairs_needed(interest, made.variance, made.image_variance, level)
        for made in found.all
    ]
    numbers = [pairs for pairs in of_each if pairs is not None]
    return max(numbers) if len(numbers) == len(of_each) else None


def searched(study: Study, subject: str) -> str:
    """The BatchNorm treatment that a subject's search optimised; `-` where there is none."""
    entry = study.paper.entry_of(subject)
    return entry.fitness.batchnorm if entry and "fitness" in entry.model_fields_set else "-"


def _untestable(claim: statements.Claim, main: Comparison) -> str:
    if claim.metric in SHOWN:
        return f"{claim.metric} belong to the machine: they are shown and decide nothing"
    # Not exactly 0: logarithms of equal counts have a mean that is rounded.
    if claim.metric in COSTS and main.effect.se <= 1e-9 * max(1.0, abs(main.subject)):
        return "the same in every run: what this experiment sets itself is no measurement"
    return ""


def _twin(claim: statements.Claim, found: Measured) -> Twin | None:
    if found.twin is None or found.excess is None:
        return None
    return Twin(*in_favour(claim, found.twin.effect), *in_favour(claim, found.excess.effect))


def _remarks(study: Study, claim: statements.Claim, main: Comparison) -> tuple[str, ...]:
    """What a reader must know beside the verdict; empty where there is nothing."""
    seen = seen_images(study.paper, claim.subject) if main.spread_kind == CROSSED else None
    on = f"measured on the {seen} test images that the search saw" if seen else ""
    return on, _treatment(study, claim), _lacking(study, claim, main)


def _treatment(study: Study, claim: statements.Claim) -> str:
    """A word where a result is judged under another treatment than it was searched for."""
    optimised = searched(study, claim.subject)
    if optimised == "-" or where_of(claim).batchnorm in ("-", optimised):
        return ""
    return f"the search optimised BatchNorm {optimised}, the claim is measured under another"


def _missing(study: Study, claim: statements.Claim) -> tuple[str, ...]:
    """What has no numbers, and under which treatment it has some."""
    where, runs = where_of(claim), study.runs
    found = []
    for subject in dict.fromkeys((claim.subject, claim.against)):
        if not study.samples(claim, subject):
            there = runs[(runs["subject"] == subject) & (runs["metric"] == where.metric)]
            others = sorted({f"{s}/{b}" for s, b in zip(there.split, there.batchnorm, strict=True)})
            hint = f"; there is {', '.join(others)}" if others else ""
            found.append(f"{subject} ({where}{hint})")
    return tuple(found)


def _lacking(study: Study, claim: statements.Claim, main: Comparison) -> str:
    """A word on pairs that should be there and are not."""
    paper, n = study.paper, main.effect.n
    planned = len({spec.replicate_of(seed) for seed in paper.seeds(claim.subject)})
    if n == 0 or n >= planned or not have_pairs(paper, claim.subject, claim.against):
        return ""
    return f"{n} of {planned} pairs were measured"
