"""A GPU for each job: whoever computes on one holds a lock until it ends, however it ends.

A lock is a file of the user's in the temporary folder, held by `flock`: the kernel lets go of it
when its process is killed. It is named for the device itself, not for its number, so that jobs to
which a scheduler shows other devices never wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mergesuite.errors import UserError

VARIABLE = "MERGESUITE_GPUS"
"""How many jobs may compute on GPUs of this machine at once; not set: one for each."""
PAUSE = 0.2
"""Seconds between two looks for a free slot."""

_held: dict[tuple[str, ...], tuple[int, int]] = {}
"""Devices -> the place of the one that this process holds, and its open lock."""


def count(there: int) -> int:
    """How many jobs may compute at once on the `there` GPUs of a machine.

    Raises:
        UserError: MERGESUITE_GPUS is no number from 1 on.
    """
    said = os.environ.get(VARIABLE)
    if said is None:
        return there
    if not said.isdecimal() or int(said) < 1:
        raise UserError(f"{VARIABLE} should be a number from 1 on, found {said!r}")
    return int(said)


def take(devices: Sequence[str], waiting: Callable[[], None] = lambda: None) -> int:
    """The place in `devices` of one that is this process's until it ends; waits for a free one.

    Where MERGESUITE_GPUS allows more jobs than there are devices, they share them evenly.

    Args:
        devices: lasting names, such as UUIDs.
        waiting: called once if none is free.
    """
    key = tuple(devices)
    if key not in _held:
        _held[key] = _wait(key, waiting)
    return _held[key][0]


def _wait(devices: tuple[str, ...], waiting: Callable[[], None]) -> tuple[int, int]:
    folder = Path(tempfile.gettempdir(), f"mergesuite-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    places = [divmod(slot, len(devices)) for slot in range(count(len(devices)))]
    files = {folder / f"{devices[place]}.{share}": place for share, place in places}
    is_told = False
    while True:
        for file, place in files.items():
            if (lock := _locked(file)) is not None:
                return place, lock
        if not is_told:
            waiting()
            is_told = True
        time.sleep(PAUSE)


def _locked(file: Path) -> int | None:
    """A lock on `file`, or None where another process has it."""
    lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
