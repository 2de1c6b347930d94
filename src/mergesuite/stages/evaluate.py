"""The stage that measures finished runs; what is measured of one is in `measure`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mergesuite.core import ranks, runtime, sealed, store
from mergesuite.core.progress import log
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network, Other
from mergesuite.stages import hits, members, record
from mergesuite.stages.columns import CLOCK, COLUMNS, FITNESS_GAIN
from mergesuite.stages.measure import Outputs, measure
from mergesuite.stages.problem import Problem


def run(
    runs: Sequence[Path],
    *,
    out: Path,
    population: str = "",
    others: Mapping[str, Other] | None = None,
    device: str = "auto",
) -> None:
    """Measure the runs in the folders `runs`: the table `out`, and what each gets right beside it.

    A folder `.../SUBJECT/sN` is a run of SUBJECT, any other a subject of its own name. `others` are
    sets to measure on beside search and test; each counts for networks of the data it is made for.

    Raises:
        UserError: a folder holds no finished run, or not the weights or the data that it says, or
            a set is not there.
    """
    ranks.refuse("evaluate")
    runtime.settle()
    rows: list[dict[str, Any]] = []
    right: dict[hits.Key, Any] = {}
    known: dict[str, tuple[Problem, Outputs]] = {}
    origins = functools.cache(record.checkpoint)  # results share parents
    for folder in runs:
        done = record.read(folder)
        record.checkpoint(folder / record.WEIGHTS)
        asked = str([done["args"]["network"], done["args"]["data"]])
        if asked not in known:
            problem = _problem(done, device)
            known = {asked: (problem, Outputs(problem, others))}  # one data set at a time
        problem, outputs = known[asked]
        if done["content"] != problem.content:
            raise UserError(
                f"the images of {problem.data.name} are not those that {folder} was made with: "
                f"restore them, or delete {folder} and run its stage again"
            )
        subject = _subject(folder)
        population_of = "" if done["kind"] == "parent" else population
        entry = subject.removesuffix(f"-{population_of}") if population_of else ""
        named = {"subject": subject, "entry": entry, "population": population_of}
        mixed = _mixed(folder, done, origins)
        measured, by_image = _measured(named, folder, done, problem, outputs, mixed)
        rows += measured
        right |= {(subject, done["seed"], t): bits for t, bits in by_image.items()}
        log(f"{folder} measured")
    with sealed.describing(sealed.beside(out)) as to_write:
        store.write_rows(to_write(out), rows, COLUMNS)
        hits.write(out, right)
        to_write(hits.beside(out))


def _subject(folder: Path) -> str:
    own = folder.resolve()
    is_seed = own.name[:1] == "s" and own.name[1:].isdecimal()
    return own.parent.name if is_seed else own.name


def _problem(done: Mapping[str, Any], device: str) -> Problem:
    args = done["args"]
    return Problem(
        Network.model_validate(args["network"]),
        Data.model_validate(args["data"]),
        runtime.device(device),
    )


def _mixed(
    folder: Path, done: Mapping[str, Any], checkpoint: Callable[[Path], dict[str, Any]]
) -> list[Path]:
    """The parents that a result mixes; they are those that it was made from.

    If not mixed, statistics averaged over parents would only spoil a result. So would those of
    aligned parents: in their files they are in the order that each had before.
    """
    if not done.get("mixes") or done["args"]["merge"]["parents"] == "aligned":
        return []
    paths = [Path(parent["path"]) for parent in done["parents"]]
    for path, parent in zip(paths, done["parents"], strict=True):
        if checkpoint(path)["sha256"] != parent["sha256"]:
            raise UserError(
                f"{path} is not the parent that {folder} was made from (recorded SHA-256 "
                f"{parent['sha256'][:12]}): delete {folder} and run its stage again"
            )
    return paths


def _measured(
    named: Mapping[str, str],
    folder: Path,
    done: Mapping[str, Any],
    problem: Problem,
    outputs: Outputs,
    mixed: Sequence[Path],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and packed hits of one run: see `measure`."""
    networks, rule = members.members_of(folder / record.WEIGHTS)
    parents = [problem.load(path) for path in mixed]
    # A run of an older version lacks its processor time.
    cost = done["cost"] | {name: done[name] for name in CLOCK if name in done}
    costs = [
        {"batchnorm": "-", "metric": k, "split": "-", "value": v, "n": 1, "members": len(networks)}
        for k, v in cost.items()
    ]
    common = {
        **named,
        "kind": done["kind"],
        "model": done["args"]["network"]["build"],
        "method": done["method"],
        "protocol": done.get("protocol", "-"),
        "leaky": done.get("leaky", False),
        "seed": done["seed"],
        "spec": done["spec"],
        "commit": done["commit"] + ("+" if done["dirty"] else ""),
        "device": done["device"],
    }
    rows, right = measure(outputs, networks, rule, parents)
    packed = {treatment: np.packbits(bits.numpy()) for treatment, bits in right.items()}
    return [{**common, **row} for row in [*rows, *costs, *_fitness(done)]], packed


def _fitness(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a search says that it gained over the best parent, on the images that it saw.

    A fraction of these images, or nats less. A search counts images, scores per cent where it
    averages over batches, and minus the cross-entropy where it minimises that.
    """
    begun, score = done.get("begun"), done.get("score")
    if begun is None or score is None or not math.isfinite(begun):
        return []
    how, images = done["args"]["merge"]["fitness"], done["fitness_images"]
    scale = 1.0 if how["metric"] == "cross-entropy" else 0.01 if how["batch_mean"] else 1 / images
    row = {"metric": FITNESS_GAIN, "value": (score - begun) * scale, "n": images, "members": 1}
    return [{"batchnorm": how["batchnorm"], "split": how["split"], **row}]
