"""Locks that a killed Snakemake has left, told from those of one that runs.

Snakemake's own are files: after a kill -9 they stay, and every later call stops at them. Here each
Snakemake holds a lock of the kernel as long as it lives, so the next one knows whether it is alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
from pathlib import Path

FOLDER = Path(".snakemake")
"""Snakemake's, in the folder that it works in."""


def hold() -> None:
    """Hold the folder until this process ends; remove dead locks if nobody else holds it.

    Kernels of several machines need not know of each other: where the last Snakemake ran on another
    one, its locks are left to `snakemake --unlock`. So they are in a folder that cannot be written.
    """
    node = platform.node().encode()
    with contextlib.suppress(OSError):
        FOLDER.mkdir(exist_ok=True)
        file = os.open(FOLDER / "mergesuite.lock", os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(file, 256, 0) == node:
                shutil.rmtree(FOLDER / "locks", ignore_errors=True)
            os.ftruncate(file, 0)
            os.pwrite(file, node, 0)
        fcntl.flock(file, fcntl.LOCK_SH)
