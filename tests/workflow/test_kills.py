"""Kills of a workflow, of all its processes, Snakemake alone or one job: the same command goes on.

The study is the tiny one of tests/faults, which goes through every stage. Kills follow each other
in one folder, each when the results have grown to a size that is drawn from a named seed.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from study import ROOT, environment, planned, snakemake

from mergesuite.report.tables import IN_ALL
from mergesuite.stages.columns import CLOCK

SEED = "kills of a workflow of issue 13"
WHO = ["all"] * 5 + ["snakemake"] * 5 + ["job"]
LEAST = 10
TARGET = ("tiny", "--config", "profile=smoke")


def checkout(folder):
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copytree(ROOT / "tests/faults/tiny", folder / "replications/tiny")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody killed."""
    folder = checkout(tmp_path_factory.mktemp("whole"))
    snakemake(folder, *TARGET)
    return folder


def test_after_kills_of_anything_the_same_command_goes_on(whole, tmp_path, capsys):
    folder, rng = checkout(tmp_path), random.Random(SEED)
    who = rng.sample(WHO, len(WHO))
    most = files(whole)
    killed = []
    for number, whom in enumerate(who):
        size = int(most * (number + rng.random()) / len(who))
        if killed_at(folder, size, whom):
            killed.append(whom)
        if rng.random() < 0.5:
            alone(folder)  # the other times the next command comes at once
    snakemake(folder, *TARGET)
    lost = differing(folder, whole)
    with capsys.disabled():
        of = ", ".join(f"{killed.count(whom)} of {whom}" for whom in dict.fromkeys(WHO))
        print(f"\n{len(killed)} kills (seed {SEED!r}: {of}), {len(lost)} files lost")
    assert lost == []
    assert sum(whom != "job" for whom in killed) >= LEAST
    assert set(killed) == set(WHO)
    assert planned(folder, *TARGET) == {}
    alone(folder)


def files(folder):
    return sum(len(names) for _, _, names in os.walk(folder / "results"))


def killed_at(folder, size, whom):
    """Whether the command was killed, once the results had `size` files."""
    running = subprocess.Popen(
        ["snakemake", "--cores", "2", *TARGET], cwd=folder, env=environment(),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends = time.monotonic() + 120
    while running.poll() is None and not (
        files(folder) >= size and (folder / ".snakemake/locks").is_dir()
    ):
        assert time.monotonic() < ends
        time.sleep(0.01)
    if running.poll() is not None:
        return False
    if whom == "job":
        return job_killed(running)
    kill = os.kill if whom == "snakemake" else os.killpg
    kill(running.pid, signal.SIGKILL)
    return running.wait() == -signal.SIGKILL


def job_killed(running):
    """Whether a job of a running Snakemake was killed, of which it then says that it failed."""
    own, jobs = psutil.Process(running.pid), []
    while running.poll() is None and not jobs:
        with contextlib.suppress(psutil.NoSuchProcess):
            jobs = [p for p in own.children(recursive=True) if "mergesuite" in p.name()]
    if jobs:
        jobs[0].kill()
    return bool(running.wait())


def alone(folder):
    """No job outlives its Snakemake by more than moments."""
    ends = time.monotonic() + 120
    while there := at(folder):
        assert time.monotonic() < ends, there
        time.sleep(0.05)


def at(folder):
    """The processes that work in a folder."""
    processes = psutil.process_iter(["pid", "cwd", "cmdline"])
    return [process.info for process in processes if process.info["cwd"] == str(folder)]


def differing(folder, whole):
    """The files, logs left out, that are not equal but for the time that passed."""
    names = set()
    for root in (folder, whole):
        found = (p.relative_to(root) for p in (root / "results").rglob("*") if p.is_file())
        names |= {name for name in found if "logs" not in name.parts}
    return sorted(str(name) for name in names if content(folder / name) != content(whole / name))


def content(file: Path):
    if not file.is_file():
        return None
    if file.name == "run.json":
        record = json.loads(file.read_text())
        return {k: v for k, v in record.items() if k not in (*CLOCK, "seal")}
    if file.name.endswith(".record.json"):  # its checksums are of files with times
        return sorted(json.loads(file.read_text())["files"])
    if file.name == "cost.csv":
        table = pd.read_csv(file)
        return table.loc[:, ~table.columns.str.startswith(CLOCK)].to_csv()
    if file.stem == "cost":  # the last three columns, and the sum
        text = re.sub(rf"{IN_ALL}.*", "", file.read_text())
        return re.sub(r"([|&][^|&\n]*){3}(\\\\|\|)?$", "", text, flags=re.M)
    if file.suffix == ".csv" and "metric" in (table := pd.read_csv(file, dtype=str)):
        return table[~table["metric"].isin(CLOCK)].to_csv()
    if file.suffix == ".html":
        costs = r"<table(?:(?!</table>).)*?>seconds<.*?</table>"
        text = re.sub(rf"{IN_ALL}[^<]*", "", file.read_text())
        return re.sub(costs, "", text, flags=re.S)
    return file.read_bytes()


def test_locks_of_a_living_snakemake_or_another_machine_s_are_kept(whole, tmp_path):
    """Else two would write the same results."""
    folder = checkout(tmp_path)
    running = subprocess.Popen(
        ["snakemake", "--cores", "1", *TARGET], cwd=folder, env=environment(),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not any((folder / ".snakemake").glob("locks/*.lock")):
        assert running.poll() is None
        time.sleep(0.01)
    refused = snakemake(folder, *TARGET, check=False)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert "cannot be locked" in refused.stdout + refused.stderr
    alone(folder)
    (folder / ".snakemake/mergesuite.lock").write_text("another-machine")
    elsewhere = snakemake(folder, *TARGET, check=False)
    assert "cannot be locked" in elsewhere.stdout + elsewhere.stderr


def test_the_readme_promises_no_more_than_this():
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "whatever it was, the same command goes on" in readme
