"""How the page grows: a folder of results, shown once, and as so many places beside each other.

    python benchmarks/page.py --results results --profile laptop --places 1 5 25 --out docs

Each place is the same results by another name, so 25 places of four papers are a page of 100.
Every page is made in a process of its own, whose peak of memory is measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from mergesuite.cli import run
from mergesuite.core import frames, provenance
from mergesuite.judge import compare


def made(results: Path, profile: str, places: int) -> dict[str, Any]:
    """A row: the page of `results` seen from `places` places."""
    papers = sorted(file.parent.name for file in (results / profile).glob("*/verdicts.csv"))
    claims = sum(len(compare.read(results / profile / name)) for name in papers)
    with tempfile.TemporaryDirectory() as scratch:
        also = [Path(scratch) / f"place-{number}" for number in range(1, places)]
        for place in also:
            place.symlink_to(results.resolve())
        page = Path(scratch) / "index.html"
        words = ["report", "--papers", *papers, "--profile", profile, "--results", str(results)]
        if also:
            words += ["--also", *(f"{profile}@{place}" for place in also)]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(_timed, ([*words, "--out", str(page)],))
        size = page.stat().st_size
    return {
        "papers": len(papers) * places,
        "claims": claims * places,
        "seconds": seconds,
        "peak_mb": peak,
        "page_mb": size / 1e6,
    }


def _timed(words: list[str]) -> tuple[float, float]:
    """Seconds of a command and the peak of this process in MB."""
    clock = time.perf_counter()
    if run(words):
        raise SystemExit(f"`mergesuite {' '.join(words)}` failed")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - clock, peak


def table(rows: pd.DataFrame) -> str:
    """The table of the docs."""
    shown = [
        {
            "papers": f"{row['papers']:.0f}",
            "claims": f"{row['claims']:,.0f}",
            "seconds": f"{row['seconds']:.2g}",
            "peak, MB": f"{row['peak_mb']:,.0f}",
            "page, MB": f"{row['page_mb']:.2g}",
        }
        for _, row in rows.iterrows()
    ]
    return tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Make the pages, print the table and write it."""
    parser = argparse.ArgumentParser(
        description="Time, memory and size of the page for more and more papers.",
        epilog="example: python benchmarks/page.py --profile smoke --places 1 5 25",
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--places", type=int, nargs="+", default=(1, 5, 25))
    parser.add_argument("--out", type=Path, help="writes page-growth.csv there")
    options = parser.parse_args()
    rows = pd.DataFrame(made(options.results, options.profile, n) for n in options.places)
    print(table(rows))
    if options.out:
        head, dirty = provenance.commit()
        marks = {"commit": head + ("+" if dirty else ""), "device": provenance.processor()}
        frames.write_csv(options.out / "page-growth.csv", rows.assign(**marks))


if __name__ == "__main__":
    main()
