"""The machine side of a run: device, threads, determinism, cost."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import time
from collections.abc import Iterator
from typing import Any

import torch

from mergesuite.core import provenance, ranks, slots
from mergesuite.core.progress import log
from mergesuite.errors import UserError


def device(name: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes a GPU where there is one.

    A GPU without a number is this process's alone until it ends (`core.slots`); where all are
    taken, this waits. One with a number is taken as it is, and so is that of a rank of torchrun.

    Raises:
        UserError: a GPU is asked for and there is none, or anything else.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,2})?", name):
        raise UserError(f"no device {name!r}: say cpu, cuda, cuda:N or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use --device cpu or auto")
    if name == "cuda" and ranks.count() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if name != "cuda":
        return torch.device(name)
    own = torch.device("cuda", slots.take(_gpus(), lambda: log("waiting for a free GPU")))
    torch.cuda.set_device(own)
    return own


def _gpus() -> list[str]:
    """The GPUs that this process may use, each by a name that is no other's."""
    numbers = range(torch.cuda.device_count())
    return [str(torch.cuda.get_device_properties(number).uuid) for number in numbers]


def describe(where: torch.device) -> str:
    """The device's own name, as it is written next to numbers."""
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    return provenance.processor()


KEEP = 1 << 30
"""Bytes of freed memory that the C library holds on to."""
LARGE = 1 << 26
"""Bytes from which a block goes back to the system when it is freed: vectors of large nets would
otherwise leave gaps."""


def settle() -> None:
    """Make float32 mean float32, and the same bytes come out each time; keep freed memory.

    TF32 defaults moved between torch releases, so the choice is made here and not inherited. Sums
    depend on the number of threads: it is one unless OMP_NUM_THREADS says otherwise.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    _keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Within it float32 means float32, as `settle` has it; for a caller with settings of its own.

    The number of threads stays the caller's, and afterwards so does everything else.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def _keep_memory() -> None:
    """Let glibc reuse activations instead of giving them back to the system after every batch.

    Fetching activations anew costs a tenth to a half of an evaluation on a CPU. Other C libraries
    lack `mallopt` or ignore it. What the user has told the C library stays as it is.
    """
    if any(name in os.environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")):
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, LARGE)
        libc.mallopt(trim_threshold, KEEP)


def give_back_memory() -> None:
    """Give the system what the C library keeps and nothing fills, where the library can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


class Meter:
    """Counts what a run costs: images forward and backward, evaluations, time, memory.

    `images_asked` is what the evaluations asked for would have taken with nothing left out: unlike
    `forward_images` it does not depend on how early candidates happened to be rejected.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self.cost = {
            "forward_images": 0,
            "backward_images": 0,
            "images_asked": 0,
            "evaluations_asked": 0,
            "evaluations_computed": 0,
        }
        self._seconds = self._cpu_seconds = 0.0
        self._before = {"cpu": 0.0, "cuda": 0.0}
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()

    def add(self, **counts: int) -> None:
        """Add to the counts by name."""
        for name, count in counts.items():
            self.cost[name] += count

    @property
    def seconds(self) -> float:
        """Wall time in this and in resumed processes."""
        return self._seconds + time.perf_counter() - self._start

    @property
    def cpu_seconds(self) -> float:
        """The same of processor time: all threads, and child processes that have ended."""
        return self._cpu_seconds + _cpu_seconds() - self._cpu_start

    def state(self) -> dict[str, Any]:
        """Counts, time and peak memory so far."""
        return {
            "cost": dict(self.cost),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_mb": self._peaks(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on counting from `state`."""
        self.cost = dict(state["cost"])
        self._seconds, self._cpu_seconds = state["seconds"], state["cpu_seconds"]
        self._before = dict(state["peak_mb"])
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()

    def peak_mb(self, where: torch.device) -> float:
        """Most memory held so far in MB, in this or in resumed processes.

        Of the GPU if that is the device, else of the process.
        """
        return self._peaks()[where.type]

    def _peaks(self) -> dict[str, float]:
        """By type of device; of several GPUs the one that holds most."""
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        here = {
            "cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "cuda": max((torch.cuda.max_memory_allocated(gpu) / 2**20 for gpu in gpus), default=0),
        }
        return {kind: max(here[kind], self._before[kind]) for kind in here}
