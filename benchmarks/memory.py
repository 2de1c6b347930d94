"""How much memory processes hold, for the benchmarks that watch it. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path


class Watch:
    """The most memory that processes hold together, looked at all the time."""

    def __init__(self, processes: Callable[[], Iterable[int]] | None = None) -> None:
        """Of `processes()`; by default of this one and all that it has started."""
        self._processes = processes or (lambda: family(os.getpid()))

    def __enter__(self) -> Watch:
        """Start to look."""
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Look for the last time."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, sum(map(pss, self._processes())))


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(other for child in children for other in family(child))]


def marked(word: str) -> list[int]:
    """Every process that was started with the environment variable `word`, whoever its parent is.

    A daemon is nobody's child, and would be missed in a `family`.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def pss(pid: int) -> int:
    """Bytes that a process holds; what several share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def limit() -> int | None:
    """Bytes that the kernel lets this process and what it starts hold together (memory cgroup).

    None where it sets no limit.
    """
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        file = Path(f"/sys/fs/cgroup{path}/memory.max")
        if "memory" in controllers.split(","):
            file = Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")
        with contextlib.suppress(OSError, ValueError):  # "max"; the old kind has a huge number
            if (found := int(file.read_text())) < 1 << 60:
                return found
    return None
