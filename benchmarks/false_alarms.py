"""How often `check` fails where nothing has changed: pinned and held against new seeds, simulated.

    python benchmarks/false_alarms.py --studies 400 --out docs/false-alarms

A run on another machine is a run with new seeds. Each study draws two such runs of a published one,
pins the first and holds the second against it. A new replicate is the published mean plus a random
mixture of what the published replicates differ from it by, `sum_r z_r e_r / sqrt(n - 1)` with
normal z: as many replicates have the published covariance between all results, so parents that are
good are good in every row. `heavy` divides z by what makes it a t of four degrees of freedom, one
draw per replicate: runs that fail now and then fail in all rows at once. Accuracies are rounded to
images.

`lost` is the same with one gain taken away from the method that a paper is about: how often `check`
sees it.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from mergesuite.core import frames
from mergesuite.core.provenance import commit, processor
from mergesuite.experiment import loading, spec
from mergesuite.judge import expected, samples

ROOT = Path(__file__).parents[1]
METHODS = {
    "cade": "cade-clean-hyper",
    "darwinian": "darwinian-clean-ending",
    "mega": "mega-clean-pair",
    "sa-shade": "shade-clean-tuned",
}
"""Of each paper the result whose loss is to be seen."""
LOST = 0.02
TAILS = ("normal", "heavy")
DEGREES = 4


class Again:
    """New runs of a published one."""

    def __init__(self, runs: pd.DataFrame) -> None:
        """Take the accuracies apart into means and what replicates differ from them by."""
        pinned = runs[runs["metric"].isin(expected.PINNED) & (runs["split"] != "fit")]
        self.fixed = pinned[pinned["metric"] != "accuracy"]
        self.rows = pinned[pinned["metric"] == "accuracy"].reset_index(drop=True)
        keys = [str(kind) for kind in self.rows["kind"]]
        # The seeds of a network are not the replicates of what is merged of them.
        place = [
            (k, spec.replicate_of(int(s))) for k, s in zip(keys, self.rows["seed"], strict=True)
        ]
        self.places = list(dict.fromkeys(place))
        group = ["subject", "batchnorm", "split"]
        values = self.rows["value"]
        self.means = self.rows.groupby(group, observed=True)["value"].transform("mean").to_numpy()
        counts = self.rows.groupby(group, observed=True)["seed"].transform(
            lambda seeds: len({spec.replicate_of(int(s)) for s in seeds})
        )
        self.scale = np.sqrt(np.maximum(counts.to_numpy(dtype=float) - 1, 1))
        self.mixing = self._mixing(place, (values - self.means).to_numpy())

    def _mixing(self, place: list[tuple[str, int]], residuals: np.ndarray) -> list[Any]:
        """Of each row: the places that its mixture is of, and their residuals."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        names = ["subject", "batchnorm", "split"]
        searches = self.rows["seed"].astype(int) // spec.SEARCH
        for i, key in enumerate(zip(*(self.rows[name] for name in names), searches, strict=True)):
            groups.setdefault(key, []).append(i)
        found: list[Any] = [None] * len(self.rows)
        for members in groups.values():
            at = np.array([self.places.index(place[i]) for i in members])
            for i in members:
                found[i] = (self.places.index(place[i]), at, residuals[members])
        return found

    def draw(self, generator: np.random.Generator, tails: str) -> pd.DataFrame:
        """A run with new seeds."""
        size = len(self.places)
        z = generator.standard_normal((size, size))
        if tails == "heavy":
            z /= np.sqrt(generator.chisquare(DEGREES, (size, 1)) / DEGREES)
        moved = [float(z[own, at] @ residuals) for own, at, residuals in self.mixing]
        images = self.rows["n"].to_numpy(dtype=float)
        value = np.round((self.means + np.array(moved) / self.scale) * images) / images
        return pd.concat([self.rows.assign(value=np.clip(value, 0, 1)), self.fixed])


def study(name: str, profile: str, tails: str, seed: int) -> dict[str, Any]:
    """Pin one run and hold another against it, as it is and with a gain lost."""
    runs = published(name, profile)
    paper = loading.paper(ROOT / "replications" / name, profile)
    generator = np.random.default_rng([seed, TAILS.index(tails), *name.encode()])
    again = Again(runs)
    first, second = (again.draw(generator, tails) for _ in range(2))
    pinned = expected.accept(paper, first, profile, {})
    mine = (second["subject"] == METHODS[name]) & (second["metric"] == "accuracy")
    lost = second.assign(value=second["value"].where(~mine, second["value"] - LOST))
    found = {
        what: (expected.check(paper, table, pinned, profile)["status"] == "drift").any()
        for what, table in (("alarm", second), ("seen", lost))
    }
    return {"paper": name, "profile": profile, "tails": tails, "pinned": len(pinned), **found}


def published(name: str, profile: str) -> pd.DataFrame:
    """The runs that were published of a paper."""
    return samples.read_runs(ROOT / "results" / "published" / profile / name / "runs.csv")


def all_studies(profile: str, studies: int) -> Iterator[dict[str, Any]]:
    """A row per paper and kind of tails."""
    with multiprocessing.Pool() as pool:
        for name in METHODS:
            for tails in TAILS:
                made = pd.DataFrame(
                    pool.map(partial(study, name, profile, tails), range(studies), chunksize=4)
                )
                yield {
                    **made.iloc[0][["paper", "profile", "tails", "pinned"]],
                    "studies": studies,
                    "alarms": int(made["alarm"].sum()),
                    "rate": float(made["alarm"].mean()),
                    "lost": LOST,
                    "seen": float(made["seen"].mean()),
                }


def table(found: pd.DataFrame) -> str:
    """The measured rates as Markdown."""
    lines = [
        {
            **{name: row[name] for name in ("paper", "tails", "pinned", "studies")},
            "false alarms (%)": f"{100 * row['rate']:.2f}",
            "two points lost, seen (%)": f"{100 * row['seen']:.0f}",
        }
        for row in found.to_dict("records")
    ]
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Simulate, print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--profile", default="laptop", help="published (default: laptop)")
    parser.add_argument("--studies", type=int, default=400, help="for each row (default: 400)")
    parser.add_argument("--out", type=Path, help="without ending: writes OUT.csv")
    options = parser.parse_args()
    found = pd.DataFrame(list(all_studies(options.profile, options.studies)))
    head, dirty = commit()
    found = found.assign(commit=head + ("+" if dirty else ""), device=processor())
    print(table(found))
    if options.out:
        frames.write_csv(options.out.with_suffix(".csv"), found)


if __name__ == "__main__":
    main()
