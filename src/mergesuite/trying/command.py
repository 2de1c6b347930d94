"""`mergesuite try`: a thin command over `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from mergesuite.core import ranks, runtime
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network
from mergesuite.report import tried
from mergesuite.trying import files
from mergesuite.trying.compare import compare
from mergesuite.trying.entries import chosen
from mergesuite.trying.result import Comparison


def run(
    parents: Sequence[Path],
    network: Network,
    data: Data,
    *,
    budget: int | None,
    only: Sequence[str] | None,
    seed: int,
    out: Path,
    force: bool,
    device: str,
    command: str,
) -> None:
    """Compare, print what came out, and write it into `out`.

    Raises:
        UserError: something that cannot be compared or written; before anything is computed.
        KeyboardInterrupt: after Ctrl-C, when what was done by then is written.
    """
    ranks.refuse("try")
    chosen(only)
    files.refuse(out, force)
    same = [path for path in parents if parents.count(path) > 1]
    if same:
        raise UserError(f"{same[0]} is given twice, the same weights: give different parents")
    runtime.settle()
    found = compare(
        parents, model=network, data=data, budget=budget, only=only, seed=seed, device=device,
        progress=True,
    )  # fmt: skip
    print(told(found))
    found.save(out, command=command)
    print(f"\n{files.choice(found)}\nWritten: {', '.join(str(out / n) for n in files.ALL)}")
    if found.interrupted:
        raise KeyboardInterrupt(
            f"interrupted: {out} holds what was done by then; --force computes all of it again"
        )


def told(found: Comparison) -> str:
    """The table, what is to be known about it, and the sentence."""
    table = found.table()
    right = ["left"] + ["right"] * (len(tried.COLUMNS) - 1)
    rows = tabulate(
        tried.shown(table), headers=tried.COLUMNS, disable_numparse=True, colalign=right
    )
    notes = [f"{row.name}: {row.note}" for row in found.results if row.note]
    skipped = [f"{one.name} was not run: {one.why}" for one in found.skipped]
    return "\n".join(
        [rows, "", tried.legend(table), *notes, *skipped, "", found.sentence, found.scope]
    )
