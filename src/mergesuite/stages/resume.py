"""What an interrupted run leaves to the next one: the folder `resume/` in its own.

No rule declares it as an output. A workflow that starts a job again deletes what the job had
declared; this stays, and holds all that is needed to end in the same bytes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergesuite.core import store
from mergesuite.core.progress import log
from mergesuite.core.ranks import ALONE, Ranks

FOLDER = "resume"
STATE = "state.pt"
SHARE = 0.03
"""The share of a run's time that saving its state may take: a generation may last milliseconds."""


class Resume:
    """The state of a run, and the weights that it has set aside."""

    def __init__(self, out: Path | None, key: str, ranks: Ranks = ALONE) -> None:
        """In the run folder `out`; only a run with the same `key` is continued.

        Without a folder nothing is saved. All `ranks` load; the first saves.
        """
        self._keeps = out is not None
        self._folder, self._key, self._ranks = (out or Path()) / FOLDER, key, ranks
        self._kept: dict[str, str] = {}
        self._due = 0.0

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last state that was saved, or None: then the run starts at its beginning.

        A damaged state, or one whose weights are gone or damaged, is not continued, and a line says
        so. To begin anew costs time and is safe: an error would ask for the same by hand.
        """
        if not self._keeps:
            return None
        file = self._folder / STATE
        state = store.load_state(file, self._key, device)
        damaged = [file] if file.is_file() and state is None and not store.is_sealed(file) else []
        if state:
            kept = ((self._folder / name, sha) for name, sha in state["kept"].items())
            damaged = [path for path, sha in kept if not is_whole(path, sha)]
        if damaged:
            log(f"{damaged[0]} is damaged or missing: the run begins anew")
            state = None
        if state:
            self._kept = state["kept"]
        self._ranks.wait()  # all have read the state before the first replaces it
        return state

    def save(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save a state of tensors, numbers, strings and containers of them, when it is time.

        That is at once, and then whenever `1 / SHARE` times as long as it took has gone by: a kill
        costs so much, and what has been computed since the last call.
        """
        began = time.monotonic()
        if not self._keeps or self._ranks.rank or began < self._due:
            return
        path = self._folder / STATE
        store.save_state(path, {**state(), "kept": self._kept, "key": self._key})
        ended = time.monotonic()
        self._due = ended + (ended - began) / SHARE

    def keep(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Set weights aside under `name`; the next state that is saved counts on them."""
        if self._ranks.rank:
            return
        store.save_weights(self._folder / name, tensors, metadata)
        self._kept[name] = store.sha256(self._folder / name)

    def kept(self, name: str) -> Path:
        """Where the weights `name` lie."""
        return self._folder / name


def clear(out: Path) -> None:
    """Delete what a run in `out` had left for the next."""
    if (out / FOLDER).exists():
        shutil.rmtree(out / FOLDER)


def is_whole(file: Path, sha: str) -> bool:
    """Whether a file is there and has this SHA-256."""
    return file.is_file() and store.sha256(file) == sha
