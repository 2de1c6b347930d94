"""A command that a host runs is the command: same bytes, streams, status, and end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mergesuite.cli import host

TRAIN = [
    "mergesuite", "train", "--model", "resnet8-w8", "--data", "digits", "--sizes", "fit=200",
    "search=50", "test=50", "--set", "batch=20", "--seed", "0", "--out",
]  # fmt: skip


@pytest.fixture(scope="module")
def owned():
    """The environment of jobs whose Snakemake is a process of its own."""
    script = "from mergesuite.cli import host; print(host.open_folder(), flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(owner.stdout.readline().strip())
    yield {**os.environ, host.VARIABLE: str(folder), "OMP_NUM_THREADS": "1"}
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    ends = time.monotonic() + 20
    while folder.exists():  # the host ends with its owner, even one that was killed
        assert time.monotonic() < ends
        time.sleep(0.1)


def call(environment, *words, folder=None):
    return subprocess.run(
        [str(word) for word in words], env=environment, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def served(environment):
    return list(Path(environment[host.VARIABLE]).glob("host-*"))


def test_a_job_of_a_host_leaves_the_same_bytes(owned, tmp_path):
    alone = {**owned, host.VARIABLE: ""}
    for name, environment in (("hosted", owned), ("alone", alone), ("again", owned)):
        done = call(environment, *TRAIN, name, "--set", "epochs=2", "batch=20", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "epoch 2/2" in done.stderr
    assert served(owned)
    files = ["model.safetensors", "curve.csv"]
    for file in files:
        first, *others = [(tmp_path / n / file).read_bytes() for n in ("alone", "hosted", "again")]
        assert others == [first, first]
    records = [json.loads((tmp_path / n / "run.json").read_text()) for n in ("alone", "hosted")]
    for key in ("spec", "code", "cost", "threads", "commit"):
        assert records[0][key] == records[1][key]


def test_what_cannot_be_prepared_does_not_end_the_host(monkeypatch):
    asked = []

    def fails():
        asked.append("first")
        raise RuntimeError("such data are not here")

    ends = iter([False, False, True])
    monkeypatch.setattr(host.scratch, "has_ended", lambda _: next(ends))
    monkeypatch.setattr(host, "PRELOADED", ())
    monkeypatch.setattr(host, "_bury", lambda: None)
    monkeypatch.setattr(host, "_when_idle", lambda: [fails, lambda: asked.append("second")])
    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        host.serve(Path(folder) / "host", Path(folder) / "socket")
    assert asked == ["first", "second"]


def test_status_and_words_are_those_of_the_command(owned):
    done = call(owned, "mergesuite", "merge", "--method", "mega")
    assert done.returncode == 2
    assert done.stderr.startswith("mergesuite: the following arguments are required")
    listed = call(owned, "mergesuite", "list", "methods", "--json")
    assert listed.returncode == 0
    assert json.loads(listed.stdout)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_job_ends_with_its_client(owned, tmp_path, number):
    words = [*TRAIN, str(tmp_path / "a"), "--set", "epochs=2000", "batch=20"]
    client = subprocess.Popen(words, env=owned, stderr=subprocess.PIPE, text=True)
    for line in client.stderr:
        if "epoch 2/" in line:
            break
    client.send_signal(number)
    client.wait(timeout=20)
    assert client.returncode == (130 if number == signal.SIGINT else -number)
    client.stderr.close()
    state = tmp_path / "a/resume/state.pt"
    time.sleep(1)
    seen = state.stat().st_mtime_ns
    time.sleep(1)
    assert state.stat().st_mtime_ns == seen


@pytest.mark.parametrize("hosted", [True, False])
def test_a_job_ends_with_its_snakemake(tmp_path, hosted):
    """Even with one that was killed: the next one would start the same job beside it."""
    script = "from mergesuite.cli import host; print(host.open_folder(), flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    environment = {**os.environ, host.VARIABLE: owner.stdout.readline().strip()}
    if not hosted:
        environment["RANK"] = "0"  # a host does not take it
    words = [*TRAIN, str(tmp_path / "a"), "--set", "epochs=2000", "batch=20"]
    client = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    for line in client.stderr:
        if "epoch 2/" in line:
            break
    owner.kill()
    owner.communicate()
    assert client.wait(timeout=20) == host.KILLED
    client.stderr.close()
    state = tmp_path / "a/resume/state.pt"
    seen = state.stat().st_mtime_ns
    time.sleep(1)
    assert state.stat().st_mtime_ns == seen


def test_other_code_or_threads_are_not_run_by_the_host(owned, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, owned[host.VARIABLE])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(host, "_code_on_disk", lambda: "edited since")
    assert host.ask(["list", "methods"]) is None
    monkeypatch.undo()
    assert host.ask(["list", "methods"]) is None  # no host is named


def test_jobs_are_processes_of_their_own_where_the_user_says_so(owned, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, owned[host.VARIABLE])
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # a host of its own would serve these
    monkeypatch.setenv(host.FORK, "no")
    assert host.ask(["list", "methods"]) is None
    assert "host-5" not in [socket.name for socket in served(owned)]


def test_without_an_owner_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv(host.VARIABLE, str(tmp_path))
    assert host.ask(["list", "methods"]) is None
    assert list(tmp_path.iterdir()) == []
