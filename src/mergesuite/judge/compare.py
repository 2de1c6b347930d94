"""Reported against measured: `runs.csv` in, `verdicts.csv`, `gains.csv` and `leakage.csv` out.

Read `compare` first. Two merged subjects of one population are paired by replicate: replicate r
of both was made from the same parents. A model against a merged subject, or against a model that
is not its own start, has no pairs: then two means are compared (Welch), and `spread_kind` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames
from mergesuite.experiment import loading, spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import by_image, collect, stats
from mergesuite.judge.gains import gains, leakage
from mergesuite.judge.reported import values
from mergesuite.judge.samples import (
    Comparison,
    Where,
    contrast,
    have_pairs,
    resolution,
    samples,
)
from mergesuite.judge.verdict import NOT_RUN, Evidence, Side, Verdict, side, verdict
from mergesuite.stages import hits
from mergesuite.stages.columns import COSTS

VERDICT_COLUMNS = (
    "claim",
    "text",
    "verdict",
    "why",
    "subject",
    "against",
    "metric",
    "split",
    "batchnorm",
    "direction",
    "effect",
    "reported",
    "reported_against",
    "reported_difference",
    "margin",
    "measured",
    "measured_against",
    "difference",
    "low",
    "high",
    "n",
    "p",
    "p_holm",
    "image_p",
    "pairs_more",
    "pairs_fewer",
    "clean_subject",
    "clean_difference",
    "clean_low",
    "clean_high",
    "clean_n",
    "leaky",
    "spread_kind",
)


def compare(
    paper: spec.Paper,
    reported: Mapping[str, spec.Reported],
    runs: pd.DataFrame,
    right: hits.Hits | None = None,
) -> pd.DataFrame:
    """One row per claim, in the order of the paper; those that were not run come last.

    P values are Holm-adjusted over all claims that have one; those of the clean counterparts
    form a family of their own. `difference`, `low` and `high` are subject minus against as
    measured, or their ratio where `effect` is `ratio` (turned so that above 1 is in favour).
    `image_p`, `pairs_more` and `pairs_fewer` are McNemar's test over test images (`ByImage`).

    Raises:
        UserError: a claim names a row that reported.csv does not have.
    """
    claims = list(paper.claims.values())
    mains = [_measure(paper, runs, claim, claim.subject, _where(claim)) for claim in claims]
    cleans = [
        _measure(paper, runs, claim, claim.clean, _where(claim, claim.clean_batchnorm))
        if claim.clean
        else None
        for claim in claims
    ]
    adjusted = stats.holm([main.effect.p for main in mains])
    clean_adjusted = stats.holm([c.effect.p if c else math.nan for c in cleans])
    rows = []
    for i, (name, claim) in enumerate(paper.claims.items()):
        clean_side = _side(claim, cleans[i], clean_adjusted[i])
        known = values(name, claim, reported)
        evidence = _evidence(paper, runs, claim, mains[i], adjusted[i], clean_side, known[2])
        outcome = _noting(paper, claim, verdict(evidence), mains[i])
        rows.append(
            {"claim": name, **_claimed(claim, outcome, known)}
            | _measured(mains[i], adjusted[i])
            | _by_image(paper, claim, right or {})
            | _clean(claim, cleans[i])
            | {"leaky": evidence.leaky, "spread_kind": mains[i].spread_kind}
        )
    rows.sort(key=lambda row: row["verdict"] == NOT_RUN)
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _where(claim: spec.Claim, batchnorm: str | None = None) -> Where:
    """Where a claim is measured; costs have neither split nor BatchNorm treatment."""
    if claim.metric in COSTS:
        return Where(claim.metric, "-", "-")
    split = "-" if claim.split == "none" else claim.split
    return Where(claim.metric, split, batchnorm or claim.batchnorm)


def _measure(
    paper: spec.Paper, runs: pd.DataFrame, claim: spec.Claim, subject: str, where: Where
) -> Comparison:
    a, b = samples(runs, subject, where), samples(runs, claim.against, where)
    paired = have_pairs(paper, subject, claim.against)
    if claim.ratio is None:
        return contrast(a, b, paired, resolution(runs, subject, where))
    if claim.direction == "higher":
        return contrast(a, b, paired, ratio=True)
    turned = contrast(b, a, paired, ratio=True)
    return replace(turned, subject=turned.against, against=turned.subject)


def _signed(claim: spec.Claim, low: float, high: float) -> tuple[float, float]:
    """The interval turned so that more is better for the claim."""
    if claim.ratio is None and claim.direction == "lower":
        return -high, -low
    return low, high


def _side(claim: spec.Claim, clean: Comparison | None, p: float) -> Side:
    if clean is None:
        return "unknown"
    low, high = _signed(claim, clean.effect.low, clean.effect.high)
    return side(clean.effect.n, low, high, p, 0.0 if claim.ratio is None else 1.0)


def _evidence(
    paper: spec.Paper,
    runs: pd.DataFrame,
    claim: spec.Claim,
    main: Comparison,
    p: float,
    clean: Side,
    target: float | None,
) -> Evidence:
    low, high = _signed(claim, main.effect.low, main.effect.high)
    parts = paper.all_subjects()[claim.subject]
    entry = paper.methods[parts[0]] if parts else None
    equivalent = (
        target is not None
        and claim.ratio is None
        and stats.equivalence(main.effect, target, claim.margin).equivalent
    )
    return Evidence(
        missing=_missing(runs, claim),
        undefined=main.undefined,
        n=main.effect.n,
        low=low,
        high=high,
        p=p,
        null=0.0 if claim.ratio is None else 1.0,
        leaky=bool(entry and entry.leaky),
        protocol=entry.protocol if entry else "clean",
        clean=clean,
        reduced=paper.reduced,
        reported=target is not None,
        equivalent=equivalent,
        ratio=claim.ratio,
    )


def _missing(runs: pd.DataFrame, claim: spec.Claim) -> tuple[str, ...]:
    """What has no numbers, and under which treatment it has some."""
    where = _where(claim)
    found = []
    for subject in dict.fromkeys((claim.subject, claim.against)):
        if not samples(runs, subject, where):
            there = runs[(runs["subject"] == subject) & (runs["metric"] == where.metric)]
            others = sorted({f"{s}/{b}" for s, b in zip(there.split, there.batchnorm, strict=True)})
            hint = f"; there is {', '.join(others)}" if others else ""
            found.append(f"{subject} ({where}{hint})")
    return tuple(found)


def _noting(paper: spec.Paper, claim: spec.Claim, outcome: Verdict, main: Comparison) -> Verdict:
    """The verdict, with a word on pairs that should be there and are not."""
    parts = paper.all_subjects()[claim.subject]
    planned = paper.count(parts[1]) if parts else paper.models[claim.subject].seeds
    if outcome.name == NOT_RUN or not main.paired or main.effect.n >= planned:
        return outcome
    return Verdict(outcome.name, f"{outcome.why}; {main.effect.n} of {planned} pairs were measured")


def _claimed(
    claim: spec.Claim,
    outcome: Verdict,
    known: tuple[float | None, float | None, float | None],
) -> dict[str, Any]:
    where = _where(claim)
    return {
        "text": claim.text,
        "verdict": outcome.name,
        "why": outcome.why,
        "subject": claim.subject,
        "against": claim.against,
        "metric": where.metric,
        "split": where.split,
        "batchnorm": where.batchnorm,
        "direction": claim.direction,
        "effect": "difference" if claim.ratio is None else "ratio",
        "reported": known[0],
        "reported_against": known[1],
        "reported_difference": claim.ratio if claim.ratio is not None else known[2],
        "margin": claim.margin if claim.ratio is None else math.nan,
    }


def _measured(main: Comparison, adjusted: float) -> dict[str, Any]:
    effect = main.effect
    return {
        "measured": main.subject,
        "measured_against": main.against,
        "difference": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "n": effect.n,
        "p": effect.p,
        "p_holm": adjusted,
    }


def _by_image(paper: spec.Paper, claim: spec.Claim, right: hits.Hits) -> dict[str, Any]:
    """Accuracies on test of two results of one population, which see the same images."""
    where, subjects = _where(claim), paper.all_subjects()
    merged = all(subjects[name] for name in (claim.subject, claim.against))
    paired = merged and have_pairs(paper, claim.subject, claim.against)
    found = by_image.ByImage()
    if paired and (where.metric, where.split) == ("accuracy", "test"):
        found = by_image.by_image(right, claim.subject, claim.against, where.batchnorm)
    return {"image_p": found.p, "pairs_more": found.more, "pairs_fewer": found.fewer}


def _clean(claim: spec.Claim, clean: Comparison | None) -> dict[str, Any]:
    return {
        "clean_subject": claim.clean or "",
        "clean_difference": clean.effect.mean if clean else math.nan,
        "clean_low": clean.effect.low if clean else math.nan,
        "clean_high": clean.effect.high if clean else math.nan,
        "clean_n": clean.effect.n if clean else 0,
    }


def write(paper_folder: Path, profile: str, results: Path) -> pd.DataFrame:
    """Write verdicts.csv, gains.csv and leakage.csv to `results/profile/paper`, beside runs.csv."""
    jobs = Jobs(paper_folder.name, profile, str(results))
    folder, runs = Path(jobs.folder), collect.measured(jobs)
    right = hits.read(folder / "runs.csv")
    verdicts = compare(jobs.paper, loading.reported(paper_folder), runs, right)
    frames.write_csv(folder / "verdicts.csv", verdicts)
    frames.write_csv(folder / "gains.csv", gains(jobs.paper, runs))
    frames.write_csv(folder / "leakage.csv", leakage(jobs.paper, runs))
    return verdicts
