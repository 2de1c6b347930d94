"""Kills trainings and merges, and has the same command go on: `play_kills.py FOLDER PART PARTS`.

A life is counted in calls of functions, and in the modules that write also in lines: the same
command has the same count each time, so that a number drawn from a named seed is a moment in it.
Moments `between` are those of writing at which a state is there to go on from: on any machine and
in any version a part of the kills falls there.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from forks import COMMON, contents, ended, made, merge, parents, prepare, started

from mergesuite.core import store, writing
from mergesuite.experiment import declared
from mergesuite.stages import record, resume

SEED = "kills of issue 13"
STATE = Path("run/resume/state.pt")
FILES = {
    module.__file__ for module in (store, writing, record, resume, shutil, torch.serialization)
}
TRAININGS = {
    "adam": ["train", *COMMON, "--set", "epochs=3", "batch=20", "keep=3"],
    "averages": [
        "train", *COMMON, "--set", "epochs=3", "batch=20", "optimiser=sgd", "lr=0.02", "keep=2",
        "augment=crop-flip", "ema=0.9", "swa_start=1", "result=swa",
    ],
    "mixed": [
        "train", *COMMON, "--set", "epochs=3", "batch=20", "micro_batch=10", "mixup=0.4",
        "schedule=cosine", "clip=0.5",
    ],
}  # fmt: skip


class Life:
    """Counts what happens in a process, and ends it at a moment."""

    def __init__(self, kind="", moment=0):
        self.counts = {"anywhere": 0, "writing": 0}
        self.between = []
        self.kind, self.moment = "writing" if kind == "between" else kind, moment

    def begin(self):
        threading.settrace(self.happens)
        sys.settrace(self.happens)

    def happens(self, frame, event, _):
        writes = frame.f_code.co_filename in FILES
        self.counts["anywhere"] += 1
        self.counts["writing"] += writes
        if self.kind and self.counts[self.kind] == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.kind and writes and STATE.is_file():
            self.between = [*self.between[:1], self.counts["writing"]]
        return self.happens if writes else None

    def end(self):
        sys.settrace(None)
        spans = {kind: [1, count] for kind, count in self.counts.items()}
        Path("spans").write_text(json.dumps({**spans, "between": self.between}))


def killed(words, folder, kind, moment):
    """Whether the command, started in a new folder, was killed at a moment of its life."""
    folder.mkdir()
    if kind != "clock":
        life = Life(kind, moment)
        return ended(started(words, folder, life.begin)) == -signal.SIGKILL
    pid = started(words, folder)
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    return ended(pid) == -signal.SIGKILL


def points(rng, spans, each):
    """Moments of each kind, one in each of `each[kind]` equal parts of its span in a life."""
    for kind, number in each.items():
        first, last = spans[kind]
        for part in range(number):
            share = (part + rng.random()) / number
            yield kind, last * share if kind == "clock" else first + int((last + 1 - first) * share)


def play(name, words, folder, each):
    """Kill a command at points of its life, each time from the beginning; compare how it ends."""
    words = [*words, "--out", "run"]
    life = Life()
    made(words, folder / "whole", first=life.begin, last=life.end)
    spans = json.loads((folder / "whole/spans").read_text())
    whole = contents(folder / "whole/run")
    if each.get("clock"):
        began = time.monotonic()
        made(words, folder / "timed")
        spans["clock"] = [0.0, time.monotonic() - began]
        assert contents(folder / "timed/run") == whole, name
    rng = random.Random(f"{SEED}: {name}")
    for number, (kind, moment) in enumerate(points(rng, spans, each)):
        where = folder / str(number)
        point = {"name": name, "kind": kind, "moment": moment, "killed": False}
        if killed(words, where, kind, moment):
            point["killed"] = True
            point["goes on"] = (where / STATE).is_file()
            status = ended(started(words, where))
            said = (where / "said").read_text()
            point["resumed"] = "resuming" in said
            there = contents(where / "run")
            point["lost"] = sorted(
                key for key in there.keys() | whole.keys() if there.get(key) != whole.get(key)
            )
            if status:
                point["lost"].append(f"status {status}: {said[-2000:]}")
        print(json.dumps(point), flush=True)
    shutil.rmtree(folder)


def main(folder, part, parts):
    prepare()
    files = parents(folder / "parents")
    jobs = [
        (f"train {name}", words, {"anywhere": 1, "writing": 5, "between": 2, "clock": 1})
        for name, words in TRAININGS.items()
    ]
    for name, entry in declared.methods().items():
        each = {"writing": 1}
        if entry.kind == "population":
            each |= {"anywhere": 1, "between": 1}
        jobs.append((f"merge {name}", merge(name, files), each))
    for name, words, each in jobs[part::parts]:
        play(name, words, folder / name.replace(" ", "-"), each)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
