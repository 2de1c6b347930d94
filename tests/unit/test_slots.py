"""A GPU for each job, on devices that are made believe: never two jobs on one, none left idle."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mergesuite.core import runtime, slots
from mergesuite.errors import UserError
from mergesuite.experiment import resources

DEVICES = ["gpu-a", "gpu-b"]
JOB = """
import os, sys, time
from mergesuite.core import slots
place = slots.take(sys.argv[2:])
print(place, time.monotonic(), flush=True)
time.sleep(float(sys.argv[1]))
print(time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Locks of this test alone, and no devices but those of it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(slots, "_held", {})
    monkeypatch.delenv(slots.VARIABLE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield tmp_path
    for _, lock in slots._held.values():
        os.close(lock)


def start(seconds, devices=DEVICES, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(seconds), *devices],
        env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(jobs):
    """(device, from, to) of each job."""
    spans = []
    for job in jobs:
        first, end = job.communicate(timeout=60)[0].splitlines()
        place, begin = first.split()
        spans.append((int(place), float(begin), float(end)))
    return spans


def at_once(spans):
    """The most jobs that were at work at the same time."""
    return max(sum(a <= begin < b for _, a, b in spans) for _, begin, _ in spans)


def test_of_more_jobs_than_devices_each_has_one_alone():
    spans = finished([start(0.2) for _ in range(6)])

    for place in {place for place, _, _ in spans}:
        assert at_once([span for span in spans if span[0] == place]) == 1


def held(jobs):
    """The devices that jobs have, which keep them until they are killed."""
    places = [int(job.stdout.readline().split()[0]) for job in jobs]
    for job in jobs:
        job.kill()
        job.communicate()
    return sorted(places)


def test_no_device_is_left_idle():
    assert held([start(600) for _ in range(2)]) == [0, 1]


def test_jobs_share_devices_evenly_where_more_are_allowed():
    assert held([start(600, MERGESUITE_GPUS="4") for _ in range(4)]) == [0, 0, 1, 1]


def test_fewer_jobs_than_devices_may_be_allowed():
    spans = finished([start(0.2, MERGESUITE_GPUS="1") for _ in range(2)])

    assert at_once(spans) == 1
    assert {place for place, _, _ in spans} == {0}


def test_the_device_of_a_killed_job_is_free_again():
    holder = start(600, ["only"])
    assert holder.stdout.readline().startswith("0 ")
    told = []
    file = Path(tempfile.gettempdir(), f"mergesuite-gpus-{os.getuid()}", "only.0")
    assert slots._locked(file) is None  # while it lives nobody else has it

    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert slots.take(["only"], lambda: told.append("waits")) == 0
    assert told == []


def test_a_process_has_one_device_however_often_it_asks():
    assert [slots.take(DEVICES) for _ in range(3)] == [0, 0, 0]


def test_devices_that_a_scheduler_shows_are_told_apart_by_name():
    assert slots.take(["of-one-job"]) == slots.take(["of-another"]) == 0


def test_who_waits_says_so():
    holder = start(1.0, ["only"])
    holder.stdout.readline()
    told = []
    before = time.monotonic()

    assert slots.take(["only"], lambda: told.append("waits")) == 0
    assert told == ["waits"]
    assert time.monotonic() - before > 0.2
    holder.communicate()


@pytest.mark.parametrize("said", ["0", "two", "-1", ""])
def test_a_number_of_gpus_is_a_number(said, monkeypatch):
    monkeypatch.setenv(slots.VARIABLE, said)
    with pytest.raises(UserError, match="MERGESUITE_GPUS should be a number from 1 on"):
        resources.gpus_here()


@pytest.mark.parametrize(
    ("said", "visible", "expected"),
    [(None, None, 8), ("2", None, 2), (None, "3,5", 2), (None, "", 0), ("16", "3,5", 16)],
)
def test_the_limit_on_jobs_is_that_of_this_machine(said, visible, expected, monkeypatch):
    there = SimpleNamespace(glob=lambda _: range(8))
    monkeypatch.setattr(resources, "Path", lambda _: there)
    for name, value in ((slots.VARIABLE, said), ("CUDA_VISIBLE_DEVICES", visible)):
        if value is not None:
            monkeypatch.setenv(name, value)

    assert resources.gpus_here() == expected


def test_computing_takes_a_device_of_its_own_and_no_other(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    uuids = [SimpleNamespace(uuid=f"make-believe-{number}") for number in range(3)]
    monkeypatch.setattr(torch.cuda, "get_device_properties", uuids.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    names = [properties.uuid for properties in uuids]
    others = [start(600, names) for _ in range(2)]
    taken = {int(job.stdout.readline().split()[0]) for job in others}

    (own,) = {0, 1, 2} - taken
    assert runtime.device("auto") == runtime.device("cuda") == torch.device("cuda", own)
    assert chosen == [torch.device("cuda", own)] * 2
    assert runtime.device("cuda:1") == torch.device("cuda", 1)  # whoever says which, has his way
    assert runtime.device("cpu") == torch.device("cpu")
    for job in others:
        job.kill()
        job.communicate()


def test_cores_are_decoded_on_once():
    assert resources.decoders(cores=16, gpus=4) == 4
    assert resources.decoders(cores=2, gpus=4) == 1
    assert resources.decoders(cores=16, gpus=0) == 0
