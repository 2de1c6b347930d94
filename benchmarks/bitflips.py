"""Is a flipped bit noticed? In each kind of file that a stage reads again, and in one cut short.

A small study is made with the commands of the workflow. Then, file by file, one bit is flipped or
the end is cut off, and what reads the file is run: it has to end with status 2 and one line that
names the file, or, for the state of an interrupted run, say that it begins anew and end in the same
weights. `mergesuite verify` has to name the file too. The script fails if one damage is silent.

    python benchmarks/bitflips.py --flips 20 --cuts 10 --out docs
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import yaml
from tabulate import tabulate
from tqdm import tqdm

from mergesuite import cli
from mergesuite.core import sealed, store, streams
from mergesuite.experiment import config
from mergesuite.experiment.jobs import Jobs, data_arguments, slug
from mergesuite.stages import record

SPEC = {
    "title": "A small study",
    "cite": {"text": "nobody"},
    "data": {"name": "digits", "sizes": {"fit": 200, "search": 60, "test": 60}},
    "models": {
        "net": {
            "build": "resnet8-w8",
            "seeds": 2,
            "recipe": {"epochs": 2, "batch": 50, "keep": 2},
        }
    },
    "populations": {"pair": {"model": "net", "take": 2}, "tail": {"model": "net", "epochs": 2}},
    "methods": {
        "average": {"use": "uniform-average"},
        "best-parent": {"use": "best-parent"},
        "search": {"use": "random-search", "params": {"evaluations": 8}},
    },
    "claims": {
        "gain": {
            "text": "Searching gains",
            "subject": "search-pair",
            "against": "best-parent-pair",
            "interest": 0.005,
            "because": "it is half a point",
        }
    },
    "replicates": 1,
    "profiles": {"smoke": {}},
}
HEADER = "id,table,row,metric,value,unit,spread,spread_kind,n,source,origin,note\n"
NAME, PROFILE = "small", "full"


@dataclass(frozen=True)
class Kind:
    """A kind of file: one of them, and the command that reads it; none but `verify` if empty."""

    name: str
    file: Path
    reader: str = ""


@dataclass(frozen=True)
class Row:
    """What came of one kind.

    Attributes:
        tried: files that were damaged.
        noticed: how often the reader said so, with its name.
        verified: how often `mergesuite verify` did.
    """

    kind: str
    reader: str
    tried: int
    noticed: int
    verified: int


class Study:
    """The study in a folder, with the commands that make it again where something is missing."""

    def __init__(self, folder: Path) -> None:
        """Write the spec."""
        self.folder, self.results = folder, folder / "results"
        paper = folder / "replications" / NAME
        paper.mkdir(parents=True)
        (paper / "paper.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
        (paper / "reported.csv").write_text(HEADER)
        self.jobs = Jobs(NAME, PROFILE, str(self.results))

    def commands(self) -> Iterator[str]:
        """All stages, in an order in which they can run."""
        jobs = self.jobs
        manifest = self.results / PROFILE / "data" / f"{slug(jobs.paper.data)}.json"
        yield f"data {data_arguments(jobs.paper.data)} --out {manifest}"
        for subject, parts in jobs.subjects.items():
            for seed in jobs.seeds(subject):
                out = f"--seed {seed} --out {jobs.run(subject, seed)}"
                if parts is None:
                    yield f"train {jobs.train_arguments(subject, seed)} {out}"
                else:
                    yield f"merge {jobs.merge_arguments(subject, seed)} {out}"
        for table in map(Path, jobs.metrics()):
            group, seed = table.parent.name, int(table.name[1:])
            yield f"evaluate {jobs.evaluate_arguments(group, seed)} --out {table}.csv"
        for stage in ("collect", "compare", "tables", "figures"):
            yield self.of_paper(stage)
        yield self.page()

    def of_paper(self, stage: str) -> str:
        """The command of a stage that reads tables."""
        return f"{stage} --paper {NAME} --profile {PROFILE} --results {self.results}"

    def page(self) -> str:
        """The command that makes the page."""
        return f"report --papers {NAME} --profile {PROFILE} --results {self.results}"

    def make(self) -> None:
        """Run every command."""
        for words in self.commands():
            status, said = run(words)
            if status:
                raise RuntimeError(f"{words}: {said}")

    def kinds(self) -> list[Kind]:
        """A file of each kind, and what reads it."""
        jobs, paper = self.jobs, Path(self.jobs.folder)
        net, merged = Path(jobs.run("net", 0)), Path(jobs.run("average-pair", 0))
        search = Path(jobs.run("search-pair", 0))
        out = f"--seed 0 --out {self.folder / 'again'}"
        merge = f"merge {jobs.merge_arguments('average-pair', 0)} {out}"
        tail = f"merge {jobs.merge_arguments('average-tail', 0)} {out}"
        begun = f"train {jobs.train_arguments('net', 0)} --start {net / record.WEIGHTS} {out}"
        table = paper / "evaluate/pair/s0.csv"
        evaluate = (
            f"evaluate {jobs.evaluate_arguments('pair', 0)} --out {self.folder / 'again.csv'}"
        )
        (manifest,) = (self.results / PROFILE / "data").glob("*.json")
        kinds = [
            Kind("weights of a parent, merged", net / record.WEIGHTS, merge),
            Kind("weights of a parent, evaluated", net / record.WEIGHTS, evaluate),
            Kind("weights to start at", net / record.WEIGHTS, begun),
            Kind("kept epoch", Path(jobs.parents("average-tail", 0)[0]), tail),
            Kind("merged weights", merged / record.WEIGHTS, evaluate),
            Kind("run.json of a parent", net / sealed.RUN, merge),
            Kind("run.json of a merge", merged / sealed.RUN, evaluate),
            Kind("trace", search / "trace.csv", self.of_paper("figures")),
            Kind("curve", net / "curve.csv"),
        ]
        for file, stage in ((table, "collect"), (paper / "runs.csv", "compare")):
            for path in (file, file.with_suffix(".hits.safetensors"), sealed.beside(file)):
                kinds.append(Kind(f"{stage}: {path.name}", path, self.of_paper(stage)))
        for name in ("verdicts.csv", "controls.csv", "verdicts.record.json"):
            kinds.append(Kind(f"tables: {name}", paper / name, self.of_paper("tables")))
        for name in ("figures/gains.svg", "figures.record.json"):
            kinds.append(Kind(f"page: {name}", paper / name, self.page()))
        return [*kinds, Kind("manifest of data", manifest)]

    def interrupted(self, out: Path) -> str:
        """The command of a training whose process ended before its run.json, in `out`."""
        words = f"train {self.jobs.train_arguments('net', 1)} --seed 1 --out {out}"
        with mock.patch.object(record.Run, "finish", side_effect=KeyboardInterrupt):
            run(words)
        (out / record.WEIGHTS).unlink()
        return words


def run(words: str) -> tuple[int, str]:
    """The status of a command, and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = cli.run(shlex.split(words))
    return status, said.getvalue()


