"""How often a verdict is wrong, and how often there is one: whole papers, simulated.

    python benchmarks/verdicts.py --studies 400 --out docs/error-rates

Each study draws which test images every subject of a paper gets right and hands that to `compare`,
as a run does. An image is right with the probability `parents + gain + own + liking`: the parents
of a replicate are shared by all subjects, `own` is each result's luck, and `liking` is what a
method makes of an image in every replicate. Within a replicate images are drawn once for all
subjects, so that results agree on most images, as networks with common parents do. The deviations
are those that pilots measured (`DEVIATIONS`). Subjects of claims have the true gain, what they are
compared with has none. A leaky subject has its twin's gain and a leak of `--leak` points on top.

A word is wrong if the truth is not what it says (`WRONG`), and a paper is wrong in a word if one
of its claims is. Papers are those of the repository at full scale, so that every word can be had.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from mergesuite.core import frames
from mergesuite.core.provenance import commit, processor
from mergesuite.experiment import loading, spec, statements
from mergesuite.judge import claimed, verdict
from mergesuite.judge.compare import compare
from mergesuite.stages import hits
from mergesuite.stages.columns import COLUMNS

ROOT = Path(__file__).parents[1]
GAINS = (0.0, 0.002, 0.005, 0.01, 0.02)
PAIRS = (3, 5, 10, 20)
DEVIATIONS = {"cade": 0.008, "darwinian": 0.015, "mega": 0.03, "sa-shade": 0.005}
"""Of the difference of two results of one set of parents, on 5,000 test images."""
MEAN, PARENTS = 0.75, 0.02
"""Accuracy of parents, and its deviation between sets of them."""
TEST, IMAGES = 5000, 0.0008
"""Test images, and the deviation that their choice gives the difference of two results."""
TREATMENTS = ("keep", "re-estimate")
LIKING = IMAGES * math.sqrt(TEST / 2)
"""By how much a method has a better or worse chance at an image than at another."""


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
    seeds = pairs * max(population.take for population in paper.populations.values())
    models = {slug: one.model_copy(update={"seeds": seeds}) for slug, one in paper.models.items()}
    whole = {"searches": 1, "replicates": None}
    methods = {
        slug: one.model_copy(
            update={**whole, "fitness": one.fitness.model_copy(update={"images": None})}
        )
        for slug, one in paper.methods.items()
    }
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
) -> tuple[pd.DataFrame, hits.Hits]:
    """The accuracies of one study as `collect` makes them, and which images are right."""
    pairs = paper.replicates
    # Two results of a pair differ on LIKING of the images, half of these each way.
    own_deviation = math.sqrt((deviation**2 - LIKING / TEST) / 2)
    parents = generator.normal(MEAN, PARENTS, pairs)
    drawn = generator.random((pairs, TEST))
    rows, right = [], {}
    for subject, parts in paper.subjects().items():
        chance = parents + truth[subject] + generator.normal(0, own_deviation, pairs)
        liking = LIKING * generator.choice([-1.0, 1.0], TEST)
        bits = drawn < chance[:, None] + liking
        named = {"subject": subject, "entry": parts[0] if parts else subject}
        rows += [
            {**named, "metric": "accuracy", "split": "test", "batchnorm": treatment, "seed": seed}
            | {"value": value, "n": TEST}
            for seed, value in enumerate(bits.mean(1))
            for treatment in TREATMENTS
        ]
        right |= {
            (subject, seed, treatment): packed
            for seed, packed in enumerate(np.packbits(bits, axis=1))
            for treatment in TREATMENTS
        }
    return pd.DataFrame(rows, columns=COLUMNS), right


def truths(
    paper: spec.Paper, found: dict[str, float], reported: dict[str, statements.Reported]
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


def simulated(
    name: str, pairs: int, gain: float, leak: float, studies: int, seed: int = 0
) -> dict[str, Any]:
    """Shares of studies in which some claim gets a wrong word, and of claims that are decided."""
    paper = measured(at_full_scale(name, pairs))
    reported = loading.reported(ROOT / "replications" / name)
    found = means(paper, gain, leak)
    right = truths(paper, found, reported)
    stream = np.random.SeedSequence([pairs, round(gain * 1e4), round(leak * 1e4)])
    generator = np.random.default_rng(stream.spawn(seed)[-1] if seed else stream)
    wrong = dict.fromkeys(WRONG, 0)
    decided = claims = 0
    for _ in range(studies):
        runs, right_images = study(paper, found, DEVIATIONS[name], generator)
        table = compare(paper, reported, runs, right_images)
        words = dict(zip(table["claim"], table["verdict"], strict=True))
        for word, is_wrong in WRONG.items():
            wrong[word] += any(w == word and is_wrong(right[c]) for c, w in words.items())
        decided += sum(w in verdict.DECIDED for w in words.values())
        claims += len(words)
    row = {"paper": name, "pairs": pairs, "gain": gain, "leak": leak, "studies": studies}
    shares = {word: count / studies for word, count in wrong.items()}
    return row | shares | {"decided": decided / claims}


def all_studies(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each paper, number of pairs and true gain, as they get ready."""
    asked = [
        (name, pairs, gain, options.leak, options.studies, options.seed)
        for name in options.papers
        for pairs in options.pairs
        for gain in options.gains
    ]
    with multiprocessing.Pool() as pool:
        yield from pool.imap(_one, asked, chunksize=1)


def _one(asked: tuple[str, int, float, float, int, int]) -> dict[str, Any]:
    return simulated(*asked)


def table(studies: pd.DataFrame) -> str:
    """In per cent: how often a word is wrong at the worst gain, and what is decided at each."""
    lines = []
    for (paper, pairs), some in studies.groupby(["paper", "pairs"]):
        line: dict[str, Any] = {"paper": paper, "pairs": pairs}
        line |= {f"*{word}*": f"{100 * some[word].max():.1f}" for word in WRONG}
        lines.append(
            line
            | {
                f"{100 * gain:g}": f"{100 * decided:.0f}"
                for gain, decided in zip(some["gain"], some["decided"], strict=True)
            }
        )
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Simulate, print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", nargs="+", default=sorted(DEVIATIONS))
    parser.add_argument("--studies", type=int, default=400, help="for each row (default: 400)")
    parser.add_argument("--pairs", nargs="+", type=int, default=PAIRS)
    parser.add_argument("--gains", nargs="+", type=float, default=GAINS, help="0.01: one point")
    parser.add_argument("--seed", type=int, default=0, help="draws all studies anew (default: 0)")
    parser.add_argument("--leak", type=float, default=0.01, help="default: 0.01, one point")
    parser.add_argument("--out", type=Path, help="without ending: writes OUT.csv")
    options = parser.parse_args()
    rows = []
    for row in all_studies(options):
        rows.append(row)
        print(tabulate([row], tablefmt="plain", floatfmt=".3f"), flush=True)
    head, dirty = commit()
    found = pd.DataFrame(rows).assign(commit=head + ("+" if dirty else ""), device=processor())
    print(table(found))
    if options.out:
        frames.write_csv(options.out.with_suffix(".csv"), found)


if __name__ == "__main__":
    main()
