"""Reported against measured: `runs.csv` in; verdicts, and the tables beside them, out.

Read `compare` first. Two merged subjects of one population are paired by replicate: replicate r
of both was made from the same parents. A model against a merged subject, or against a model that
is not its own start, has no pairs: then two means are compared (Welch), and `spread_kind` says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import frames, sealed, store
from mergesuite.errors import UserError
from mergesuite.experiment import loading, spec, statements
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import by_image, collect, exchange, power
from mergesuite.judge.calibration import calibration
from mergesuite.judge.claimed import Claimed, claimed
from mergesuite.judge.controls import controls
from mergesuite.judge.evidence import SHOWN, evidence, searched
from mergesuite.judge.gains import gains, leakage
from mergesuite.judge.samples import CROSSED, Comparison, run_interval
from mergesuite.judge.study import Measured, Study, measure, same_images, twin_of, where_of
from mergesuite.judge.trends import trends
from mergesuite.judge.verdict import (
    ALPHA,
    MEANINGS,
    NOT_COMPARABLE,
    NOT_RUN,
    Evidence,
    Verdict,
    verdict,
)
from mergesuite.judge.waterfall import waterfall
from mergesuite.stages import hits

VERDICT_COLUMNS = (
    "claim", "family", "text", "verdict", "why",
    "subject", "against", "metric", "split", "batchnorm", "searched", "direction", "effect",
    "reported", "reported_against", "reported_difference", "interest", "because",
    "measured", "measured_against", "difference", "low", "high", "level", "n",
    "detectable", "pairs_needed", "sd_pairs", "sd_search", "sd_images", "se_images",
    "run_low", "run_high", "image_p", "pairs_more", "pairs_fewer",
    "twin", "twin_difference", "twin_low", "twin_high", "excess", "excess_low", "excess_high",
    "leaky", "spread_kind",
)  # fmt: skip
VERDICT_WORDS = (
    "claim", "family", "text", "verdict", "why", "subject", "against", "metric", "split",
    "batchnorm", "searched", "direction", "effect", "because", "twin", "spread_kind",
)  # fmt: skip
"""Those that hold no numbers."""
FAMILIES = ("primary", "secondary")


def compare(
    paper: spec.Paper,
    reported: Mapping[str, statements.Reported],
    runs: pd.DataFrame,
    right: hits.Hits | None = None,
) -> pd.DataFrame:
    """One row per claim, in the order of the paper; those that are not run or tested come last.

    `difference`, `low` and `high` are subject minus against as measured, or their ratio where
    `effect` is `ratio` (turned so that above 1 is in favour). The interval has the coverage
    `level`, so that all of one family hold at once in 95 % of studies (Bonferroni). `detectable`
    is the smallest effect that as many pairs show with 80 % power, `pairs_needed` the pairs that
    show the smallest effect of interest, of a leaky claim in the comparisons with its twin too.
    `sd_pairs` is the deviation of one pair's difference, `sd_search` the part of it that more
    search seeds would make smaller, `sd_images` that which more images would, and `se_images` what
    the choice of test images adds to the standard error of the mean. `image_p`, `pairs_more` and
    `pairs_fewer` are McNemar's test over test images (`ByImage`).

    Raises:
        UserError: a claim names a row that reported.csv does not have, or an interest that is more
            than half of what is reported.
    """
    study, levels = Study(paper, runs, right or {}), family_levels(paper)
    rows = [
        _row(study, name, claim, claimed(name, claim, reported), levels[claim.family])
        for name, claim in paper.claims.items()
    ]
    rows += [
        {"claim": name, "text": one.text, "verdict": NOT_COMPARABLE, "why": one.why}
        | {"family": "primary", "n": 0, "leaky": False}
        for name, one in paper.untested.items()
    ]
    rows.sort(key=lambda row: (row["claim"] in paper.untested, row["verdict"] == NOT_RUN))
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def family_levels(paper: spec.Paper) -> dict[str, float]:
    """The coverage of each interval of a family, of as many claims as this profile decides.

    Claims that ask the same count as one.
    """
    subjects = paper.subjects().keys()
    asked: dict[str, set[tuple[str, ...]]] = {family: set() for family in FAMILIES}
    for claim in paper.claims.values():
        if {claim.subject, claim.against} <= subjects and claim.metric not in SHOWN:
            asked[claim.family].add(_question(claim))
    return {family: 1 - ALPHA / max(1, len(found)) for family, found in asked.items()}


def _question(claim: statements.Claim) -> tuple[str, ...]:
    return (claim.subject, claim.against, claim.metric, claim.split, claim.batchnorm)


def _row(
    study: Study, name: str, claim: statements.Claim, known: Claimed, level: float
) -> dict[str, Any]:
    found = measure(study, claim, level)
    known_of_it = evidence(study, claim, known, found, level)
    return (
        _claimed(name, claim, known, verdict(known_of_it))
        | {"searched": searched(study, claim.subject), "leaky": known_of_it.leaky, "level": level}
        | _measured(claim, found.main, known_of_it, level)
        | _by_image(study, claim)
        | _twin(twin_of(study.paper, claim), found)
    )


def _claimed(
    name: str, claim: statements.Claim, known: Claimed, outcome: Verdict
) -> dict[str, Any]:
    where = where_of(claim)
    ratio = claim.ratio is not None
    return {
        "claim": name,
        "family": claim.family,
        "text": claim.text,
        "verdict": outcome.name,
        "why": outcome.why,
        "subject": claim.subject,
        "against": claim.against,
        "metric": where.metric,
        "split": where.split,
        "batchnorm": where.batchnorm,
        "direction": claim.direction,
        "effect": "ratio" if ratio else "difference",
        "reported": known.subject,
        "reported_against": known.against,
        "reported_difference": claim.ratio if ratio else known.difference,
        "interest": math.exp(known.interest) if ratio else known.interest,
        "because": known.because,
    }


def _measured(
    claim: statements.Claim, main: Comparison, known: Evidence, level: float
) -> dict[str, Any]:
    effect = main.effect
    seen = power.detectable(main.variance, main.image_variance, effect.n, level)
    run = run_interval(main, level)
    if claim.ratio is not None:
        seen, *run = (math.exp(min(value, 700.0)) for value in (seen, *run))
    return {
        "measured": main.subject,
        "measured_against": main.against,
        "difference": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "n": effect.n,
        "detectable": seen if math.isfinite(effect.low) else math.nan,
        "pairs_needed": known.needed,
        "sd_pairs": math.sqrt(main.variance),
        "sd_search": math.sqrt(main.search_variance),
        "sd_images": math.sqrt(main.both_variance),
        "se_images": math.sqrt(main.image_variance) if main.spread_kind == CROSSED else math.nan,
        "run_low": run[0],
        "run_high": run[1],
        "spread_kind": main.spread_kind,
    }


def _by_image(study: Study, claim: statements.Claim) -> dict[str, Any]:
    found = by_image.ByImage()
    if same_images(study.paper, claim, claim.subject, claim.against):
        found = by_image.by_image(study.right, claim.subject, claim.against, claim.batchnorm)
    return {"image_p": found.p, "pairs_more": found.more, "pairs_fewer": found.fewer}


def _twin(twin: str | None, found: Measured) -> dict[str, Any]:
    row: dict[str, Any] = {"twin": twin or ""}
    names = {"twin": ("twin_difference", found.twin), "excess": ("excess", found.excess)}
    for prefix, (mean, made) in names.items():
        ends = (made.effect.mean, made.effect.low, made.effect.high) if made else (math.nan,) * 3
        row |= dict(zip((mean, f"{prefix}_low", f"{prefix}_high"), ends, strict=True))
    return row


def read(folder: Path, recorded: bool = True) -> pd.DataFrame:
    """The verdicts.csv of a paper's results; what is published is git's and has no record.

    Raises:
        UserError: it is missing or damaged, or is not the table that `write` writes.
    """
    file = folder / "verdicts.csv"
    if recorded:
        sealed.check(sealed.beside(file), [file.name])
    words = set(VERDICT_WORDS)
    numbers = [name for name in VERDICT_COLUMNS if name not in words | {"n", "leaky"}]
    found = frames.read_csv(file, VERDICT_COLUMNS, numbers=numbers, whole=["n"])
    if odd := [name for name in found["claim"] if not re.fullmatch(r"[a-z0-9-]+", str(name))]:
        raise UserError(f"{file}: {odd[0]!r} is no claim: delete it, run `mergesuite compare`")
    if odd := set(found["verdict"]) - MEANINGS.keys():
        raise UserError(
            f"{file}: there is no verdict {str(odd.pop())!r}: delete it, run `mergesuite compare`"
        )
    return found


def write(paper_folder: Path, profile: str, results: Path) -> pd.DataFrame:
    """Write verdicts (CSV and JSON) and the tables beside them: gains, leakage, ..., trends."""
    jobs = Jobs(paper_folder.name, profile, str(results))
    folder, runs = Path(jobs.folder), collect.measured(jobs)
    right, reported = hits.read(folder / "runs.csv"), loading.reported(paper_folder)
    gained, study = gains(jobs.paper, runs), Study(jobs.paper, runs, right)
    tables = {
        "verdicts": compare(jobs.paper, reported, runs, right),
        "gains": gained,
        "leakage": leakage(jobs.paper, runs, gained),
        "calibration": calibration(jobs.paper, runs),
        "controls": controls(study),
        "waterfall": waterfall(study),
        "trends": trends(study),
    }
    with sealed.describing(sealed.beside(folder / "verdicts.csv")) as to_write:
        for name, table in tables.items():
            frames.write_csv(to_write(folder / f"{name}.csv"), table)
        document = exchange.text(jobs, reported, tables["verdicts"], runs)
        store.write_text(to_write(folder / "verdicts.json"), document)
    return tables["verdicts"]
