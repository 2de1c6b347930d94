"""The machine side of a run: time that it takes, and memory that the C library keeps."""

import ctypes
import subprocess
import sys
import time
from types import SimpleNamespace

from mergesuite.core import runtime
from mergesuite.core.runtime import Meter


def test_processor_time_is_not_the_time_that_passes_and_counts_child_processes():
    meter = Meter()
    time.sleep(0.3)
    assert meter.cpu_seconds < 0.2 < meter.seconds
    work = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert meter.cpu_seconds > 0.5


def test_what_the_c_library_was_told_about_freed_memory_is_not_overruled(monkeypatch):
    told = []
    library = SimpleNamespace(mallopt=lambda *setting: told.append(setting))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    runtime._keep_memory()
    assert len(told) == 2

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    runtime._keep_memory()
    assert len(told) == 2
