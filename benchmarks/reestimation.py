"""How much faster than torch's `update_bn` are a candidate's BatchNorm statistics re-estimated?

All ways take turns in one process, in CPU seconds on one thread, with all images as one batch:

* `update_bn`: as most would call it;
* `channels last`: the same, given images in channels-last memory;
* `ours`: as an evaluator does it for every candidate of a search with `batchnorm: re-estimate`.

Beside them a candidate is scored with the statistics that it has, and with new ones. The script
fails if the statistics are not those of torch.

    python benchmarks/reestimation.py --out docs
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store
from mergesuite.data.images import Normalise
from mergesuite.fitness import Evaluator
from mergesuite.models.batchnorm import reestimate, statistics_names
from mergesuite.weights import WeightSpace

Row = dict[str, Any]

NETS = ("resnet20", "sew-small", "resnet8-w8", "resnet8-w4")
OPTIONS: dict[str, Row] = {"sew-small": {"steps": 2}}
THEIRS = {"update_bn": "update_bn", "channels last": "channels_last"}
"""Name of a way to its columns."""
APART = 1e-3
"""Of the largest statistic of a layer: what rounding may make of them."""


class Case:
    """One network with the images of its candidates."""

    def __init__(self, net: str, images: int, calibration: int) -> None:
        """`images` of the search split of `digits`, `calibration` of its fit split."""
        torch.set_num_threads(1)
        runtime.settle()
        self.net = net
        self.module = models.build(net, 10, **OPTIONS.get(net, {})).eval()
        splits = data.load("digits", sizes={"search": images, "fit": calibration})
        self.search, self.fit = splits.search, splits.fit[0]
        self.ours, self.theirs, self.last = (copy.deepcopy(self.module) for _ in range(3))

    def ways(self) -> dict[str, Callable[[], object]]:
        """What takes turns, by name."""
        images, normalise = self.fit, Normalise()
        return {
            "ours": lambda: reestimate(
                self.ours, images, batch=len(images), normalise=normalise
            ),
            "update_bn": lambda: update_bn([images.float() / 255], self.theirs),
            "channels last": lambda: update_bn([normalise(images)], self.last),
            "plain": self.scoring(None),
            "clean": self.scoring(images),
        }  # fmt: skip

    def scoring(self, calibration: Tensor | None) -> Callable[[], object]:
        """One candidate scored on every search image."""
        module = copy.deepcopy(self.module)
        space = WeightSpace(module)
        evaluator = Evaluator(
            module, space, *self.search, reestimate_on=calibration, remember=False
        )  # fmt: skip
        candidate = space.flatten(module.state_dict())[None]
        return lambda: evaluator.scores(candidate)


def timed(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """CPU milliseconds by way and turn; each way has run once before."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:
                took[name].append(1e3 * (time.process_time() - start))
    return took


def apart(first: nn.Module, second: nn.Module) -> float:
    """The largest difference between two networks' statistics, by the largest of its layer."""
    a, b = first.state_dict(), second.state_dict()
    return max(
        float((a[name] - b[name]).abs().max() / b[name].abs().max())
        for name in statistics_names(first)
    )


def measure(case: Case, turns: int) -> Row:
    """A line of the table.

    Raises:
        SystemExit: the statistics are not those of torch.
    """
    took = timed(case.ways(), turns)
    found = apart(case.ours, case.theirs)
    if found > APART:
        raise SystemExit(f"{case.net}: statistics are {found:.1e} apart from those of torch")
    middle = {name: statistics.median(times) for name, times in took.items()}
    row: Row = {"net": case.net, "images": len(case.fit), "ours_ms": round(middle["ours"], 2)}
    for name, column in THEIRS.items():
        ratios = [b / o for b, o in zip(took[name], took["ours"], strict=True)]
        row[f"{column}_ms"] = round(middle[name], 2)
        row[f"{column}_ratio"] = round(statistics.median(ratios), 2)
        row[f"{column}_low"], row[f"{column}_high"] = round(min(ratios), 2), round(max(ratios), 2)
    scored = len(case.search[1])
    return row | {
        "apart": f"{found:.1e}",
        "scored": scored,
        "plain_ms": round(middle["plain"], 2),
        "clean_ms": round(middle["clean"], 2),
        "passes": round(middle["ours"] / len(case.fit) * scored / middle["plain"], 2),
        "turns": turns,
    }


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        {
            "net": row["net"],
            "update_bn, ms": f"{float(row['update_bn_ms']):.1f}",
            "channels last, ms": f"{float(row['channels_last_ms']):.1f}",
            "ours, ms": f"{float(row['ours_ms']):.1f}",
            **{f"{name} / ours": ratio(row, column) for name, column in THEIRS.items()},
            "apart": row["apart"],
            "image, times a scored one": f"{float(row['passes']):.2f}",
            "candidate, ms": f"{float(row['plain_ms']):.0f}",
            "with new statistics, ms": f"{float(row['clean_ms']):.0f}",
        }
        for row in rows
    ]
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def ratio(row: Row, column: str) -> str:
    """A ratio with its range."""
    middle, low, high = (float(row[f"{column}_{kind}"]) for kind in ("ratio", "low", "high"))
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Measure every net, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Our re-estimation against torch's, in one run.",
        epilog="example: python benchmarks/reestimation.py --nets resnet8-w8 --turns 5",
    )
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--calibration", type=int, default=128, help="images of the statistics")
    parser.add_argument("--images", type=int, default=400, help="images that are scored")
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    head, dirty = provenance.commit()
    origin = {
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "threads": 1,
        "torch": provenance.versions()["torch"],
    }
    rows = [
        measure(Case(net, options.images, options.calibration), options.turns)
        for net in tqdm(options.nets)
    ]
    store.write_rows(options.out / "reestimation.csv", [{**row, **origin} for row in rows])
    print(table(rows))


if __name__ == "__main__":
    main()
