"""What a killed Snakemake has left in Slurm's queue, seen through programs that play Slurm."""

import os
from pathlib import Path

import pytest

from mergesuite.cli import queue
from mergesuite.errors import UserError

SQUEUE = """#!/bin/sh
echo x >> {folder}/asked
test -e {folder}/silent && {{ echo "squeue: error: Socket timed out" >&2; exit 1; }}
cat {folder}/queue
"""
SCANCEL = """#!/bin/sh
echo "$@" >> {folder}/cancelled
grep -v PENDING {folder}/queue > {folder}/left
mv {folder}/left {folder}/queue
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with programs that play Slurm, whose queue is a file."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(queue, "PAUSE", 0.01)
    put(folder)
    return folder


def put(slurm, *jobs):
    (slurm / "queue").write_text("".join(f"{'|'.join(map(str, job))}|\n" for job in jobs))


def log(folder):
    return folder / ".snakemake/slurm_logs/rule_train/smoke_mega_resnet56_0/%j.log"


def test_jobs_of_other_folders_and_other_programs_are_not_ours(slurm, tmp_path):
    ours, other = tmp_path / "mine", tmp_path / "mine-too"
    ours.mkdir()
    put(slurm, (1, "RUNNING", log(ours)), (2, "PENDING", log(other)), (3, "PENDING", ours / "x"))

    assert queue.left(ours) == {"1": "RUNNING"}


def test_a_settled_queue_starts(slurm, tmp_path):
    queue.refuse(tmp_path, must_answer=True)


def test_what_is_queued_is_not_run_beside(slurm, tmp_path):
    put(slurm, (7, "PENDING", log(tmp_path)), (8, "RUNNING", log(tmp_path)))

    with pytest.raises(UserError, match=r"2 jobs .* \(7 8\): `snakemake --unlock`"):
        queue.refuse(tmp_path, must_answer=False)


def test_settling_cancels_what_waits_and_waits_for_what_runs(slurm, tmp_path, monkeypatch, capsys):
    put(slurm, (7, "PENDING", log(tmp_path)), (8, "RUNNING", log(tmp_path)))
    slept = []

    def sleep(_):
        slept.append(len(slept))
        put(slurm, *([(8, "COMPLETING", log(tmp_path))] if len(slept) < 3 else []))

    monkeypatch.setattr(queue.time, "sleep", sleep)
    queue.settle(tmp_path)

    assert (slurm / "cancelled").read_text() == "--state=PENDING 7\n"
    assert len(slept) == 3
    assert capsys.readouterr().err.count("`scancel 8`") == 1


def test_a_silent_queue_stops_a_run_on_slurm_and_no_other(slurm, tmp_path):
    (slurm / "silent").touch()
    with pytest.raises(UserError, match=r"does not answer .*Socket timed out"):
        queue.refuse(tmp_path, must_answer=True)
    asked = (slurm / "asked").read_text().count("x")

    assert asked == queue.TRIES
    queue.refuse(tmp_path, must_answer=False)


def test_without_slurm_there_is_no_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(tmp_path, "nothing")))
    queue.refuse(tmp_path, must_answer=True)
    queue.settle(tmp_path)
