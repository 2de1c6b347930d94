"""What a finished run came to, as `train`, `merge` and `evaluate` print it when they end."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mergesuite.core import sealed
from mergesuite.report.wording import LEAK, LEAK_NOTE

TREATMENTS = ("keep", "average", "re-estimate")
"""Of BatchNorm statistics, in the order of the columns."""


def of_run(folder: Path) -> Iterator[str]:
    """Lines on a run of train or merge: how good, at what cost, and where it lies."""
    record = sealed.read(folder / sealed.RUN)
    yield _trained(folder, record) if record["kind"] == "parent" else _merged(record)
    yield f"cost: {_cost(record)}"
    yield f"weights: {folder / 'model.safetensors'}"


def _trained(folder: Path, record: dict[str, Any]) -> str:
    last = _rows(folder / "curve.csv")[-1]
    return (
        f"{record['args']['network']['build']} after {last['epoch']} epochs: accuracy "
        f"{float(last['search_accuracy']):.4f} on search, {float(last['fit_accuracy']):.4f} on fit"
    )


def _merged(record: dict[str, Any]) -> str:
    parents = len(record["parents"])
    named = f"{record['method']} of {parents} parent{'s' * (parents != 1)}"
    score, begun = record["score"], record["begun"]
    if score is None:
        return f"{named}: nothing was searched; `mergesuite evaluate` measures it"
    fitness = record["args"]["merge"]["fitness"]
    where = f"{record['fitness_images']:,} images of {fitness['split']}"
    text = f"{named}: {_fitness(record, score)} on {where}"
    if begun is not None and math.isfinite(begun):
        text += f", the best parent {_fitness(record, begun)}"
    return f"{text} {LEAK}\n{LEAK_NOTE}" if record["leaky"] else text


def _fitness(record: dict[str, Any], score: float) -> str:
    """A score as its search counts it: images, per cent of batches, or minus cross-entropy."""
    how = record["args"]["merge"]["fitness"]
    if how["metric"] == "cross-entropy":
        return f"cross-entropy {-score:.4f}"
    share = score / 100 if how["batch_mean"] else score / record["fitness_images"]
    return f"accuracy {share:.4f}"


def _cost(record: dict[str, Any]) -> str:
    cost = record["cost"]
    names = {
        "evaluations_asked": "evaluations",
        "forward_images": "images forward",
        "backward_images": "images backward",
    }
    parts = [f"{cost[key]:,} {name}" for key, name in names.items() if cost[key]]
    return ", ".join([*parts, f"{record['seconds']:.1f} s", f"{record['peak_mb']:.0f} MB"])


def of_table(table: Path) -> Iterator[str]:
    """The accuracies on test in a table of `evaluate`, a line for each result."""
    rows = [r for r in _rows(table) if r["metric"] == "accuracy" and r["split"] == "test"]
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        mark = f" {LEAK}" if row["leaky"] == "True" else ""
        line = found.setdefault((row["subject"] + mark, row["seed"]), {})
        line[row["batchnorm"]] = f"{float(row['value']):.4f}"
    columns = [name for name in TREATMENTS if any(name in line for line in found.values())]
    shown = [[*key, *(line.get(name, "-") for name in columns)] for key, line in found.items()]
    images = ", ".join(dict.fromkeys(f"{int(row['n']):,}" for row in rows))
    yield f"accuracy on {images} test images, by what BatchNorm's statistics are"
    yield tabulate(shown, ["", "seed", *columns], disable_numparse=True)
    if any(row["leaky"] == "True" for row in rows):
        yield LEAK_NOTE
    yield f"all metrics: {table}"


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))
