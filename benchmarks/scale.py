"""How long the large profiles take on some GPUs: their jobs, placed one after another.

    python benchmarks/scale.py --tflops 10 60 --out docs

Each job of `full` and `imagenet` gets the time of its counted operations (`experiment.price`, as a
dry run names them), at a throughput that is assumed, and the measured time that a process takes to
start (docs/planning-starts.csv). Then they are placed as Snakemake places them: whatever has its
inputs, by priority of its rule, on the first GPU that is free. Nothing is run, so these hours are
no measurement.

Who waits for whom is the workflow's own answer; what cannot be divided further is the longest chain
of jobs. It ends the profit of more GPUs.

What comes after the runs is measured on one paper with `--pairs` sets of parents that are made up
(`verdicts.py`): a table of so many runs, and the verdicts on them. Planning is in `planning.py`.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import verdicts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

from mergesuite.core import frames, provenance
from mergesuite.experiment import config, loading, price
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge.compare import compare
from mergesuite.stages import hits

DOCS = Path(__file__).parents[1] / "docs"
PROFILES = ("full", "imagenet")
GPUS = (1, 8, 64)
PRIORITY = {"train": 0, "merge": 1, "evaluate": 2}
"""Of a rule among jobs that are ready; the workflow has them the other way round."""


@dataclass
class Job:
    """A job and what it waits for.

    Attributes:
        stage: train, merge or evaluate.
        seconds: on one GPU.
        waits: places of other jobs in the list that this one is in; all come before it.
    """

    stage: str
    seconds: float
    waits: list[int] = field(default_factory=list)


def jobs_of(paper: str, profile: str, tflops: float) -> list[Job]:
    """The jobs of a paper on GPUs that sustain `tflops` 10^12 operations a second."""
    jobs = Jobs(paper, profile)
    start = float(pd.read_csv(DOCS / "planning-starts.csv")["alone"].median())
    made: list[Job] = []
    places: dict[str, int] = {}
    # Whatever another waits for comes before it.
    for one in sorted(price.jobs_of(jobs), key=lambda one: _order(jobs, one)):
        asked = {"train": jobs.train_files, "merge": jobs.merge_files}.get(
            one.stage, jobs.measured_files
        )
        files = map(_folder, asked(one.name, one.seed))
        waits = sorted({places[folder] for folder in files if folder in places})
        places[_made(jobs, one)] = len(made)
        seconds = start + 2 * one.need.multiply_adds / (tflops * 1e12)
        made.append(Job(one.stage, seconds, waits))
    return made


def _order(jobs: Jobs, job: price.Job) -> tuple[int, bool]:
    """By this the jobs that others start from, or get their budget from, come first."""
    if job.stage == "train":
        return 0, jobs.paper.models[job.name].start is not None
    return list(PRIORITY).index(job.stage), (
        job.stage == "merge" and jobs.budget(job.name, job.seed) is not None
    )


def _made(jobs: Jobs, job: price.Job) -> str:
    """The folder of what a job makes."""
    return f"{job.name}/{job.seed}" if job.stage == "evaluate" else jobs.run(job.name, job.seed)


def _folder(file: str) -> str:
    """The folder of the run that a file is of."""
    where = Path(file).parent
    return str(where.parent if where.name == "epochs" else where)


def placed(jobs: list[Job], gpus: int) -> float:
    """Seconds until all jobs are done on `gpus` devices."""
    left = [len(job.waits) for job in jobs]
    then: list[list[int]] = [[] for _ in jobs]
    for place, job in enumerate(jobs):
        for before in job.waits:
            then[before].append(place)
    ready = [(PRIORITY[job.stage], place) for place, job in enumerate(jobs) if not job.waits]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < gpus:
            _, place = heapq.heappop(ready)
            heapq.heappush(running, (now + jobs[place].seconds, place))
        now, ended = heapq.heappop(running)
        for place in then[ended]:
            left[place] -= 1
            if not left[place]:
                heapq.heappush(ready, (PRIORITY[jobs[place].stage], place))
    return now


def chain(jobs: list[Job]) -> float:
    """Seconds of the longest chain of jobs that wait for each other."""
    ends: list[float] = []
    for job in jobs:
        ends.append(job.seconds + max((ends[place] for place in job.waits), default=0.0))
    return max(ends)


def measure(profile: str, tflops: float) -> Iterator[dict[str, Any]]:
    """A row for each paper of a profile and number of GPUs."""
    for paper in config.usable(profile)[0]:
        jobs = jobs_of(paper, profile, tflops)
        work = sum(job.seconds for job in jobs)
        longest = chain(jobs)
        by_stage = {s: sum(j.seconds for j in jobs if j.stage == s) / work for s in PRIORITY}
        for gpus in GPUS:
            hours = placed(jobs, gpus) / 3600
            yield {
                "profile": profile,
                "paper": paper,
                "jobs": len(jobs),
                "gpus": gpus,
                "hours": hours,
                "gpu_hours": work / 3600,
                "busy": work / 3600 / gpus / hours,
                "chain_hours": longest / 3600,
                **{f"share_{stage}": share for stage, share in by_stage.items()},
                "tflops": tflops,
            }


def growth(pairs: int) -> dict[str, Any]:
    """What the stages after the runs take for one paper with so many pairs, made up and not run."""
    paper = verdicts.measured(verdicts.at_full_scale("sa-shade", pairs))
    truth = verdicts.means(paper, 0.005, 0.02)
    runs, right = verdicts.study(paper, truth, 0.005, np.random.default_rng(0))
    reported = loading.reported(config.folder_of("sa-shade"))
    row: dict[str, Any] = {"runs": len(runs) // len(verdicts.TREATMENTS), "pairs": pairs}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "runs.csv"
        clock = time.perf_counter()
        frames.write_csv(file, runs)
        hits.write(file, right)
        frames.read_csv(file)
        hits.read(file)
        row["files_seconds"] = time.perf_counter() - clock
        row["megabytes"] = sum(one.stat().st_size for one in Path(scratch).iterdir()) / 1e6
    clock = time.perf_counter()
    compare(paper, reported, runs, right)
    row["compare_seconds"] = time.perf_counter() - clock
    return row


def bottleneck(row: pd.Series[Any]) -> str:
    """What ends the profit of more GPUs, in a few words."""
    if row["busy"] > 0.9:
        return "GPUs: all of them are busy"
    if row["chain_hours"] > 0.9 * row["hours"]:
        return "the longest chain of jobs"
    return "jobs that wait for others"


def rounded(hours: float) -> str:
    """Three digits, and never a power of ten."""
    return f"{float(f'{hours:.3g}'):,g}"


def table(rows: pd.DataFrame) -> str:
    """The table of the docs."""
    shown = [
        {
            "profile": row["profile"],
            "paper": row["paper"],
            "jobs": row["jobs"],
            "GPUs": row["gpus"],
            "hours": rounded(row["hours"]),
            "GPU hours": rounded(row["gpu_hours"]),
            "busy": f"{row['busy']:.0%}",
            "longest chain, hours": rounded(row["chain_hours"]),
            "what bounds it": bottleneck(row),
        }
        for _, row in rows.iterrows()
    ]
    return tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)


def grown_table(rows: pd.DataFrame) -> str:
    """The table of the docs for what comes after the runs."""
    shown = [
        {
            "runs": f"{row['runs']:,.0f}",
            "pairs": f"{row['pairs']:.0f}",
            "MB": f"{row['megabytes']:.2g}",
            "to write and read them, s": f"{row['files_seconds']:.2g}",
            "verdicts, s": f"{row['compare_seconds']:.2g}",
        }
        for _, row in rows.iterrows()
    ]
    return tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)


def draw(rows: pd.DataFrame) -> Figure:
    """Hours over GPUs, a line for each paper, down to its longest chain."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {paper: f"C{number}" for number, paper in enumerate(sorted(set(rows["paper"])))}
    for axes, profile in zip(figure.subplots(1, len(PROFILES)), PROFILES, strict=True):
        for paper, part in rows[rows["profile"] == profile].groupby("paper"):
            axes.plot(part["gpus"], part["hours"], "o-", color=colours[paper], label=paper)
            axes.axhline(part["chain_hours"].iloc[0], color=colours[paper], ls=":", lw=0.8)
        axes.set(xscale="log", yscale="log", title=profile, xlabel="GPUs", ylabel="hours")
        axes.set_xticks(GPUS, map(str, GPUS))
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Place the jobs, print the table, write it and the figure."""
    parser = argparse.ArgumentParser(
        description="Hours of the large profiles on some GPUs, at a throughput that you name.",
        epilog="example: python benchmarks/scale.py --tflops 10 60",
    )
    parser.add_argument(
        "--tflops",
        type=float,
        nargs=2,
        default=(price.SMALL_IMAGES / 1e12, price.FILES / 1e12),
        help="10^12 operations a second: of networks on 32 x 32, and on 224 x 224 pixels",
    )
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=(4, 40, 400), help="of one paper, made up"
    )
    parser.add_argument(
        "--out", type=Path, help="writes scale.csv, scale-growth.csv and scale.svg there"
    )
    options = parser.parse_args()
    pairs = zip(PROFILES, options.tflops, strict=True)
    rows = pd.DataFrame(row for profile, tflops in pairs for row in measure(profile, tflops))
    print(table(rows))
    grown = pd.DataFrame(growth(pairs) for pairs in options.pairs)
    print(grown_table(grown))
    if options.out:
        head, dirty = provenance.commit()
        made = {"commit": head + ("+" if dirty else ""), "device": provenance.processor()}
        frames.write_csv(options.out / "scale.csv", rows.assign(commit=made["commit"]))
        frames.write_csv(options.out / "scale-growth.csv", grown.assign(**made))
        with mpl.rc_context({"svg.hashsalt": "scale", "svg.fonttype": "none"}):
            draw(rows).savefig(options.out / "scale.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
