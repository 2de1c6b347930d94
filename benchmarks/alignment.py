"""How much of the loss barrier between two networks does weight matching take away?

Pairs of networks are trained on `digits12` from different initial weights and orders of images. On
the straight line between two, the cross-entropy on test images rises above the line between its
values at the ends; the most that it does so is the barrier (Frankle et al. 2020, arXiv 1912.05671).
It is measured with the second network as it is and with its units in the order of the first one's
(Ainsworth et al. 2023, arXiv 2209.04836), and for both

* `keep`: with BatchNorm statistics interpolated like weights;
* `re-estimate`: with those of fit images at each point, ends included. Where BatchNorm follows each
  convolution that is what REPAIR does (Jordan et al. 2023, arXiv 2211.08403).

    python benchmarks/alignment.py --out docs/alignment
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store
from mergesuite.data.images import Normalise
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Network
from mergesuite.models.alignment import aligned
from mergesuite.models.batchnorm import reestimate
from mergesuite.stages import train
from mergesuite.stages.measure import measures

NETS = ("resnet8-w8", "resnet8-w32")
RECIPE = {"optimiser": "adam", "lr": 0.01, "batch": 32, "schedule": "cosine"}
WAYS = ("as trained", "matched")
TREATMENTS = ("keep", "re-estimate")

Row = dict[str, Any]
State = Mapping[str, Tensor]


@dataclass
class Line:
    """Points between networks of one architecture, scored on test images.

    `calibration`: fit images for BatchNorm statistics.
    """

    module: nn.Module
    splits: data.Splits
    calibration: Tensor
    points: int

    def __post_init__(self) -> None:
        """Inputs are normalised as in training."""
        self.normalise = Normalise(self.splits.mean, self.splits.std)

    def scores(self, state: State, treatment: str) -> dict[str, float]:
        """Accuracy and cross-entropy of a network."""
        self.module.load_state_dict(dict(state))
        if treatment == "re-estimate":
            reestimate(self.module, self.calibration, normalise=self.normalise)
        self.module.eval()
        images, labels = self.splits.test
        with torch.inference_mode():
            logits = [self.module(self.normalise(part)) for part in images.split(250)]
        return measures(torch.cat(logits), labels)

    def between(self, first: State, second: State, treatment: str) -> Row:
        """The barrier between two networks, and what is in the middle and at the ends."""
        steps = self.points - 1
        found = [
            self.scores(mixed(first, second, i / steps), treatment) for i in range(self.points)
        ]
        loss = [one["cross_entropy"] for one in found]
        above = [
            value - (loss[0] + i / steps * (loss[-1] - loss[0])) for i, value in enumerate(loss)
        ]
        ends = [(one[0] + one[-1]) / 2 for one in (loss, [one["accuracy"] for one in found])]
        return {
            "barrier": round(max(above), 4),
            "loss_ends": round(ends[0], 4),
            "loss_middle": round(loss[steps // 2], 4),
            "accuracy_ends": round(ends[1], 4),
            "accuracy_middle": round(found[steps // 2]["accuracy"], 4),
        }


def mixed(first: State, second: State, alpha: float) -> State:
    """The point `alpha` of the way from one network to another; counters are the first one's."""
    return {
        name: tensor.lerp(second[name], alpha) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def trained(asked: Data, net: str, epochs: int, seed: int) -> State:
    """A network after its last epoch."""
    recipe = Recipe.model_validate({**RECIPE, "epochs": epochs})
    with tempfile.TemporaryDirectory() as scratch:
        train.run(Network(build=net), asked, recipe, seed=seed, out=Path(scratch) / "run")
        return store.load_weights(Path(scratch) / "run" / "model.safetensors")


def measure(line: Line, first: State, second: State) -> list[Row]:
    """The rows of one pair."""
    start = time.process_time()
    image = line.splits.test.images.shape[1:]
    matched = aligned(line.module, {"first": first, "second": second}, image)["second"]
    seconds = round(time.process_time() - start, 2)
    return [
        {
            "second": way,
            "batchnorm": treatment,
            **line.between(first, other, treatment),
            "matching_cpu_seconds": seconds if other is matched else "",
        }
        for way, other in zip(WAYS, (second, matched), strict=True)
        for treatment in TREATMENTS
    ]


def table(rows: Sequence[Row]) -> str:
    """Mean and standard deviation over pairs in Markdown."""
    kinds = dict.fromkeys((row["net"], row["second"], row["batchnorm"]) for row in rows)
    lines = []
    for net, way, treatment in kinds:
        these = [
            r for r in rows if (r["net"], r["second"], r["batchnorm"]) == (net, way, treatment)
        ]
        lines.append(
            {
                "network": net,
                "second network": way,
                "BatchNorm": treatment,
                "pairs": len(these),
                "barrier, nats": spread(these, "barrier", 1, 2),
                "loss at the ends": spread(these, "loss_ends", 1, 2),
                "accuracy at the ends, %": spread(these, "accuracy_ends", 100, 1),
                "in the middle, %": spread(these, "accuracy_middle", 100, 1),
            }
        )
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def spread(rows: Sequence[Row], column: str, scale: float, digits: int) -> str:
    """Mean ± standard deviation of a column; of one pair only its value."""
    values = [scale * float(row[column]) for row in rows]
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def main() -> None:
    """Train and measure every pair, print and write the table."""
    parser = argparse.ArgumentParser(
        description="The loss barrier between trained networks, before and after weight matching.",
        epilog="example: python benchmarks/alignment.py --nets resnet8-w8 --pairs 2 --epochs 2",
    )
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--pairs", type=int, default=3, help="of networks that share no seed")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--data", default="digits12")
    parser.add_argument("--fit", type=int, default=6000, help="images to train on")
    parser.add_argument("--images", type=int, default=2000, help="test images")
    parser.add_argument("--calibration", type=int, default=1000, help="images of new statistics")
    parser.add_argument("--points", type=int, default=9, help="of a line, both ends included; odd")
    parser.add_argument("--out", type=Path, default=Path("docs/alignment"), help="without .csv")
    options = parser.parse_args()
    if options.points < 3 or options.points % 2 == 0:
        parser.error("--points: an odd number from 3 on, so that one is in the middle")
    runtime.settle()
    sizes = {"fit": options.fit, "search": 100, "test": options.images}
    asked = Data.model_validate({"name": options.data, "sizes": sizes, "normalise": True})
    splits = data.load(asked.name, sizes=asked.counts())
    head, dirty = provenance.commit()
    origin = {
        "data": options.data,
        "epochs": options.epochs,
        "fit": options.fit,
        "images": options.images,
        "points": options.points,
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "torch": provenance.versions()["torch"],
    }
    rows: list[Row] = []
    for net in options.nets:
        module = models.build(net, splits.classes)
        line = Line(module, splits, splits.fit.images[: options.calibration], options.points)
        for pair in tqdm(range(options.pairs), net):
            states = [trained(asked, net, options.epochs, 2 * pair + i) for i in (0, 1)]
            known = {"net": net, "pair": pair}
            rows += [{**known, **row, **origin} for row in measure(line, states[0], states[1])]
    store.write_rows(options.out.with_suffix(".csv"), rows)
    print(table(rows))


if __name__ == "__main__":
    main()
