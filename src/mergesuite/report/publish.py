"""What goes into git of a finished run: its tables and figures, and the verdicts in the README.

Numbers in a replication's README are products: they stand between two markers and are replaced as a
whole, with the commit, the device and the number of runs behind them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from mergesuite.core import frames, sealed, store
from mergesuite.errors import UserError
from mergesuite.judge import compare, samples
from mergesuite.report.claims import INTERVAL_NOTE, Row, by_claim, is_tested, would_tell
from mergesuite.report.markup import plain
from mergesuite.report.wording import (
    BEGIN,
    END,
    NOTHING,
    effect,
    percent,
    unit,
)

KEPT = (
    "runs.csv",
    "verdicts.csv",
    "verdicts.json",
    "gains.csv",
    "leakage.csv",
    "calibration.csv",
    "controls.csv",
    "waterfall.csv",
    "trends.csv",
    "tables/*.md",
    "figures/*.svg",
)

MADE = ("runs.csv", "verdicts.csv", "tables", "figures")
"""What has a record: each file that is kept is described by one of these."""


def block(verdicts: pd.DataFrame, runs: pd.DataFrame, priced: pd.DataFrame, profile: str) -> str:
    """The Markdown between the markers; `priced` is tables/price.csv."""
    commits = ", ".join(sorted(runs["commit"].astype(str).unique()))
    devices = ", ".join(sorted(runs["device"].astype(str).unique()))
    price = by_claim(priced)
    lines = [_line(row, price.get(str(row["claim"]))) for row in verdicts.to_dict("records")]
    shown = pd.DataFrame(lines).map(plain)
    return (
        f"Profile `{profile}`, commit {plain(commits)}, {plain(devices)}. {INTERVAL_NOTE} Pairs "
        "needed: as many show the smallest effect of interest in four of five studies; of what is "
        "undecided with the core hours of such a study.\n\n"
        + shown.to_markdown(index=False, disable_numparse=True)
    )


def _line(row: Row, price: Row | None) -> dict[str, str]:
    """One claim, with its effect in its own unit and, if it is undecided, what would tell."""
    n = int(row["n"])
    line = {name: NOTHING for name in ("measured", "level", "n", "pairs needed")}
    if is_tested(row):
        ratio, metric = row["effect"] == "ratio", str(row["metric"])
        found = effect(ratio, metric, row["difference"], row["low"], row["high"])
        line = {
            "measured": found if found == NOTHING else f"{found} {unit(ratio, metric)}".rstrip(),
            "level": percent(row["level"]),
            "n": str(n),
            "pairs needed": would_tell(row, price),
        }
    named = {"claim": row["text"], "family": row["family"], "verdict": row["verdict"]}
    return {**named, **line, "why": row["why"]}


def readme(paper_folder: Path, profile: str, results: Path) -> str:
    """The README of a paper with the verdicts of a run; nothing is written.

    Raises:
        UserError: the run is not finished or damaged, or the README lacks the markers.
    """
    source = results / profile / paper_folder.name
    file = paper_folder / "README.md"
    text = file.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{file} lacks the lines {BEGIN} and {END}: add them")
    for made in MADE:
        sealed.check(sealed.beside(source / made))
    verdicts, runs = compare.read(source), samples.read_runs(source / "runs.csv")
    price = ("core_hours", "images_needed")
    priced = frames.read_csv(source / "tables/price.csv", ("claim", *price), numbers=price)
    head, _, rest = text.partition(BEGIN)
    made = block(verdicts, runs, priced, profile)
    return f"{head}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}"


def publish(paper_folder: Path, profile: str, results: Path, text: str) -> None:
    """Copy a run's small files to results/published; `text`, of `readme`, is the paper's README."""
    source = results / profile / paper_folder.name
    store.write_text(paper_folder / "README.md", text)
    target = results / "published" / profile / paper_folder.name
    for pattern in KEPT:
        copies = {target / file.relative_to(source): file for file in sorted(source.glob(pattern))}
        for copy, file in copies.items():
            with store.whole(copy) as temporary:
                shutil.copyfile(file, temporary)
        # What an earlier run had, and this one has not, is no part of what is published.
        for left_over in set(target.glob(pattern)) - copies.keys():
            left_over.unlink()
