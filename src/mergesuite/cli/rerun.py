"""Whether one run, made again from what its run.json records, comes out the same. Read `show`.

The recorded command is started in a folder of its own, with as many threads and processes as the
run had. Weights, trace or curve and the counted cost must be those of the record, byte for byte;
seconds and memory belong to the machine.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mergesuite.cli import parser
from mergesuite.core import scratch, sealed, store
from mergesuite.core.provenance import processor
from mergesuite.errors import CheckFailed, MachineError, UserError

COMPARED = ("cost", "score", "begun")
"""What a run.json says that must come out the same, beside its files."""
ENVIRONMENT = ("code", "content", "device", "platform", "threads", "processes", "container")
"""What may be another now, beside the versions of packages, and explain another result."""


def show(run: Path) -> None:
    """Make the run in the folder `run` again and print whether it is the same.

    Raises:
        CheckFailed: it is not, and nothing that is recorded of its environment is another now; or
            its files are not those that it wrote.
        UserError: it cannot be made again here: a parent is another or missing.
    """
    try:
        before = sealed.check(run / sealed.RUN)
    except UserError as error:
        raise CheckFailed(str(error)) from None
    options = _recorded(run, before)
    _check_inputs(run, before, options)
    with scratch.folder() as folder:
        again = folder / "run"
        _start(before, options, again)
        after = sealed.check(again / sealed.RUN)
        if after["spec"] != before["spec"]:
            raise UserError(
                f"{run}: its command asks for something else now (spec {after['spec']}, recorded "
                f"{before['spec']}): it is of another version of mergesuite, whose commit is "
                f"{before['commit']}"
            )
        found = list(differences(run, before, again, after))
    if not found:
        files = ", ".join(sealed.described(before))
        print(f"equal: {files} and the counted cost of {run} came out the same")
        return
    print(*found, sep="\n")
    if not (reasons := list(changes(before, after))):
        raise CheckFailed(f"{run} came out otherwise in the same environment")
    print("it may, for this is not the environment of the record:", *reasons, sep="\n  ")


def _recorded(run: Path, record: Mapping[str, Any]) -> Namespace:
    """The options of the command that made the run."""
    words = shlex.split(str(record.get("command", "")))
    if words[1:2] not in (["train"], ["merge"]):
        raise UserError(f"{run / sealed.RUN} records no command of train or merge to run again")
    return parser.parse(words[1:])


def _check_inputs(run: Path, record: Mapping[str, Any], options: Namespace) -> None:
    """Refuse to begin where what the run was made from is not there, or another file."""
    origins = [*record.get("parents", []), *filter(None, [record.get("start")])]
    for origin in origins:
        file = Path(origin["path"])
        if not file.is_file():
            raise UserError(
                f"{run} was made from {file}, and there is no such file: start this from the "
                "folder that its command was started from, or make that run first"
            )
        if store.sha256(file) != origin["sha256"]:
            raise UserError(
                f"{file} is not the checkpoint that {run} was made from (recorded SHA-256 "
                f"{origin['sha256'][:12]}): make that one again first"
            )
    source = getattr(options, "budget_of", None)
    if source and not source.is_file():
        raise UserError(f"{run} had the budget of {source}, and there is no such file: make it")


def _start(record: Mapping[str, Any], options: Namespace, out: Path) -> None:
    """Run the command again, into the folder `out`."""
    words = [*options.words, "--out", str(out)]  # of one option given twice the last counts
    if options.device == "auto" and record["device"] == processor():
        words += ["--device", "cpu"]
    program = [sys.executable, "-m", "mergesuite"]
    if (processes := record.get("processes", 1)) > 1:
        program = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc-per-node", str(processes), "-m", "mergesuite"]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "MERGESUITE_HOST"}
    environment.pop("OMP_NUM_THREADS", None)
    if record.get("threads"):
        environment["OMP_NUM_THREADS"] = str(record["threads"])
    status = subprocess.run(
        [*program, *words], env=environment, stdout=subprocess.DEVNULL, check=False
    ).returncode
    if status:
        error = MachineError if status == 3 else UserError
        raise error(f"`{shlex.join(['mergesuite', *words])}` ended with status {status}: see above")


def differences(
    run: Path, before: Mapping[str, Any], again: Path, after: Mapping[str, Any]
) -> Iterator[str]:
    """What of a run came out otherwise, a line for each file and each number of its record."""
    old, new = sealed.described(before), sealed.described(after)
    for name in sorted({**old, **new}):
        if name not in old or name not in new:
            yield f"{name}: {'is new' if name in new else 'was not written again'}"
        elif old[name] != new[name]:
            how = _rows if name.endswith(".csv") else _tensors
            yield f"{name}: {how(run / name, again / name)}"
    for key in COMPARED:
        if before.get(key) != after.get(key):
            yield f"{key}: recorded {before.get(key)}, now {after.get(key)}"


def _rows(old: Path, new: Path) -> str:
    """Where two tables part."""
    tables: list[list[list[str]]] = []
    for file in (old, new):
        with file.open(newline="", encoding="utf-8") as opened:
            tables.append(list(csv.reader(opened)))
    for number, (a, b) in enumerate(zip(*tables, strict=False)):
        if a != b:
            columns = [c for c, x, y in zip(tables[0][0], a, b, strict=False) if x != y]
            return f"differs from row {number} on, in {', '.join(columns) or 'its columns'}"
    return f"had {len(tables[0]) - 1} rows, has {len(tables[1]) - 1} now"


def _tensors(old: Path, new: Path) -> str:
    """How far two files of weights are apart."""
    a, b = store.load_weights(old), store.load_weights(new)
    if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
        return "holds other tensors now"
    apart = {name: float((a[name].double() - b[name].double()).abs().max()) for name in a
             if a[name].numel()}  # fmt: skip
    differing = [name for name, most in apart.items() if most]
    if not differing:
        return "holds the same numbers, with other words beside them"
    return (
        f"{len(differing)} of {len(a)} tensors differ, by {max(apart.values()):.3g} at most "
        f"({max(apart, key=lambda name: apart[name])})"
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What is another in the environment, a line for each: `torch: recorded 2.14, now 2.15`."""
    for key in ENVIRONMENT:
        if before.get(key) != after.get(key):
            yield f"{key}: recorded {before.get(key)}, now {after.get(key)}"
    old, new = before["versions"], after["versions"]
    for name in sorted({**old, **new}):
        if old.get(name) != new.get(name):
            yield f"{name}: recorded {old.get(name)}, now {new.get(name)}"
