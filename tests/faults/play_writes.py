"""Lets every write of every stage fail, each in a process of its own: `play_writes.py FOLDER`.

A fault is what the system does: a device that is full, a limit in the middle of a file, a refusal.
Which write is meant is told from its part folder, of which every file has one (`core.writing`).
"""

import errno
import itertools
import json
import os
import resource
import shlex
import shutil
import sys
from pathlib import Path

from forks import contents, ended, made, prepare, run_here, started

from mergesuite.experiment import config
from mergesuite.experiment.jobs import Jobs

PAPER = Path(__file__).with_name("tiny")
KINDS = ("full", "short", "read-only", "flush", "rename")
WRITING = ("os.mkdir", "os.rename", "os.remove", "os.chmod", "os.truncate")
PROFILE = "smoke"
TRANSIENT = "resume"


def refuse(number, path):
    raise OSError(number, os.strerror(number), str(path))


class Fault:
    """Lets write `number` (from 1; 0: none) of this process fail, and counts the others."""

    def __init__(self, kind="", number=0, sizes=None):
        self.kind, self.number, self.sizes = kind, number, sizes or {}
        self.written = []
        self.part = ""

    def begin(self):
        flush = os.fsync
        os.fsync = lambda file: refuse(errno.EIO, "") if self.is_now("flush") else flush(file)
        sys.addaudithook(self.happens)

    def is_now(self, kind):
        return bool(self.part) and self.kind == kind

    def happens(self, event, said):
        if self.kind == "everything" and event in (*WRITING, "open"):
            self.refuse_all(event, said)
        elif event == "os.mkdir" and str(said[0]).endswith(".part"):
            if os.path.isdir(os.path.dirname(said[0])):
                self.written.append(str(said[0]))
                if len(self.written) == self.number:
                    self.strike(str(said[0]))
        elif self.is_now("full") and event == "open" and str(said[0]).startswith(self.part):
            if not os.path.lexists(said[0]):
                os.symlink("/dev/full", said[0])
        elif self.is_now("rename") and event == "os.rename":
            refuse(errno.ENOSPC, said[1])
        elif self.part and event == "shutil.rmtree" and str(said[0]) == self.part:
            self.part = ""
            limit(resource.RLIM_INFINITY)

    def strike(self, part):
        self.part = part
        if self.kind == "read-only":
            refuse(errno.EROFS, part)
        # The library that writes weights makes a file of its own: it meets no device.
        weights = ".safetensors." in part
        if self.kind == "short" or (self.kind == "full" and weights):
            name = os.path.basename(part).removeprefix(".").rsplit(f".{os.uname().nodename}.")[0]
            limit(self.sizes.get(name, 4000) // 2 if self.kind == "short" else 0)

    def refuse_all(self, event, said):
        path = said[0]
        writes = event != "open" or (
            isinstance(said[2], int) and said[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and isinstance(path, str) and "results" in os.path.abspath(path):
            refuse(errno.EROFS, path)

    def end(self):
        Path("written").write_text(str(len(self.written)))


def limit(size):
    """Let no file of this process become larger: the system cuts the write that crosses it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def commands(folder):
    """Name -> the commands of each stage of the study, in their order; the first is tried."""
    shutil.copytree(PAPER, folder / "replications/tiny")
    os.environ[config.FOLDER] = str(folder / "replications")
    jobs = Jobs("tiny", PROFILE)
    of_paper = ["--paper", "tiny", "--profile", PROFILE]

    def run(stage, subject, seed, arguments):
        return [stage, *shlex.split(arguments), "--seed", seed, "--out", jobs.run(subject, seed)]

    subjects = ["search-ending", "mean-parent-ending"]
    found = {
        "train": [run("train", "net", s, jobs.train_arguments("net", s)) for s in (0, 1)],
        "merge": [
            run("merge", name, seed, jobs.merge_arguments(name, seed))
            for name, seed in itertools.product(subjects, (0, 1))
        ],
        "evaluate": [],
    }
    for name in jobs.metrics():
        group, seed = Path(name).parent.name, int(Path(name).name[1:])
        words = shlex.split(jobs.evaluate_arguments(group, seed))
        found["evaluate"].append(["evaluate", *words, "--out", f"{name}.csv"])
    for stage in ("collect", "compare", "tables", "figures"):
        found[stage] = [[stage, *of_paper]]
    page = f"results/{PROFILE}/report/index.html"
    found["report"] = [["report", "--papers", "tiny", "--profile", PROFILE, "--out", page]]
    return found


def play(stage, words, folder, whole, outputs):
    """Try a command at each of its writes, from a folder in which only its outputs lack."""
    sizes = {
        Path(name).name: len(found) for name, found in whole.items() if isinstance(found, bytes)
    }
    work = folder / stage
    copy_without(folder / "whole", work, outputs)
    counted = Fault()
    made(words, work, first=counted.begin, last=counted.end)
    writes = int((work / "written").read_text())
    anew = stage in ("train", "merge")  # else what is there is written again
    for number, kind in enumerate(faults(stage, writes), start=1):
        which = (number - 1) % writes + 1
        if anew or number == 1:
            copy_without(folder / "whole", work, outputs)
        say(stage, kind, which, *tried(words, work, Fault(kind, which, sizes), whole))
        if anew:
            again(stage, words, work, whole)
    if not anew:
        again(stage, words, work, whole)
    copy_without(folder / "whole", work, outputs)
    say(stage, "everything", 0, *tried(words, work, Fault("everything"), whole))
    twice = [started(words, folder / stage) for _ in range(2)]
    statuses = [ended(pid) for pid in twice]
    wrong = differing(work, whole)
    print(json.dumps({"stage": stage, "kind": "twice", "statuses": statuses, "wrong": wrong}))
    shutil.rmtree(work)


def faults(stage, writes):
    """The kinds to try, one after another for writes 1, 2, ...: each write has some kind."""
    rounds = len(KINDS) if stage in ("evaluate", "collect", "report") else 1
    for turn in range(rounds):
        for number in range(writes):
            yield KINDS[(number + turn) % len(KINDS)]


def tried(words, work, fault, whole):
    """Status, last words and what is wrong after a command that met a fault."""
    status = ended(started(words, work, fault.begin))
    said = (work / "said").read_text()
    wrong = [
        name for name, found in contents(work / "results").items()
        if TRANSIENT not in Path(name).parts and (name not in whole or whole[name] != found)
    ]  # fmt: skip
    return status, said, wrong


def say(stage, kind, number, status, said, wrong):
    point = {
        "stage": stage, "kind": kind, "write": number, "status": status,
        "lines": [line for line in said.splitlines() if line.startswith("mergesuite: ")],
        "traceback": "Traceback" in said, "wrong": wrong,
    }  # fmt: skip
    print(json.dumps(point), flush=True)


def again(stage, words, work, whole):
    """The same command, after a fault: whether it ends in the same bytes."""
    status = ended(started(words, work))
    wrong = differing(work, whole)
    print(json.dumps({"stage": stage, "kind": "again", "statuses": [status], "wrong": wrong}))


def differing(work, whole):
    there = contents(work / "results")
    return sorted(n for n in there.keys() | whole.keys() if there.get(n) != whole.get(n))


def copy_without(whole, work, outputs):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    for name in sorted(outputs, reverse=True):
        there = work / "results" / name
        if not there.is_dir():
            there.unlink()
        elif not any(there.iterdir()):
            there.rmdir()


def main(folder):
    prepare()
    told = commands(folder)
    (folder / "whole").mkdir()
    os.chdir(folder / "whole")  # made in this process: its forks find all that is read once
    outputs, before = {}, set()
    for stage, each in told.items():
        first, *others = each
        run_here(first)
        now = set(contents(folder / "whole/results"))
        outputs[stage] = now - before
        for words in others:
            run_here(words)
        before = set(contents(folder / "whole/results"))
    whole = contents(folder / "whole/results")
    for stage, (words, *_) in told.items():
        play(stage, words, folder, whole, outputs[stage])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
