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

from mergesuite.core import digests, provenance, ranks, runtime, store, writing
from mergesuite.core.runtime import Meter, log
from mergesuite.errors import UserError
from mergesuite.experiment import identity
from mergesuite.stages import resume

FILE = "run.json"
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
        device: where it computes.
        command: the words of the command line, for the record.
        force: replace a finished result of other settings.
    """

    stage: str
    out: Path
    seed: int
    asked: Mapping[str, Any]
    modules: Sequence[str]
    device: torch.device
    command: str = ""
    force: bool = False
    weights: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of every weights file that the run has written."""

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
        """One command at a time works in the folder; the same one, started twice, finds it done."""
        with writing.alone(self.out / FILE) if ranks.first() else contextlib.nullcontext():
            yield

    def is_finished(self) -> bool:
        """Whether the folder already holds this very result, whole.

        Raises:
            UserError: it holds a result of other settings and `force` was not given.
        """
        if not (self.out / FILE).is_file():
            return False
        there = store.read_json(self.out / FILE)
        same = (there.get("spec"), there.get("seed")) == (self.spec, self.seed)
        if not same and not self.force:
            raise UserError(
                f"{self.out} holds a finished result of other settings (spec {there.get('spec')}, "
                f"seed {there.get('seed')}; asked for: {self.spec}, seed {self.seed}): choose "
                "another --out, or say --force to replace it"
            )
        if not same or self.force or there.get("code") != self.code:
            (self.out / FILE).unlink()  # what is half replaced must not look finished
            return False
        whole = all(resume.is_whole(self.out / name, sha) for name, sha in there["weights"].items())
        if whole:
            resume.clear(self.out)  # a kill may have come between the record and this
            log(f"{self.out} already holds this result; --force makes it again")
        return whole

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
            "peak_mb": round(meter.peak_mb(self.device), 1),
            "weights": dict(self.weights),
            **provenance.stamp(runtime.describe(self.device)),
            **more,
        }
        store.write_json(self.out / FILE, record)
        resume.clear(self.out)


def read(folder: Path) -> dict[str, Any]:
    """The run.json of a finished run.

    Raises:
        UserError: there is none.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"no {FILE} in {folder}: the run is not finished; run its stage again")
    return store.read_json(folder / FILE)


def checkpoint(path: Path) -> dict[str, Any]:
    """What is known of a checkpoint: path, sha256, spec; and model, seed, epoch if it is ours.

    The spec of a file from elsewhere is its own digest.

    Raises:
        UserError: there is no file, or it is not what its run.json says.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: check the path")
    known: dict[str, Any] = {"path": str(path), "sha256": store.sha256(path)}
    is_epoch = path.parent.name == "epochs"
    folder = path.parent.parent if is_epoch else path.parent
    name = path.relative_to(folder).as_posix()
    if not (folder / FILE).is_file():
        return {**known, "spec": identity.file_spec(path)}
    record = store.read_json(folder / FILE)
    recorded = record.get("weights", {}).get(name)
    if recorded is None:
        return {**known, "spec": identity.file_spec(path)}
    if recorded != known["sha256"]:
        raise UserError(
            f"{path} is not the file that {folder / FILE} describes (SHA-256 "
            f"{known['sha256'][:12]}, recorded {recorded[:12]}): delete {folder} and run its "
            "stage again"
        )
    return {
        **known,
        "spec": identity.checkpoint_spec(record["spec"], path.stem if is_epoch else None),
        "model": record["args"]["network"]["build"],
        "seed": record["seed"],
        "epoch": _epoch(path.stem) if is_epoch else record["args"].get("recipe", {}).get("epochs"),
    }


def _epoch(kept: str) -> int | str:
    """The number of a kept epoch; the name of a kept average."""
    return int(kept) if kept.isdecimal() else kept