def flip(content: bytes, bit: int) -> bytes:
    """Another value of one bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages(content: bytes, flips: int, cuts: int, name: str) -> Iterator[bytes]:
    """A file with a bit flipped, or cut short, at places drawn for its name."""
    rng = streams.generator("bitflips", name)
    for bit in torch.randint(8 * len(content), (flips,), generator=rng).tolist():
        yield flip(content, bit)
    for size in torch.randint(len(content), (cuts,), generator=rng).tolist():
        yield content[:size]


def try_kind(study: Study, kind: Kind, flips: int, cuts: int) -> Row:
    """Damage a file again and again, and put it back."""
    content, tried, noticed, verified = kind.file.read_bytes(), 0, 0, 0
    try:
        for damaged in damages(content, flips, cuts, kind.name):
            kind.file.write_bytes(damaged)
            tried += 1
            status, said = run(kind.reader) if kind.reader else (2, str(kind.file))
            noticed += status == 2 and is_one_line_on(kind.file, said)
            status, said = run(f"verify {study.results}")
            verified += status == 1 and str(kind.file) in said
    finally:
        kind.file.write_bytes(content)
    stage = kind.reader.partition(" ")[0] or "verify"
    return Row(kind.name, stage, tried, noticed, verified)


def is_one_line_on(file: Path, said: str) -> bool:
    """Whether an error is one line that names the file."""
    return str(file) in said and said.count("\n") <= 1


def try_state(study: Study, name: str, flips: int, cuts: int) -> Row:
    """The same of what an interrupted training left: it begins anew, says so and ends the same."""
    out = study.folder / "interrupted"
    words = study.interrupted(out)
    wanted = Path(study.jobs.run("net", 1), record.WEIGHTS).read_bytes()
    left, file = study.folder / "left", out / "resume" / name
    out.rename(left)
    content, tried, noticed, verified = (left / "resume" / name).read_bytes(), 0, 0, 0
    for damaged in damages(content, flips, cuts, name):
        shutil.copytree(left, out)
        file.write_bytes(damaged)
        tried += 1
        verified += name.endswith(".safetensors") or run(f"verify {study.folder}")[0] == 1
        status, said = run(words)
        same = not status and (out / record.WEIGHTS).read_bytes() == wanted
        noticed += same and f"{file} is damaged" in said
        shutil.rmtree(out)
    shutil.rmtree(left)
    return Row(f"resume/{name}", "train", tried, noticed, verified)


@contextlib.contextmanager
def studied(folder: Path) -> Iterator[Study]:
    """The study, made in `folder`, where replications are looked for meanwhile."""
    with mock.patch.dict(os.environ, {config.FOLDER: str(folder / "replications")}):
        study = Study(folder)
        study.make()
        yield study


def measure(study: Study, flips: int, cuts: int) -> list[Row]:
    """A row for each kind."""
    kinds = tqdm(study.kinds(), "kinds")
    rows = [try_kind(study, kind, flips, cuts) for kind in kinds]
    for name in ("state.pt", "epochs/001.safetensors"):
        rows.append(try_state(study, name, flips, cuts))
    return rows


def silent(rows: list[Row]) -> list[Row]:
    """The kinds of which a damage was not noticed."""
    return [row for row in rows if min(row.noticed, row.verified) < row.tried]


def main() -> None:
    """Print a table, and write it where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=20, help="bits flipped in each kind of file")
    parser.add_argument("--cuts", type=int, default=10, help="times that it is cut short")
    parser.add_argument("--out", type=Path, help="folder for bitflips.csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, studied(Path(folder)) as study:
        rows = measure(study, options.flips, options.cuts)
    table = [vars(row) for row in rows]
    print(tabulate(table, headers="keys"))
    if options.out:
        store.write_rows(options.out / "bitflips.csv", table)
    if left := silent(rows):
        raise SystemExit(f"silent: {', '.join(row.kind for row in left)}")


if __name__ == "__main__":
    main()
