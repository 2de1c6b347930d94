"""From the metrics of all runs to one tidy table: exactly the runs that the spec asks for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mergesuite.core import frames, sealed
from mergesuite.errors import UserError
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge.samples import read_runs
from mergesuite.stages import hits
from mergesuite.stages.columns import COLUMNS, WHOLE


def write(paper: str, profile: str, results: Path) -> None:
    """Write runs.csv of a paper, and the hits beside it, from the tables of `evaluate`.

    Raises:
        UserError: a run is missing, was not asked for, or was made with other settings than
            paper.yaml has now, or a table is not the one that `evaluate` wrote.
    """
    jobs = Jobs(paper, profile, str(results))
    files = [Path(f"{name}.csv") for name in jobs.metrics()]
    for file in files:
        sealed.check(sealed.beside(file))
    table = pd.concat(
        [frames.read_csv(file, numbers=["value"], whole=WHOLE) for file in files], ignore_index=True
    )
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise UserError(f"no column {missing[0]!r} in {files[0]}: is it of evaluate?")
    check(table, jobs)
    out = Path(jobs.folder) / "runs.csv"
    with sealed.describing(sealed.beside(out)) as to_write:
        hits.write(out, {k: v for file in files for k, v in hits.read(file).items()})
        to_write(hits.beside(out))
        frames.write_csv(to_write(out), table[COLUMNS])


def measured(jobs: Jobs) -> pd.DataFrame:
    """The table that `write` made: what every verdict, table, figure and pinned number is of.

    Raises:
        UserError: it is missing or damaged, or not of what paper.yaml asks for now.
    """
    file = Path(jobs.folder) / "runs.csv"
    sealed.check(sealed.beside(file))
    runs = read_runs(file)
    check(runs, jobs)
    return runs


def check(table: pd.DataFrame, jobs: Jobs) -> None:
    """Refuse a table that holds other runs than those that `jobs` asks for.

    Raises:
        UserError: a run is missing, was not asked for, or was made with other settings.
    """
    wanted = {
        (subject, seed): jobs.spec(subject, seed)
        for subject in jobs.subjects
        for seed in jobs.seeds(subject)
    }
    found = _specs(table)
    what = shlex.join(["snakemake", "--cores", "all", f"{jobs.folder}/runs.csv"])
    for key, spec in wanted.items():
        run = jobs.run(*key)
        if key not in found:
            raise UserError(f"{run} is asked for by paper.yaml and was not measured: `{what}`")
        if found[key] != {spec}:
            raise UserError(
                f"{run} was made with other settings (spec {', '.join(sorted(found[key]))}) than "
                f"paper.yaml has now ({spec}): make it again with `{what}`"
            )
    if extra := sorted(found.keys() - wanted.keys()):
        subject, seed = extra[0]
        raise UserError(
            f"{subject} s{seed} was measured and is not asked for by paper.yaml: `{what}`"
        )


def _specs(table: pd.DataFrame) -> Mapping[tuple[str, int], set[str]]:
    keys = table[["subject", "seed", "spec"]].drop_duplicates()
    found: dict[tuple[str, int], set[str]] = {}
    for subject, seed, spec in keys.itertuples(index=False):
        found.setdefault((str(subject), int(seed)), set()).add(str(spec))
    return found
