"""Whether the files below a results folder are still what the stages wrote. Read `findings`.

Each record (`core.sealed`) is compared with the files that it describes, the states that
interrupted runs left with their own checksum, and the spec of a run with that in its files and in
the tables that were made of it. No network is built and torch is not imported.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mergesuite.core import sealed, store
from mergesuite.errors import CheckFailed, UserError

PUBLISHED = "published"
"""Copies without records, which git keeps."""
KEPT = {".safetensors", ".csv"}
"""Endings of files that stages read again."""
RESUME, STATE = "resume", "state.pt"
"""What an interrupted run leaves: see `stages.resume`, which needs torch."""


class Finding(NamedTuple):
    """One line of the answer; a fault fails the check, a remark does not."""

    text: str
    is_fault: bool = True


def show(root: Path) -> None:
    """Print what is found below `root`, a line for each.

    Raises:
        CheckFailed: a file is not what its stage wrote.
        UserError: there is no such folder, or nothing in it that could be verified.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}: name the one with the results")
    files = [path for path in _files(root) if path.relative_to(root).parts[0] != PUBLISHED]
    records = [path for path in files if _is_record(path)]
    if not records:
        raise UserError(
            f"nothing to verify in {root}: no {sealed.RUN} or *{sealed.SUFFIX} is below it; name a "
            "folder of results"
        )
    bad = 0
    for finding in findings(files, records):
        tqdm.write(finding.text, file=sys.stdout)
        bad += finding.is_fault
    print(f"records: {len(records)}, damaged or mixed: {bad}")
    if bad:
        raise CheckFailed(
            f"{bad} of the files below {root} are not what their stage wrote: delete what each "
            "line names and run the same command again"
        )


def findings(files: Sequence[Path], records: Sequence[Path]) -> Iterator[Finding]:
    """What is wrong in `files`, of which some are `records`, and what to delete."""
    described: set[Path] = set()
    bar = tqdm(records, "verify", unit="record", leave=False, disable=not sys.stderr.isatty())
    for record in bar:
        try:
            value = sealed.read(record)
        except UserError as error:
            yield Finding(str(error))
            continue
        described |= {record.parent / name for name in sealed.described(value)}
        wrong = list(sealed.faults(record, value))
        yield from map(Finding, wrong or _mixed(record, value))
    for file in files:
        if RESUME in file.parts:
            if file.name == STATE and not store.is_sealed(file):
                yield Finding(f"{file} is damaged: delete {file.parent}; the run then begins anew")
        elif file.suffix in KEPT and file not in described:
            yield _in_no_record(file)


def _in_no_record(file: Path) -> Finding:
    """What a file is that no record describes."""
    folder = file.parent.parent if file.parent.name == "epochs" else file.parent
    if (folder / sealed.RUN).is_file():
        return Finding(f"{file} is not of the run in {folder}: delete it")
    return Finding(f"{file} is in no record: what wrote it has not finished", is_fault=False)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _is_record(path: Path) -> bool:
    """Whether a file is a record, or a manifest of data, which has a seal and describes nothing."""
    is_manifest = path.suffix == ".json" and path.parent.name == "data"
    return path.name == sealed.RUN or path.name.endswith(sealed.SUFFIX) or is_manifest


def _mixed(record: Path, value: Mapping[str, Any]) -> Iterator[str]:
    """Files whose own words are of another run than the record beside them."""
    folder = record.parent
    if record.name != sealed.RUN:
        if folder.parent.name == "evaluate":
            yield from _measured(record, folder.parent.parent)
        return
    mend = f"delete {folder} and run its stage again"
    for name in sealed.described(value):
        for spec in _specs(folder / name):
            if spec != value["spec"]:
                yield f"{folder / name} is of spec {spec}, {record} of {value['spec']}: {mend}"
    for parent in [*value.get("parents", []), *filter(None, [value.get("start")])]:
        file = Path(parent["path"])
        if file.is_file() and store.sha256(file) != parent["sha256"]:
            yield f"{file} is not the checkpoint that {folder} was made from: {mend}"


def _measured(record: Path, paper: Path) -> Iterator[str]:
    """Runs of `paper` that a table of `evaluate` measured, and that are of another spec now."""
    table = record.with_name(record.name.removesuffix(sealed.SUFFIX) + ".csv")
    rows = {(row["subject"], row["seed"], row["spec"]) for row in _rows(table)}
    for subject, seed, spec in sorted(rows):
        for stage in ("train", "merge"):
            run = paper / stage / subject / f"s{seed}" / sealed.RUN
            there = (sealed.found(run) or {}).get("spec", spec)
            if there != spec:
                yield (
                    f"{table} measured {subject} s{seed} of spec {spec}, and {run} is of {there}: "
                    f"delete {table} and run its stage again"
                )


def _specs(file: Path) -> set[str]:
    """The specs that a file of a run names: in its rows, or in the metadata of weights."""
    if file.suffix == ".csv":
        return {row["spec"] for row in _rows(file) if "spec" in row}
    with file.open("rb") as opened:  # safetensors: the size of a JSON header, and the header
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    ours = json.loads(header.get("__metadata__", {}).get("mergesuite", "{}"))
    return {ours["spec"]} if "spec" in ours else set()


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))
