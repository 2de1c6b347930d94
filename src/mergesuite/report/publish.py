"""What goes into git of a finished run: its tables and figures, and the verdicts in the README.

Numbers in a replication's README are products: they stand between two markers and are replaced as a
whole, with the commit, the device and the number of runs behind them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from mergesuite.core import frames, store
from mergesuite.errors import UserError
from mergesuite.report.wording import factor, interval

BEGIN, END = "<!-- verdicts:begin -->", "<!-- verdicts:end -->"
KEPT = ("runs.csv", "verdicts.csv", "gains.csv", "leakage.csv", "tables/*.md", "figures/*.svg")


def block(verdicts: pd.DataFrame, runs: pd.DataFrame, profile: str) -> str:
    """The Markdown between the markers."""
    commits = ", ".join(sorted(runs["commit"].astype(str).unique()))
    devices = ", ".join(sorted(runs["device"].astype(str).unique()))
    shown = pd.DataFrame(
        {
            "claim": verdicts["text"],
            "verdict": verdicts["verdict"],
            "difference, 95 % interval": [_difference(row) for _, row in verdicts.iterrows()],
            "n": verdicts["n"],
            "why": verdicts["why"],
        }
    )
    return (
        f"Profile `{profile}`, commit {commits}, {devices}. Differences in points of accuracy, "
        "paired over populations.\n\n" + shown.to_markdown(index=False)
    )


def _difference(row: pd.Series) -> str:
    shown = factor if row["effect"] == "ratio" else interval
    return shown(row["difference"], row["low"], row["high"])


def publish(paper_folder: Path, profile: str, results: Path) -> None:
    """Copy a run's small files to results/published and refresh the paper's README.

    Raises:
        UserError: the run is not finished, or the README lacks the markers.
    """
    source = results / profile / paper_folder.name
    readme = paper_folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{readme} lacks the lines {BEGIN} and {END}: add them")
    verdicts, runs = (frames.read_csv(source / f"{name}.csv") for name in ("verdicts", "runs"))
    made = block(verdicts, runs, profile)
    head, _, rest = text.partition(BEGIN)
    store.write_text(readme, f"{head}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}")
    target = results / "published" / profile / paper_folder.name
    for pattern in KEPT:
        for file in sorted(source.glob(pattern)):
            copy = target / file.relative_to(source)
            with store.whole(copy) as temporary:
                shutil.copyfile(file, temporary)
