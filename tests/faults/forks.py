"""Commands in processes of their own, forked from one that has torch imported, as a host does."""

import contextlib
import importlib
import json
import math
import os
import sys
import traceback
from pathlib import Path

from mergesuite import cli
from mergesuite.cli import host
from mergesuite.experiment import declared
from mergesuite.fitness import passes
from mergesuite.stages import resume

NETWORK = ["--model", "resnet8-w4", "--data", "digits", "--sizes", "fit=60", "search=40", "test=20"]
COMMON = [*NETWORK, "--seed", "0", "--device", "cpu"]
EPOCHS = 6  # the darwinian family wants as many parents
TRAIN = ["train", *COMMON, "--set", f"epochs={EPOCHS}", "batch=20", f"keep={EPOCHS}"]
SMALL = {
    "population": 4, "generations": 3, "evaluations": 12, "batch": 4, "points": 5, "de_epochs": 2,
    "F": 0.5, "CR": 0.5, "f_init": 0.5, "cr_init": 0.5,
}  # fmt: skip
"""A short search that changes much, by the parameters that a method declares."""
OWN = {"train-on": {"images": 150}, "fisher-average": {"fit_images": 10}}
FEW = {"interpolation-grid": 2, "mega": 4, "fisher-average": 2}
"""Methods that take no more parents than this, or take long over them."""
BUG = 70
"""The status of a command that ended in a traceback."""


def prepare():
    """Import and read what every command needs."""
    for name in (*host.PRELOADED, "torch._dynamo", "cma", "sklearn.datasets"):
        importlib.import_module(name)
    for read in host._when_idle()[:5]:
        read()
    resume.SHARE = math.inf  # a state after every generation: the clock decides nothing
    # So that rejection leaves a part of the images out, in splits as small as these.
    passes.CHUNK_MOST = passes.CHUNK_UNFOLDED = 16


def started(words, folder, first=lambda: None, last=lambda: None):
    """The process of a command in `folder`, which says what it says to the file `said` there."""
    if pid := os.fork():
        return pid
    status = BUG
    try:
        os.chdir(folder)
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        first()
        status = cli.run([str(word) for word in words])
        last()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(pid):
    """The status of a process, below zero the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_here(words):
    """The command in this process, whose stdout is for what is played; it must end well."""
    with contextlib.redirect_stdout(sys.stderr):
        assert cli.run([str(word) for word in words]) == 0


def made(words, folder, **more):
    """The command, which must end well."""
    folder.mkdir(parents=True, exist_ok=True)
    status = ended(started(words, folder, **more))
    assert status == 0, f"{words}\n{(folder / 'said').read_text()}"


def parents(folder):
    """Weights of one training's epochs, the last first.

    They are made in this process: what is read and compiled once is not for its forks to do.
    """
    run_here([*TRAIN, "--out", folder / "run"])
    epochs = sorted((folder / "run/epochs").iterdir(), reverse=True)
    files = [folder / "run/model.safetensors", *epochs]
    run_here([*merge("fisher-average", files), "--out", folder / "merged"])
    return files


def merge(method, files):
    """The command that merges with a method, shortly."""
    known = declared.method_fields(method).params.model_fields
    told = {key: value for key, value in SMALL.items() if key in known} | OWN.get(method, {})
    settings = [f"{key}={value}" for key, value in told.items()]
    return [
        "merge", "--method", method, "--parents", *files[: FEW.get(method)], *COMMON,
        *(["--set", *settings] if settings else []),
    ]  # fmt: skip


CLOCK = ("seconds", "cpu_seconds", "peak_mb", "seal")


def contents(folder):
    """What is below a folder by name, a file's bytes; of run.json all but time, memory and seal."""
    found = {}
    for file in sorted(Path(folder).rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.name == "run.json":
            record = json.loads(file.read_text())
            found[name] = {k: v for k, v in record.items() if k not in CLOCK}
        else:
            found[name] = None if file.is_dir() else file.read_bytes()
    return found
