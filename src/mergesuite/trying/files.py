"""What a comparison leaves in a folder, and whether it may."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mergesuite.core import sealed, store
from mergesuite.errors import MachineError, UserError, refused
from mergesuite.report import tried
from mergesuite.trying.result import Comparison

PAGE, TABLE, BEST = "index.html", "results.csv", "best.safetensors"
ALL = (PAGE, TABLE, BEST)


def refuse(folder: Path, force: bool) -> None:
    """Refuse a folder that cannot be written, or holds a comparison; before hours of computing.

    Raises:
        UserError: results are there and `force` is not said, or there can be no such folder.
        MachineError: it cannot be written.
    """
    there = [name for name in ALL if (folder / name).exists()]
    if there and not force:
        raise UserError(
            f"{folder} holds {there[0]} already: choose another --out, or say --force to replace it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(
            f"no folder {folder} can be made ({error.strerror}): choose another --out", error
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MachineError(f"{folder} cannot be written: give permission or choose another --out")


def write(found: Comparison, folder: Path, command: str) -> None:
    """Write the page, the table and the chosen network, and a record of them.

    Raises:
        MachineError: the folder cannot be written.
    """
    table, chosen = found.table(), found.chosen
    with sealed.describing(sealed.beside(folder / TABLE)) as to_write:
        store.write_rows(to_write(folder / TABLE), json.loads(table.to_json(orient="records")))
        said = {"chosen": chosen.name, "by": "search", "search": str(chosen.search)}
        store.save_weights(to_write(folder / BEST), found.best, said)
        page = tried.page(
            table,
            sentence=found.sentence,
            scope=found.scope,
            warnings=found.warnings,
            skipped=[(one.name, one.why) for one in found.skipped],
            chosen=choice(found),
            command=command,
        )
        store.write_text(to_write(folder / PAGE), page)


def choice(found: Comparison) -> str:
    """Which row the weights are, and how it was chosen."""
    row = found.chosen
    return (
        f"{BEST} is {row.name}: of the single networks the best on the search images "
        f"({100 * row.search:.2f} %; of equals the first), whatever the test images say"
        f" ({100 * row.test:.2f} %)."
    )
