"""verdicts.json: the verdicts of a paper for other programs, each with where its numbers are from.

The numbers are those of verdicts.csv. What a document may say is declared in the models below, and
`python -m mergesuite.judge.exchange > workflow/schemas/verdicts.schema.json` writes their JSON
schema. A program reads `version` first: it grows when a key goes or changes its meaning, not when
one is added.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from mergesuite.core import sealed
from mergesuite.experiment import statements
from mergesuite.experiment.jobs import Jobs
from mergesuite.experiment.strict import Strict
from mergesuite.judge.verdict import VERDICTS

VERSION = 1
Number = float | None
"""Null where there is none, and where it is not finite."""


class Source(Strict):
    """A number of the paper."""

    id: str = Field(description="row of reported.csv")
    of: Literal["subject", "against"]
    value: float
    unit: str
    spread: Number
    spread_kind: str
    n: int | None
    source: str
    origin: str


class Reported(Strict):
    """What the paper gives, in the unit that is measured."""

    subject: Number
    against: Number
    effect: Number = Field(description="subject minus against, or the claimed factor")
    sources: list[Source]


class Measured(Strict):
    """What was measured: means, and the effect with its simultaneous interval."""

    subject: Number
    against: Number
    effect: Number = Field(description="subject minus against, or their ratio in favour")
    low: Number
    high: Number
    level: Number = Field(description="coverage of the interval, as a fraction")
    n: int = Field(description="pairs, or the smaller of two unpaired samples")
    interval: str = Field(description="what kind of interval it is")


class Seen(Strict):
    """What an experiment of this size sees with a chance of 80 %."""

    detectable: Number = Field(description="smallest effect that as many pairs show")
    interest: Number = Field(description="smallest effect of interest")
    because: str
    pairs_needed: int | None = Field(description="pairs that show it; null: no number of them")


class Twin(Strict):
    """The same search on held-out images, beside a leaky one; effects as in `Measured`."""

    subject: str
    effect: Number
    low: Number
    high: Number
    excess: Number = Field(description="leaky minus twin: what the leak is worth")
    excess_low: Number
    excess_high: Number


class Claim(Strict):
    """One claim with its verdict and its evidence."""

    id: str
    family: Literal["primary", "secondary"]
    text: str
    verdict: str = Field(json_schema_extra={"enum": list(VERDICTS)})
    why: str
    subject: str | None
    against: str | None
    metric: str | None
    split: str | None
    batchnorm: str | None
    direction: Literal["higher", "lower"] | None
    kind: Literal["difference", "ratio"] | None = Field(description="of the effect")
    protocol: Literal["published", "released", "clean"] | None = Field(
        description="of the subject's entry; null for a trained network"
    )
    leaky: bool = Field(description="the search may have seen test images")
    reported: Reported
    measured: Measured
    power: Seen
    twin: Twin | None
    commits: list[str] = Field(description="that the runs were made at; + after one with changes")
    specs: list[str] = Field(description="digests of what was asked of these runs")
    code: list[str] = Field(description="digests of the code that they executed")
    environments: list[int] = Field(description="places in the document's list")


class Environment(Strict):
    """What runs computed on."""

    device: str
    python: str
    torch: str
    platform: str
    versions: dict[str, str]
    threads: int | None
    container: str | None


class Paper(Strict):
    """Which paper it is."""

    name: str
    title: str
    citation: str
    arxiv: str | None
    doi: str | None
    code: str | None


class Document(Strict):
    """All of verdicts.json."""

    format: Literal["mergesuite-verdicts"] = "mergesuite-verdicts"
    version: Literal[1] = VERSION
    paper: Paper
    profile: str
    reduced: str = Field(description="why values cannot be compared with the paper's, if so")
    claims: list[Claim]
    environments: list[Environment]


def text(
    jobs: Jobs,
    reported: Mapping[str, statements.Reported],
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
) -> str:
    """The document of a paper's results, of which `verdicts` and `runs` are the tables."""
    known: list[Environment] = []
    rows = verdicts.astype(object).where(verdicts.notna(), None).to_dict("records")
    claims = [_claim(jobs, reported, row, runs, known) for row in rows]
    document = Document(
        paper=_paper(jobs), profile=jobs.profile, reduced=jobs.paper.reduced, claims=claims,
        environments=known,
    )  # fmt: skip
    return json.dumps(document.model_dump(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _paper(jobs: Jobs) -> Paper:
    cite = jobs.paper.cite
    return Paper(
        name=jobs.name, title=jobs.paper.title, citation=cite.text, arxiv=cite.arxiv or None,
        doi=cite.doi, code=cite.code or None,
    )  # fmt: skip


def _claim(
    jobs: Jobs,
    reported: Mapping[str, statements.Reported],
    row: Mapping[Any, Any],
    runs: pd.DataFrame,
    known: list[Environment],
) -> Claim:
    """A row of verdicts.csv; environments that are new are added to `known`."""
    subjects = [row[key] for key in ("subject", "against", "twin") if row[key]]
    entry = jobs.paper.entry_of(row["subject"]) if row["subject"] else None
    rows = runs[runs["subject"].isin(subjects)]
    records = _records(jobs, rows)
    places = []
    for environment in map(_environment, records):
        if environment not in known:
            known.append(environment)
        places.append(known.index(environment))
    words = ("family", "text", "verdict", "why", "subject", "against", "metric", "split",
             "batchnorm", "direction")  # fmt: skip
    return Claim(
        id=row["claim"],
        **{name: row[name] for name in words},
        kind=row["effect"],
        protocol=entry.protocol if entry else None,
        leaky=bool(row["leaky"]),
        reported=_reported(jobs, reported, row),
        measured=_measured(row),
        power=_power(row),
        twin=_twin(row),
        commits=sorted(set(rows["commit"].astype(str))),
        specs=sorted(set(rows["spec"].astype(str))),
        code=sorted({record["code"] for record in records}),
        environments=sorted(set(places)),
    )


def _reported(
    jobs: Jobs, reported: Mapping[str, statements.Reported], row: Mapping[Any, Any]
) -> Reported:
    claim = jobs.paper.claims.get(row["claim"])
    named = {"subject": claim.reported, "against": claim.reported_against} if claim else {}
    columns = ("value", "unit", "spread", "spread_kind", "n", "source", "origin")
    return Reported(
        subject=_number(row["reported"]),
        against=_number(row["reported_against"]),
        effect=_number(row["reported_difference"]),
        sources=[
            Source(id=i, of=of, **{name: getattr(reported[i], name) for name in columns})  # pyright: ignore[reportArgumentType]
            for of, ids in named.items()
            for i in ids
        ],
    )


def _measured(row: Mapping[Any, Any]) -> Measured:
    return Measured(
        subject=_number(row["measured"]),
        against=_number(row["measured_against"]),
        effect=_number(row["difference"]),
        **{name: _number(row[name]) for name in ("low", "high", "level")},
        n=int(row["n"]),
        interval=row["spread_kind"] or "",
    )


def _power(row: Mapping[Any, Any]) -> Seen:
    needed = _number(row["pairs_needed"])
    return Seen(
        detectable=_number(row["detectable"]),
        interest=_number(row["interest"]),
        because=row["because"] or "",
        pairs_needed=None if needed is None else int(needed),
    )


def _twin(row: Mapping[Any, Any]) -> Twin | None:
    if not row["twin"]:
        return None
    ends = ("excess", "excess_low", "excess_high")
    return Twin(
        subject=row["twin"],
        effect=_number(row["twin_difference"]),
        low=_number(row["twin_low"]),
        high=_number(row["twin_high"]),
        **{name: _number(row[name]) for name in ends},
    )


def _records(jobs: Jobs, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The run.json behind each run in `rows`, of those that still lie in the results."""
    keys = sorted({(str(s), int(n)) for s, n in zip(rows["subject"], rows["seed"], strict=True)})
    files = [Path(jobs.run(subject, seed), sealed.RUN) for subject, seed in keys]
    return [record for file in files if (record := sealed.found(file))]


def _environment(record: Mapping[str, Any]) -> Environment:
    versions = record["versions"]
    return Environment(
        device=record["device"], python=versions["python"], torch=versions["torch"],
        platform=record["platform"], versions=versions, threads=record.get("threads"),
        container=record.get("container"),
    )  # fmt: skip


def _number(value: Any) -> Number:
    """A finite number, or none."""
    return float(value) if value is not None and math.isfinite(value) else None


def schema() -> dict[str, Any]:
    """The JSON schema of the document."""
    made = Document.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mergesuite:verdicts:{VERSION}",
    }
    return head | made


def schema_text() -> str:
    """The schema as it is written to its file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
