"""Jobs in Slurm's queue that a Snakemake which was killed has left behind.

Snakemake forgets what it has handed to Slurm when it is killed, Slurm does not. Jobs that run come
to their end, and their results count; jobs that wait would come to run beside those that the next
Snakemake hands over, each result made twice. `snakemake --unlock`, which says that nobody else is
at work, therefore settles the queue (`settle`), and a run starts on a settled queue only
(`refuse`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from mergesuite.errors import UserError

LOGS = ".snakemake/slurm_logs"
"""Where Slurm writes what a job of Snakemake says; below the folder that Snakemake runs in."""
PAUSE = 5.0
"""Seconds between two looks at the queue."""
TRIES = 3


def left(folder: Path, must_answer: bool = False) -> dict[str, str]:
    """State by number of each job in the queue that a Snakemake in `folder` has handed over.

    Raises:
        UserError: the queue does not answer although it must.
    """
    words = ["squeue", "--me", "--noheader", "--Format=JobID:|,State:|,StdOut:|"]
    try:
        found = _answer(words, must_answer)
    except FileNotFoundError:
        return {}  # no Slurm here
    logs = str(folder.resolve() / LOGS)
    rows = [line.split("|", 2) for line in found.splitlines() if line.count("|") >= 3]
    return {number: state for number, state, out in rows if out.startswith(f"{logs}/")}


def settle(folder: Path) -> None:
    """Take jobs that wait out of the queue, and wait for those that run."""
    said: set[str] = set()
    while jobs := left(folder):
        waiting = [number for number, state in jobs.items() if state == "PENDING"]
        if waiting:
            subprocess.run(["scancel", "--state=PENDING", *waiting], check=False)
        runs = [number for number in jobs if number not in waiting]
        if not said.issuperset(runs):
            said.update(runs)
            print(
                f"waiting for what an earlier run has started: `scancel {' '.join(runs)}` ends it, "
                "and what it has saved by then is used",
                file=sys.stderr,
            )
        time.sleep(PAUSE)


def refuse(folder: Path, must_answer: bool) -> None:
    """Stop where a run would make again what is in the queue already.

    Raises:
        UserError: there are jobs of an earlier run, or the queue does not answer although it must.
    """
    if jobs := left(folder, must_answer):
        raise UserError(
            f"{len(jobs)} jobs of an earlier run are in Slurm's queue ({' '.join(jobs)}): "
            "`snakemake --unlock` takes out those that wait and waits for those that run"
        )


def _answer(words: list[str], must_answer: bool) -> str:
    said = ""
    for _ in range(TRIES):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if not must_answer:
            return ""
        said = " ".join(done.stderr.split())
        time.sleep(PAUSE)
    raise UserError(f"Slurm's queue does not answer ({said}): try again when `squeue --me` does")
