"""How often a verdict is wrong, and how often there is one: whole papers, simulated.

    python benchmarks/verdicts.py --studies 400 --out docs/error-rates

Each study draws the accuracies of all subjects of a paper and hands them to `compare`, as a run
does. Accuracies are `parents + gain + own + images`: the parents of a replicate are shared by all
subjects, `own` is each result's luck, `images` that of the test images. The deviations are those
that pilots measured (`DEVIATIONS`). Subjects of claims have the true gain, what they are compared
with has none. A leaky subject has its twin's gain and a leak of `--leak` points on top.

A word is wrong if the truth is not what it says (`WRONG`), and a paper is wrong in a word if one
of its claims is. Papers are those of the repository at full scale, so that every word can be had.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from mergesuite.core import frames
from mergesuite.core.provenance import commit, processor
from mergesuite.experiment import loading, spec
from mergesuite.judge import claimed, verdict
from mergesuite.judge.compare import compare
from mergesuite.stages.columns import COLUMNS

ROOT = Path(__file__).parents[1]
GAINS = (0.0, 0.002, 0.005, 0.01, 0.02)
PAIRS = (3, 5, 10, 20)
DEVIATIONS = {"cade": 0.008, "darwinian": 0.015, "mega": 0.03, "sa-shade": 0.005}
"""Of the difference of two results of one set of parents, on 5,000 test images."""
PARENTS, IMAGES = 0.02, 0.0008
"""Between sets of parents, and of the difference of two results by the choice of images."""


@dataclass(frozen=True)
class Truth:
    """What a claim's verdict should be held against; turned so that more is better."""

    effect: float
    interest: float
    reported: float | None
    twin: float
    leak: float


WRONG: dict[str, Callable[[Truth], bool]] = {
    verdict.REPRODUCED: lambda t: t.reported is None or t.effect < t.reported / 2,
    verdict.SMALLER: lambda t: t.reported is None or t.effect >= t.reported,
    verdict.DIRECTION: lambda t: t.effect <= 0,
    verdict.NO_GAIN: lambda t: t.effect >= t.interest,
    verdict.CONTRADICTED: lambda t: t.effect >= 0,
    verdict.LEAKAGE: lambda t: t.leak <= 0 or t.twin >= t.interest,
}
"""Whether a word is wrong about a truth."""


def at_full_scale(name: str, pairs: int) -> spec.Paper:
    """A paper with so many pairs of every population, whose sizes can be compared."""
    paper = loading.paper(ROOT / "replications" / name, "laptop")
    models = {slug: one.model_copy(update={"seeds": 1000}) for slug, one in paper.models.items()}
    methods = {slug: one.model_copy(update={"searches": 1}) for slug, one in paper.methods.items()}
    change = {"replicates": pairs, "reduced": "", "models": models, "methods": methods}
    return paper.model_copy(update=change)


def means(paper: spec.Paper, gain: float, leak: float) -> dict[str, float]:
    """The true mean of each subject, over that of what claims compare with."""
    found = dict.fromkeys(paper.subjects(), 0.0)
    for claim in paper.claims.values():
        sign = 1 if claim.direction == "higher" else -1
        found[claim.subject] = sign * gain
        if twin := paper.twin_of(claim.subject):
            found[twin], found[claim.subject] = gain, gain + leak
    return found


def study(
    paper: spec.Paper, truth: dict[str, float], deviation: float, generator: np.random.Generator
) -> pd.DataFrame:
    """The table of one study's accuracies, as `collect` makes it."""
    pairs = paper.replicates
    parents = generator.normal(0.8, PARENTS, pairs)
    rows = []
    for subject, parts in paper.subjects().items():
        own = generator.normal(0, deviation / np.sqrt(2), pairs)
        shared = generator.normal(0, IMAGES / np.sqrt(2))
        values = parents + truth[subject] + own + shared
        named = {"subject": subject, "entry": parts[0] if parts else subject}
        rows += [
            {**named, "metric": "accuracy", "split": "test", "batchnorm": "keep", "seed": seed}
            | {"value": value, "n": 5000}
            for seed, value in enumerate(values)
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def truths(
    paper: spec.Paper, found: dict[str, float], reported: dict[str, spec.Reported]
) -> dict[str, Truth]:
    """What is true of each claim that has a difference in accuracy."""
    made = {}
    for name, claim in paper.claims.items():
        known = claimed.claimed(name, claim, reported)
        sign = 1 if claim.direction == "higher" else -1
        effect = sign * (found[claim.subject] - found[claim.against])
        twin = paper.twin_of(claim.subject)
        own = sign * (found[twin] - found[claim.against]) if twin else effect
        made[name] = Truth(effect, known.interest, known.effect, own, effect - own)
    return made


def measured(paper: spec.Paper) -> spec.Paper:
    """A paper with only those claims that compare accuracies of what is run."""
    run = paper.subjects().keys()
    claims = {
        name: claim
        for name, claim in paper.claims.items()
        if claim.metric == "accuracy" and {claim.subject, claim.against} <= run
    }
    return paper.model_copy(update={"claims": claims, "untested": {}})


def simulated(name: str, pairs: int, gain: float, leak: float, studies: int) -> dict[str, Any]:
    """Shares of studies in which some claim gets a wrong word, and of claims that are decided."""
    paper = measured(at_full_scale(name, pairs))
    reported = loading.reported(ROOT / "replications" / name)
    found = means(paper, gain, leak)
    right = truths(paper, found, reported)
    generator = np.random.default_rng([pairs, round(gain * 1e4), round(leak * 1e4)])
    wrong = dict.fromkeys(WRONG, 0)
    decided = claims = 0
    for _ in range(studies):
        table = compare(paper, reported, study(paper, found, DEVIATIONS[name], generator))
        words = dict(zip(table["claim"], table["verdict"], strict=True))
        for word, is_wrong in WRONG.items():
            wrong[word] += any(w == word and is_wrong(right[c]) for c, w in words.items())
        decided += sum(w in verdict.DECIDED for w in words.values())
        claims += len(words)
    row = {"paper": name, "pairs": pairs, "gain": gain, "leak": leak, "studies": studies}
    shares = {word: count / studies for word, count in wrong.items()}
    return row | shares | {"decided": decided / claims}


def all_studies(papers: list[str], leak: float, studies: int) -> Iterator[dict[str, Any]]:
    """One row for each paper, number of pairs and true gain."""
    for name in papers:
        for pairs in PAIRS:
            for gain in GAINS:
                yield simulated(name, pairs, gain, leak, studies)


def main() -> None:
    """Simulate, print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", nargs="+", default=sorted(DEVIATIONS))
    parser.add_argument("--studies", type=int, default=400, help="for each row (default: 400)")
    parser.add_argument("--leak", type=float, default=0.01, help="default: 0.01, one point")
    parser.add_argument("--out", type=Path, help="without ending: writes OUT.csv")
    options = parser.parse_args()
    rows = []
    for row in all_studies(options.papers, options.leak, options.studies):
        rows.append(row)
        print(tabulate([row], tablefmt="plain", floatfmt=".3f"), flush=True)
    head, dirty = commit()
    table = pd.DataFrame(rows).assign(commit=head + ("+" if dirty else ""), device=processor())
    print(table.groupby(["paper", "pairs"])[[*WRONG, "decided"]].max().to_markdown(floatfmt=".3f"))
    if options.out:
        frames.write_csv(options.out.with_suffix(".csv"), table)


if __name__ == "__main__":
    main()
