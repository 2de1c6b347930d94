"""Temporary folders that live as long as the process that made them, and no longer.

A process that is killed cleans up nothing, so the next one does: each folder holds a file that its
owner keeps locked, and the kernel lets go of the lock when the owner ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mergesuite-"
OWNER = "owner"
"""The locked file."""
YOUNG = 60.0
"""Seconds in which a folder may have an owner that holds no lock yet."""


def make() -> Path:
    """A new folder of this process; those of processes that have ended are swept."""
    import tempfile  # here, for whoever only looks for an owner

    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    owner = os.open(folder / OWNER, os.O_CREAT | os.O_RDWR)
    fcntl.flock(owner, fcntl.LOCK_EX)  # kept open: it is this process's until its end
    return folder


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """The same for a block."""
    import shutil

    made = make()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def has_ended(folder: Path) -> bool:
    """Whether nobody holds the lock on a folder any more."""
    try:
        owner = os.open(folder / OWNER, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


def _sweep() -> None:
    import shutil
    import tempfile

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            is_old = time.time() - folder.stat().st_mtime > YOUNG
            is_ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            if is_ours and is_old and (folder / OWNER).is_file() and has_ended(folder):
                shutil.rmtree(folder, ignore_errors=True)
