"""From a pilot to a study: what each claim of a paper would cost to decide. Read `plan` first.

The variance of a claim's mean difference over n sets of parents, k search seeds each and N test
images is

    (parents + search / k + images_and_pairs / N) / n + images / N

with the components that `compare` has estimated from the pilot. A study needs the fewest n with
80 % power to show the smallest effect of interest; of all k and N the cheapest is taken, by the
processor time that the pilot's runs took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mergesuite.experiment import declared, spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare, power, prices
from mergesuite.judge.prices import Costs
from mergesuite.judge.study import seen_images

MOST_SEARCHES = 5
COLUMNS = (
    "claim", "family", "verdict", "interest", "level", "n", "sd_parents", "sd_search",
    "sd_images", "se_images", "pairs_needed", "best_pairs", "best_searches", "best_images",
    "cpu_minutes", "best_cpu_minutes",
)  # fmt: skip

DEVIATIONS = ("sd_pairs", "sd_search", "sd_images", "se_images")


@dataclass(frozen=True)
class Components:
    """Variances of a claim's difference.

    Attributes:
        parents: of another set of parents (with the search seed, where a pilot has one only).
        search: of another search seed; 0 where a pilot has one only.
        both: of other images within a pair, for one image.
        images: of other images in all pairs alike, for one image.
    """

    parents: float
    search: float
    both: float
    images: float

    def of_pair(self, searches: int, images: int) -> float:
        """The variance of one pair's difference."""
        return self.parents + self.search / searches + self.both / images


@dataclass(frozen=True)
class Design:
    """One design and its price."""

    pairs: int
    searches: int
    images: int
    minutes: float


def components(row: Mapping[str, float], searches: int, images: int) -> Components:
    """The variances behind one row of verdicts.csv, of a pilot with so many searches and images."""

    def square(name: str) -> float:
        return 0.0 if math.isnan(row[name]) else row[name] ** 2

    search, both = square("sd_search"), square("sd_images")
    parents = max(0.0, square("sd_pairs") - search - both)
    return Components(parents, search * searches, both * images, square("se_images") * images)


def cheapest(
    found: Components, costs: Costs, interest: float, level: float, images: int, most_images: int
) -> Design | None:
    """The cheapest design that shows `interest` with 80 % power; None if there is none."""
    designs = []
    # More search seeds can only help where the pilot shows what they are worth.
    for searches in range(1, (MOST_SEARCHES if found.search else 1) + 1):
        for size in sorted({images, most_images}):
            variance = found.of_pair(searches, size)
            pairs = power.pairs_needed(interest, variance, found.images / size, level)
            if pairs is not None:
                designs.append(Design(pairs, searches, size, costs.minutes(pairs, searches)))
    return min(designs, key=lambda d: (d.minutes, d.images), default=None)


def plan(
    paper: spec.Paper,
    verdicts: pd.DataFrame,
    seconds: Mapping[str, float],
    images: int,
    most_images: int,
) -> pd.DataFrame:
    """One row per measured difference in accuracy.

    Args:
        paper: the experiment that the pilot ran.
        verdicts: what `compare` made of the pilot.
        seconds: mean processor seconds of one run, by subject.
        images: test images of the pilot.
        most_images: as many as the data set has.
    """
    rows = []
    for row in verdicts.to_dict("records"):
        if row["n"] < 2 or row["effect"] != "difference" or row["metric"] != "accuracy":
            continue
        subject, against = str(row["subject"]), str(row["against"])
        # A claim about a leaky search is measured on the images that it saw, and on no others.
        seen = seen_images(paper, subject)
        there, most = (seen, seen) if seen else (images, most_images)
        searches = prices.searches(paper, subject)
        found = components({name: row[name] for name in DEVIATIONS}, searches, there)
        costs = prices.costs(paper, seconds, subject, against)
        best = cheapest(found, costs, row["interest"], row["level"], there, most)
        rows.append(
            {name: row[name] for name in COLUMNS if name in row}
            | {"sd_parents": math.sqrt(found.parents)}
            | {"cpu_minutes": costs.minutes(int(row["n"]), searches)}
            | {"best_pairs": best.pairs if best else None}
            | {"best_searches": best.searches if best else None}
            | {"best_images": best.images if best else None}
            | {"best_cpu_minutes": best.minutes if best else math.nan}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def of_results(paper: str, profile: str, results: Path) -> pd.DataFrame:
    """The plan of a study after the pilot in `results/profile/paper`.

    Raises:
        UserError: verdicts.csv is missing or damaged, or its runs are not those of paper.yaml.
    """
    jobs = Jobs(paper, profile, str(results))
    verdicts = compare.read(Path(jobs.folder))
    runs = collect.measured(jobs)
    on_test = runs[(runs["split"] == "test") & (runs["metric"] == "accuracy")]["n"]
    images = int(on_test.max())
    most = _most_images(jobs.paper, images)
    return plan(jobs.paper, verdicts, prices.seconds(runs), images, most)


def _most_images(paper: spec.Paper, images: int) -> int:
    """Test images of the data set; of a folder no more than were used are known."""
    known = declared.datasets().get(paper.data.name)
    return max(images, known["splits"]["test"]) if known else images
