"""What each sub-command does. Imports are inside: a command pays only for what it uses."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mergesuite.core import provenance, store
from mergesuite.errors import CheckFailed, UserError
from mergesuite.experiment import declared
from mergesuite.experiment.jobs import REPLICATIONS, papers_there
from mergesuite.stages.runs import COLUMNS, data_settings, evaluate, merge, train

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "accept",
    "batch",
    "check",
    "collect",
    "compare",
    "data",
    "evaluate",
    "figures",
    "list_entries",
    "merge",
    "new_paper",
    "report",
    "tables",
    "train",
]


def data(options: Namespace) -> None:
    """Fetch, verify and describe a data set."""
    from mergesuite.data import load

    wanted = data_settings(options)
    splits = load(wanted.name, sizes=wanted.counts() or None)
    store.write_json(options.out, splits.manifest)


def batch(options: Namespace) -> None:
    """Run commands one after another; the first that fails ends it."""
    from mergesuite.cli import parse

    for command in options.commands:
        print(f"mergesuite {command}", file=sys.stderr)
        nested = parse(shlex.split(command))
        nested.run(nested)


def collect(options: Namespace) -> None:
    """Join metrics into runs.csv, and the hits beside them."""
    import pandas as pd

    from mergesuite.stages import hits

    frames = [store.read_csv(file) for file in options.metrics]
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"no column {missing[0]!r} in {options.metrics[0]}: is it of evaluate?")
    hits.write(options.out, {k: v for file in options.metrics for k, v in hits.read(file).items()})
    store.write_csv(options.out, table[COLUMNS])


def _folder(name: str) -> Path:
    known = papers_there()
    if name not in known:
        raise UserError(
            f"there is no replications/{name}{declared.nearest(name, known)}; "
            "run from the folder that holds replications/"
        )
    return REPLICATIONS / name


def compare(options: Namespace) -> None:
    """Write verdicts.csv, gains.csv and leakage.csv."""
    from mergesuite.judge import compare as stage

    stage.write(_folder(options.paper), options.profile, options.results)


def tables(options: Namespace) -> None:
    """Write the tables."""
    from mergesuite.report import tables as stage

    stage.write(_folder(options.paper), options.profile, options.results)


def figures(options: Namespace) -> None:
    """Draw the figures."""
    from mergesuite.report import figures as stage

    stage.write(_folder(options.paper), options.profile, options.results)


def report(options: Namespace) -> None:
    """Write the HTML report."""
    from mergesuite.report import page as stage

    folders = [_folder(name) for name in options.papers or papers_there()]
    out = options.out or options.results / options.profile / "report" / "index.html"
    stage.write(folders, options.profile, options.results, out)


def check(options: Namespace) -> None:
    """Compare measured numbers with the pinned ones."""
    from mergesuite.judge import expected

    frames = {
        name: expected.check_paper(_folder(name), options.profile, options.results)
        for name in options.papers or papers_there()
    }
    if options.json:
        print(json.dumps({n: json.loads(f.to_json(orient="records")) for n, f in frames.items()}))
    else:
        for name, frame in frames.items():
            print(f"{name}\n{frame.to_markdown(index=False)}\n")
    bad = {n: int(f["status"].isin(["drift", "missing"]).sum()) for n, f in frames.items()}
    if any(bad.values()):
        where = ", ".join(f"{count} in {name}" for name, count in bad.items() if count)
        raise CheckFailed(
            f"measured numbers left their tolerance: {where}; if the change is meant, run "
            "`mergesuite accept` and review the difference"
        )


def accept(options: Namespace) -> None:
    """Pin the measured numbers of one paper and profile, and publish them."""
    from mergesuite.judge import expected
    from mergesuite.report.publish import publish

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    count = expected.accept_paper(
        _folder(options.paper), options.profile, options.results, today, provenance.versions()
    )
    if not options.only_pin:
        publish(_folder(options.paper), options.profile, options.results)
    print(f"{count} numbers pinned in {_folder(options.paper) / 'expected.csv'}")


def new_paper(options: Namespace) -> None:
    """Copy the template."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", options.name):
        raise UserError(
            f"{options.name!r} is no paper name: use lower case, digits and dashes, at most 24"
        )
    target = REPLICATIONS / options.name
    if target.exists():
        raise UserError(f"{target} is already there: choose another name")
    template = REPLICATIONS / "_template"
    if not template.is_dir():
        raise UserError("no replications/_template here: run from the folder that holds it")
    shutil.copytree(template, target)
    print(f"{target} made: edit paper.yaml, then `snakemake -n --cores 1 {options.name}`")


def list_entries(options: Namespace) -> None:
    """Print what is registered."""
    from tabulate import tabulate

    from mergesuite.cli import listing

    wanted = [options.what] if options.what else [*listing.LISTS]
    tables = {what: listing.LISTS[what]() for what in wanted}
    if options.json:
        print(json.dumps(tables[options.what] if options.what else tables, indent=2))
        return
    for what, rows in tables.items():
        print(f"{what}\n{tabulate(rows, headers='keys', maxcolwidths=48)}\n")
