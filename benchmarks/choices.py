"""How much of a test accuracy is the choice of images that BatchNorm is re-estimated on?

One network is trained on CIFAR-10, and the mean of its last two epochs' weights is made, as a merge
makes it. Statistics of both are re-estimated on disjoint choices of fit images, and the accuracy on
all test images is counted for each. The spread over choices is noise that a result would have if it
took one of them: it should be far below what is claimed of methods (CADE: 0.02 to 0.21 points).
Training saw the images cropped and flipped; statistics are made of the plain images and of images
as training saw them.

Needs CIFAR-10 in MERGESUITE_DATA.

    python benchmarks/choices.py --out docs
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store, streams
from mergesuite.data.images import Augment, Normalise
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Network
from mergesuite.models.batchnorm import reestimate
from mergesuite.stages import train

SIZES = (128, 1_000, 5_000, 10_000)
RECIPE = {"optimiser": "sgd", "lr": 0.1, "batch": 128, "augment": "crop-flip", "weight_decay": 5e-4}
SEEN = {"none": "plain", "crop-flip": "as in training"}
MOST = 10
"""Choices of each size, at most."""

Row = dict[str, Any]
State = dict[str, Tensor]


def trained(asked: Data, net: str, epochs: int) -> dict[str, State]:
    """The network after its last epoch, and the mean of the last two."""
    recipe = Recipe.model_validate({**RECIPE, "schedule": "cosine", "epochs": epochs, "keep": 2})
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        train.run(Network(build=net), asked, recipe, seed=0, out=out)
        last = store.load_weights(out / "model.safetensors")
        before = store.load_weights(out / "epochs" / f"{epochs - 1:03d}.safetensors")
    mean = {k: (v + before[k]) / 2 if v.is_floating_point() else v for k, v in last.items()}
    return {"last epoch": last, "mean of two": mean}


@torch.inference_mode()
def accuracy(module: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise) -> float:
    """Per cent of images that a network gets right."""
    module.eval()
    parts = zip(images.split(100), labels.split(100), strict=True)
    right = sum(int((module(normalise(x)).argmax(1) == y).sum()) for x, y in parts)
    return 100 * right / len(labels)


def measure(
    module: nn.Module,
    state: State,
    splits: data.Splits,
    normalise: Normalise,
    size: int,
    seen: str,
) -> Row:
    """Spread of test accuracy over disjoint choices of `size` fit images, augmented as `seen`."""
    changed = Augment(seen, len(splits.fit.labels), streams.generator("choices", "augment"))
    order = torch.randperm(len(splits.fit.labels), generator=streams.generator("choices"))
    choices = [part for part in order.split(size) if len(part) == size][:MOST]
    module.load_state_dict(state)
    kept = accuracy(module, *splits.test, normalise)
    found, seconds = [], []
    for choice in tqdm(choices, f"{size} images", leave=False):
        module.load_state_dict(state)
        images = changed(splits.fit.images[choice], choice)
        start = time.process_time()
        reestimate(module, images, normalise=normalise)
        seconds.append(time.process_time() - start)
        found.append(accuracy(module, *splits.test, normalise))
    return {
        "images": size,
        "seen": SEEN[seen],
        "choices": len(choices),
        "kept": round(kept, 2),
        "mean": round(statistics.mean(found), 3),
        "sd": round(statistics.stdev(found), 3) if len(found) > 1 else "",
        "low": round(min(found), 2),
        "high": round(max(found), 2),
        "cpu_seconds": round(statistics.median(seconds), 4),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        {
            "weights": row["weights"],
            "images": f"{int(row['images']):,}",
            "images seen": row["seen"],
            "choices": row["choices"],
            "own statistics, %": f"{float(row['kept']):.2f}",
            "new ones, %": f"{float(row['mean']):.2f}",
            "sd, points": f"{float(row['sd']):.3f}" if row["sd"] != "" else "-",
            "range": f"{float(row['low']):.2f} to {float(row['high']):.2f}",
            "CPU seconds": f"{float(row['cpu_seconds']):.2f}",
        }
        for row in rows
    ]
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Train, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description="The noise of a choice of images for BatchNorm statistics.",
        epilog="example: python benchmarks/choices.py --net resnet8-w8 --epochs 3 --fit 12000",
    )
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--fit", type=int, help="fit images; default: all 45,000")
    parser.add_argument("--test", type=int, help="test images; default: all 10,000")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    runtime.settle()
    wanted = {"fit": options.fit, "test": options.test, "search": 100}
    sizes = {split: count for split, count in wanted.items() if count}
    asked = Data.model_validate({"name": options.data, "sizes": sizes, "normalise": True})
    splits = data.load(asked.name, sizes=asked.counts())
    normalise = Normalise(splits.mean, splits.std)
    head, dirty = provenance.commit()
    origin = {
        "net": options.net,
        "data": options.data,
        "epochs": options.epochs,
        "fit": len(splits.fit.labels),
        "test": len(splits.test.labels),
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "torch": provenance.versions()["torch"],
    }
    module = models.build(options.net, splits.classes)
    rows = [
        {"weights": name, **measure(module, state, splits, normalise, size, seen)}
        for name, state in trained(asked, options.net, options.epochs).items()
        for size in options.sizes
        for seen in SEEN
    ]
    store.write_rows(options.out / "choices.csv", [{**row, **origin} for row in rows])
    print(table(rows))


if __name__ == "__main__":
    main()
