"""What a killed writer leaves is swept, what a living one has stays; equal commands wait."""

import errno
import os
import platform
import signal
import subprocess
import sys
import tarfile
import time

import pytest
import torch

from mergesuite.core import store, writing
from mergesuite.core.runtime import Meter
from mergesuite.errors import MachineError

KILLED = """
import os, signal, sys
from pathlib import Path
from mergesuite.core import store
with store.whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    temporary.with_name(".of-a-library").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_sweeps_what_a_killed_one_left(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a.csv"], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.csv.")
    assert left.name.endswith(".part")
    store.write_text(tmp_path / "other.csv", "")
    assert left.exists()
    store.write_text(tmp_path / "a.csv", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "other.csv"]


@pytest.mark.parametrize(
    ("node", "pid", "age", "stays"),
    [
        (platform.node(), "living", 0, True),
        (platform.node(), "dead", 0, False),
        ("", "dead", 0, False),
        ("another-machine", "dead", 3600, True),
        ("another-machine", "living", 2 * writing.DAY, False),
        (platform.node(), "9" * 30, 0, True),
    ],
)
def test_parts_of_dead_processes_only_are_swept(tmp_path, node, pid, age, stays):
    ended = subprocess.Popen(["true"])
    ended.wait()
    pid = {"living": os.getppid(), "dead": ended.pid}.get(pid, pid)
    part = tmp_path / ".".join(["", "a.json", *([node] if node else []), str(pid), "part"])
    part.mkdir()
    (part / "a.json").write_text("{")
    os.utime(part, (time.time() - age,) * 2)
    store.write_text(tmp_path / "a.json", "{}")
    assert part.exists() == stays


def test_who_waits_says_for_what_and_goes_on(tmp_path, capsys, monkeypatch):
    taken = []

    def flock(file, how, lock=writing.fcntl.flock):
        if not taken:
            taken.append(True)
            raise BlockingIOError
        lock(file, how)

    monkeypatch.setattr(writing.fcntl, "flock", flock)
    with writing.alone(tmp_path / "run.json"):
        assert [file.name for file in tmp_path.iterdir()] == [".run.json.lock"]
    assert f"waiting for another process, which makes {tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch, number):
    def flock(file, how):
        raise OSError(getattr(writing.errno, number), "no locks")

    monkeypatch.setattr(writing.fcntl, "flock", flock)
    with writing.alone(tmp_path / "run.json"):
        pass


def test_a_state_that_there_is_no_memory_for_is_not_thrown_away(tmp_path, monkeypatch):
    store.save_state(tmp_path / "state.pt", {"key": "k"})

    def load(*args, **kwargs):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MachineError, match="not enough memory"):
        store.load_state(tmp_path / "state.pt", "k")


def test_peak_memory_and_processor_time_are_those_of_interrupted_processes_too():
    first = Meter()
    state = first.state()
    state["peak_mb"]["cpu"] += 1000
    state["cpu_seconds"] += 1000
    again = Meter()
    again.restore(state)
    assert again.peak_mb(torch.device("cpu")) >= state["peak_mb"]["cpu"]
    assert state["cpu_seconds"] <= again.cpu_seconds < state["cpu_seconds"] + 1


def test_a_new_paper_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    from mergesuite.cli import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "replications").mkdir()
    monkeypatch.setenv("MERGESUITE_REPLICATIONS", str(tmp_path / "replications"))
    with monkeypatch.context() as full:
        full.setattr(store, "write_text", fails)
        assert run(["new-paper", "mine"]) == 3
    assert not (tmp_path / "replications/mine").exists()
    assert run(["new-paper", "mine"]) == 0
    assert [folder.name for folder in (tmp_path / "replications").iterdir()] == ["mine"]


def fails(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "a file")


def test_a_failing_disk_makes_no_image_a_bad_one(tmp_path, monkeypatch):
    from mergesuite.data import decode

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(decode.Image, "open", fails)
    with pytest.raises(MachineError, match="No space left"):
        decode.picture(tmp_path / "a.png")


def test_an_archive_that_could_not_be_unpacked_stays(tmp_path, monkeypatch):
    from mergesuite.data import archives

    (tmp_path / "made/set").mkdir(parents=True)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "made/set", "set")
    with monkeypatch.context() as full:
        full.setattr(archives.Path, "rename", fails)
        with pytest.raises(OSError, match="No space left"):
            archives._unpack(tmp_path / "set.tar", tmp_path / "set")
    assert (tmp_path / "set.tar").exists()
    archives._unpack(tmp_path / "set.tar", tmp_path / "set")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "set"]
