"""Temporary folders go with the process that made them, even if that was killed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mergesuite.core import scratch


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(folder):
    os.utime(folder, (0, 0))


def test_a_block_leaves_nothing(temporary):
    with scratch.folder() as folder:
        (folder / "file").touch()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_swept_by_the_next(temporary):
    code = (
        "import os, signal; from mergesuite.core import scratch; print(scratch.make(), flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = Path(done.stdout.strip())
    assert left.is_dir()
    other = temporary / "mergesuite-of-someone"
    other.mkdir()
    mine = scratch.make()
    assert left.is_dir()  # too young to be sure
    for folder in (left, other, mine):
        aged(folder)
    again = scratch.make()
    assert not left.exists()
    assert mine.is_dir()  # this process lives
    assert other.is_dir()  # nobody's, as far as can be known
    assert again.is_dir()
