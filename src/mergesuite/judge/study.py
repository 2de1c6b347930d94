"""What was measured of a paper, and two of its subjects compared in the way that a claim asks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pandas as pd

from mergesuite.errors import UserError
from mergesuite.experiment import spec, statements
from mergesuite.judge import stats
from mergesuite.judge.samples import (
    Comparison,
    Where,
    contrast,
    contrast_by_image,
    have_pairs,
    resolution,
    samples,
)
from mergesuite.stages.columns import COSTS
from mergesuite.stages.hits import Hits


@dataclass(frozen=True)
class Study:
    """A paper with its runs, and which test images each result gets right."""

    paper: spec.Paper
    runs: pd.DataFrame
    right: Hits = field(default_factory=dict)
    _known: dict[tuple[str, Where], dict[int, float]] = field(default_factory=dict, init=False)
    """What was asked for before: claims share subjects."""

    def samples(self, claim: statements.Claim, subject: str) -> dict[int, float]:
        """Seed -> value of a subject where a claim is measured."""
        asked = subject, where_of(claim)
        if asked not in self._known:
            self._known[asked] = samples(self.runs, *asked)
        return self._known[asked]


@dataclass(frozen=True)
class Measured:
    """The comparison that a claim is about and, of a leaky one, those with its twin.

    Attributes:
        main: the subject and what it is compared with.
        twin: the same search on held-out images, and what the claim compares with.
        excess: the subject and the twin: what the leak alone is worth.
    """

    main: Comparison
    twin: Comparison | None = None
    excess: Comparison | None = None

    @property
    def all(self) -> list[Comparison]:
        """The comparisons that there are."""
        return [made for made in (self.main, self.twin, self.excess) if made]


def where_of(claim: statements.Claim) -> Where:
    """Where a claim is measured; costs have neither split nor BatchNorm treatment."""
    if claim.metric in COSTS:
        return Where(claim.metric, "-", "-")
    return Where(claim.metric, "-" if claim.split == "none" else claim.split, claim.batchnorm)


def twin_of(paper: spec.Paper, claim: statements.Claim) -> str | None:
    """The twin beside a leaky claim; what a search costs does not depend on what it looks at."""
    return None if claim.metric in COSTS else paper.twin_of(claim.subject)


def measure(study: Study, claim: statements.Claim, level: float) -> Measured:
    """Everything that the verdict on a claim needs, each interval at the same level."""
    main = compared(study, claim, claim.subject, claim.against, level)
    twin = twin_of(study.paper, claim)
    if twin is None:
        return Measured(main)
    return Measured(
        main,
        compared(study, claim, twin, claim.against, level),
        compared(study, claim, claim.subject, twin, level),
    )


def compared(
    study: Study, claim: statements.Claim, subject: str, against: str, level: float
) -> Comparison:
    """Two subjects compared as a claim compares; a ratio is turned so that above 1 is in favour.

    Raises:
        UserError: the hits are of other runs than the accuracies.
    """
    a, b = (study.samples(claim, name) for name in (subject, against))
    paired = have_pairs(study.paper, subject, against)
    if claim.ratio is not None:
        if claim.direction == "higher":
            return contrast(a, b, paired, ratio=True, level=level)
        turned = contrast(b, a, paired, ratio=True, level=level)
        return replace(turned, subject=turned.against, against=turned.subject)
    step = resolution(study.runs, subject, where_of(claim))
    made = contrast(a, b, paired, step, level=level)
    if not step or not same_images(study.paper, claim, subject, against):
        return made
    seen = seen_images(study.paper, claim.subject)
    images = seen or round(1 / step)
    found = contrast_by_image(study.right, subject, against, claim.batchnorm, images, level)
    if found is None or found.effect.n != made.effect.n:
        return made
    if seen:
        return found
    if not math.isclose(found.effect.mean, made.effect.mean, abs_tol=step / 1000):
        raise UserError(
            f"the hits of {subject} and {against} are not those of runs.csv: run "
            "`mergesuite collect` again"
        )
    return replace(found, search_variance=made.search_variance)


def seen_images(paper: spec.Paper, subject: str) -> int | None:
    """How many test images a leaky search saw, if not all: the first so many.

    Its paper reports accuracy on what its search saw, and only there is the leak undiluted.
    """
    entry = paper.entry_of(subject)
    return entry.fitness.images if entry and entry.fitness.split == "test" else None


def same_images(paper: spec.Paper, claim: statements.Claim, *names: str) -> bool:
    """Whether a claim is about accuracies on test of paired results on one data set."""
    where = where_of(claim)
    on_test = (where.metric, where.split) == ("accuracy", "test")
    a, b = (paper.data_of(paper.model_of(name)) for name in names)
    return on_test and a == b and have_pairs(paper, *names)


def in_favour(claim: statements.Claim, effect: stats.Effect) -> tuple[float, float]:
    """An interval, turned so that more is better for the claim and no effect is 0."""
    if claim.ratio is not None:
        return math.log(effect.low), math.log(effect.high)
    if claim.direction == "lower":
        return -effect.high, -effect.low
    return effect.low, effect.high
