"""What a workflow of many small jobs costs: planning it, and starting each job.

    python benchmarks/planning.py --jobs 2000 10000 20000 --out docs/planning

The study is the `full` profile of all papers with more replicates. The plain workflow has the same
number of jobs, in three rules with wildcards, without parameters, resources or logs: what any
Snakemake workflow costs. Both are planned by `snakemake --dry-run --quiet` in the same run, in
turn; processor time and peak memory are those of the whole process.

A job's start is timed on the smallest training that there is, in a process of its own and forked
from the workflow's host, in turn.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tabulate import tabulate

from mergesuite.cli import host
from mergesuite.core import frames
from mergesuite.core.provenance import commit, processor

ROOT = Path(__file__).parents[1]
PLAIN = """
N = {parts}
rule all:
    input: expand("measured/{{i}}.csv", i=range(N))
rule train:
    output: "trained/{{i}}.bin"
    shell: "touch {{output}}"
rule merge:
    input: "trained/{{i}}.bin"
    output: "merged/{{i}}/{{j}}.bin"
    shell: "touch {{output}}"
rule evaluate:
    input: expand("merged/{{{{i}}}}/{{j}}.bin", j=range(8))
    output: "measured/{{i}}.csv"
    shell: "touch {{output}}"
"""
"""Ten jobs a part: one training, eight merges, one evaluation."""


def study(folder: Path, times: int) -> None:
    """A copy of the workflow and its papers, with `times` as many seeds and replicates."""
    for name in ("workflow", "replications", "config"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    for file in (folder / "replications").glob("[!_]*/paper.yaml"):
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        raw["replicates"] *= times
        _more_seeds(raw, times, set())
        file.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def _more_seeds(part: Any, times: int, seen: set[int]) -> None:
    """Multiply every `seeds` once: what an anchor names is one object in several places."""
    if id(part) in seen or not isinstance(part, dict):
        return
    seen.add(id(part))
    if "seeds" in part:
        part["seeds"] *= times
    for value in part.values():
        _more_seeds(value, times, seen)


def planned(folder: Path, *words: str) -> dict[str, Any]:
    """Jobs, seconds of processor time and of the clock, and MB of one dry run."""
    command = ["snakemake", "--cores", "2", "--dry-run", *words, "--quiet"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    watch = [sys.executable, "-c", _WATCH, *command]
    done = subprocess.run(watch, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(said)
    seconds, megabytes = re.findall(r"^@ (\S+) (\S+)$", said, re.M)[-1]
    return {
        "jobs": counted(folder, *words),
        "seconds": float(seconds),
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": float(megabytes),
    }


def counted(folder: Path, *words: str) -> int:
    """How many jobs a dry run lists. Listing takes longer than planning, so it is not timed."""
    command = ["snakemake", "--cores", "2", "--dry-run", "--quiet", "rules", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return int(re.findall(r"^total\s+(\d+)$", done.stdout + done.stderr, re.M)[-1])


_WATCH = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print("@", round(time.perf_counter() - start, 2), round(peak, 1), file=sys.stderr)
sys.exit(code)
"""


def measure(sizes: list[int]) -> pd.DataFrame:
    """One row per size: the study and the plain workflow of as many jobs."""
    rows = []
    os.environ.pop("MERGESUITE_REPLICATIONS", None)
    with tempfile.TemporaryDirectory() as scratch:
        once = Path(scratch) / "once"
        study(once, 1)
        base = planned(once, "--config", "profile=full")["jobs"]
        for size in sizes:
            times = max(1, round(size / base))
            ours, plain = Path(scratch) / f"ours-{size}", Path(scratch) / f"plain-{size}"
            study(ours, times)
            found = planned(ours, "--config", "profile=full")
            plain.mkdir()
            (plain / "Snakefile").write_text(PLAIN.format(parts=found["jobs"] // 10))
            beside = planned(plain)
            rows.append(
                found
                | {f"plain_{name}": value for name, value in beside.items()}
                | {"ratio": found["seconds"] / beside["seconds"]}
            )
    head, dirty = commit()
    return pd.DataFrame(rows).assign(commit=head + ("+" if dirty else ""), device=processor())


def starts(pairs: int) -> pd.DataFrame:
    """Seconds of the same command in a process of its own and from a host, in turn."""
    rows = []
    job = [
        "mergesuite", "train", "--model", "resnet8-w8", "--data", "digits",
        "--sizes", "fit=20", "search=10", "test=10", "--set", "epochs=1", "batch=10",
        "--seed", "0", "--out",
    ]  # fmt: skip
    host.open_folder()
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(pairs + 1):
            row = {}
            for kind in ("alone", "hosted"):
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                if kind == "alone":
                    environment.pop(host.VARIABLE)
                start = time.perf_counter()
                out = f"{scratch}/{kind}-{pair}"
                subprocess.run([*job, out], env=environment, capture_output=True, check=True)
                row[kind] = time.perf_counter() - start
            rows.append(row)
    table = pd.DataFrame(rows[1:])  # the first one starts the host
    return table.assign(ratio=table["alone"] / table["hosted"])


def main() -> None:
    """Measure, print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", type=int, default=[2000, 10_000, 20_000])
    parser.add_argument("--pairs", type=int, default=10, help="of starts (default: 10)")
    parser.add_argument("--out", type=Path, help="without ending: writes OUT.csv")
    options = parser.parse_args()
    begun = starts(options.pairs)
    print(begun.describe().loc[["min", "50%", "max"]].to_markdown(floatfmt=".2f"))
    table = measure(options.jobs)
    print(tabulate(table.to_dict("records"), headers="keys", floatfmt=".2f"))
    if options.out:
        frames.write_csv(options.out.with_suffix(".csv"), table.round(2))
        frames.write_csv(options.out.with_name(f"{options.out.name}-starts.csv"), begun.round(3))


if __name__ == "__main__":
    main()
