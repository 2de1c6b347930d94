"""What a run folder says of itself: run.json, and whether it may be (over)written or believed.

A run's `spec` is a digest of everything that was asked for, the specs of its parents included, and
of nothing that was found out. So the planner knows it beforehand (`experiment.jobs`), and a result
of other settings is noticed wherever it turns up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mergesuite.core import digests, provenance, ranks, runtime, sealed, store, writing
from mergesuite.core.progress import log
from mergesuite.core.runtime import Meter
from mergesuite.errors import UserError, refused
from mergesuite.experiment import identity
from mergesuite.stages import resume

FILE = sealed.RUN
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Run:
    """One run of a stage.

    Attributes:
        stage: "train" or "merge".
        out: its folder.
        seed: names its random streams.
        asked: everything that was asked for, by name; JSON values.
        modules: the files, beside the stage's own, whose code it executes (see `core.digests`).
        origins: what is known of the checkpoints that it reads (see `checkpoint`).
        device: where it computes.
        command: the words of the command line, for the record.
        force: replace a finished result of other settings.
    """

    stage: str
    out: Path
    seed: int
    asked: Mapping[str, Any]
    modules: Sequence[str]
    origins: Sequence[Mapping[str, Any]]
    device: torch.device
    command: str = ""
    force: bool = False
    weights: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of every weights file that the run has written."""
    files: dict[str, str] = field(default_factory=dict)
    """The same of its tables."""

    @property
    def spec(self) -> str:
        """The digest of what was asked for."""
        return identity.spec(dict(self.asked))

    @property
    def code(self) -> str:
        """The digest of the code that runs."""
        return digests.code(f"stages.{self.stage}", *self.modules)

    def key(self, *more: str) -> str:
        """What an interrupted run must share with this one to be continued by it."""
        threads = os.environ.get("OMP_NUM_THREADS") or "1"
        # Of a GPU the kind only: each process of one run has another number.
        return " ".join([self.spec, str(self.seed), self.code, self.device.type, threads, *more])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One command at a time works in the folder; the same one, started twice, finds it done.

        Raises:
            MachineError: the folder cannot be made.
            UserError: there can be no such folder.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refused(
                f"no folder {self.out} can be made ({error.strerror}): choose another --out", error
            ) from error
        with writing.alone(self.out / FILE) if ranks.first() else contextlib.nullcontext():
            yield

    def is_finished(self) -> bool:
        """Whether the folder already holds this very result, whole.

        A result with a damaged file, or of other checkpoints than lie there now, is made again.

        Raises:
            UserError: it holds a result of other settings and `force` was not given, or its
                run.json is damaged.
        """
        if not (self.out / FILE).is_file():
            return False
        there = sealed.read(self.out / FILE)
        same = (there.get("spec"), there.get("seed")) == (self.spec, self.seed)
        if not same and not self.force:
            raise UserError(
                f"{self.out} holds a finished result of other settings (spec {there.get('spec')}, "
                f"seed {there.get('seed')}; asked for: {self.spec}, seed {self.seed}): choose "
                "another --out, or say --force to replace it"
            )
        now = same and not self.force and there.get("code") == self.code
        if now and (why := self._spoilt(there)):
            log(f"{why}; made again")
            now = False
        if not now:
            # What is half replaced must not look finished.
            (self.out / FILE).unlink(missing_ok=True)
            return False
        resume.clear(self.out)  # a kill may have come between the record and this
        log(f"{self.out} already holds this result; --force makes it again")
        return True

    def _spoilt(self, there: Mapping[str, Any]) -> str:
        """Why a finished result of the same spec and code is not to be believed; "" if it is."""
        for origin, before in zip(self.origins, origins(there), strict=False):
            if origin["sha256"] != before["sha256"]:
                return f"{origin['path']} is not the checkpoint that {self.out} was made from"
        return next(sealed.faults(self.out / FILE, there), "").partition(":")[0]

    def save_weights(self, name: str, tensors: Mapping[str, Any], **metadata: str) -> None:
        """Write weights below the folder, with the run's spec in their metadata."""
        store.save_weights(self.out / name, tensors, {**metadata, "spec": self.spec})
        self.weights[name] = store.sha256(self.out / name)

    def copy_weights(self, name: str, source: Path) -> None:
        """Put weights that were saved elsewhere below the folder.

        They are copied: until run.json is there, whoever restarts the run may delete its outputs.
        """
        store.copy(source, self.out / name)
        self.weights[name] = store.sha256(self.out / name)

    def write_rows(self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()):
        """Write a table below the folder, with the run's spec in every row."""
        rows = [{**row, "spec": self.spec} for row in rows]
        store.write_rows(self.out / name, rows, [*columns, *([] if rows else ["spec"])])
        self.files[name] = store.sha256(self.out / name)

    def finish(self, meter: Meter, **more: Any) -> None:
        """Write run.json: from here on the run counts."""
        record = {
            "command": self.command,
            "args": dict(self.asked),
            "seed": self.seed,
            "spec": self.spec,
            "code": self.code,
            "cost": dict(meter.cost),
            "seconds": round(meter.seconds, 3),
            "cpu_seconds": round(meter.cpu_seconds, 3),
            "peak_mb": round(meter.peak_mb(self.device), 1),
            "weights": dict(self.weights),
            "files": dict(self.files),
            **provenance.stamp(runtime.describe(self.device)),
            **more,
        }
        sealed.write(self.out / FILE, record)
        resume.clear(self.out)


def read(folder: Path) -> dict[str, Any]:
    """The run.json of a finished run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"no {FILE} in {folder}: the run is not finished; run its stage again")
    return sealed.read(folder / FILE)


def origins(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run.json knows of the checkpoints that its run has read: parents, or a start."""
    return [*done.get("parents", []), *([done["start"]] if done.get("start") else [])]


def checkpoint(path: Path) -> dict[str, Any]:
    """What is known of a checkpoint: path, sha256, spec; and model, seed, epoch if it is ours.

    The spec of a file from elsewhere is its own digest.

    Raises:
        UserError: there is no file, or it is not what its run.json says.
    """
    is_epoch = path.parent.name == "epochs"
    folder = path.parent.parent if is_epoch else path.parent
    name = path.relative_to(folder).as_posix()
    record: dict[str, Any] = (
        sealed.read(folder / FILE) if (folder / FILE).is_file() else {"weights": {}}
    )
    if name in record["weights"]:
        sealed.check(folder / FILE, [name])
    elif not path.is_file():
        raise UserError(f"no checkpoint at {path}: check the path")
    else:
        sha = store.sha256(path)
        return {"path": str(path), "sha256": sha, "spec": identity.file_spec(sha)}
    return {
        "path": str(path),
        "sha256": record["weights"][name],
        "spec": identity.checkpoint_spec(record["spec"], path.stem if is_epoch else None),
        "model": record["args"]["network"]["build"],
        "seed": record["seed"],
        "epoch": _epoch(path.stem) if is_epoch else record["args"].get("recipe", {}).get("epochs"),
    }


def _epoch(kept: str) -> int | str:
    """The number of a kept epoch; the name of a kept average."""
    return int(kept) if kept.isdecimal() else kept
