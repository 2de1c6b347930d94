"""How fast are images of a folder, and how much memory does scoring on it take?

JPEGs of mixed sizes are made (or `--folder` names some), then in turn (A B A B ...)

* `DataLoader`: torchvision's ImageFolder with its transforms for evaluation (resize 256, crop 224)
  or for training (random-resized crop, flip) and a DataLoader with as many workers as ours has;
* `ours`: the same images through `data.load(...).pictures(...)`, normalised where they arrive.

The script fails if both do not give the same pixels in evaluation. Then a population is scored on
the whole folder in a process of its own, from a file of decoded pixels, and its memory is watched:
the proportional set size (PSS) of it and its workers together.

    python benchmarks/folders.py --out docs
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import memory
import photographs
import torch
from tabulate import tabulate
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store, streams
from mergesuite.data import imagenet, ondisk
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import WHOLE, View
from mergesuite.experiment.settings import Preprocess
from mergesuite.fitness import Evaluator
from mergesuite.weights import WeightSpace

BATCH = 64
CUT = Preprocess.model_validate({"resize": imagenet.RESIZE, "crop": imagenet.CROP})
TRAINING = View(scale=(0.08, 1.0), stream=("benchmark",))
NET = "resnet8-w4"
CANDIDATES = 1
TIMED = 20
"""Batches that are timed, or all where there are fewer."""
CAP = 1 << 30
"""Bytes that scoring may take."""

Row = dict[str, Any]


def divided(count: int) -> dict[str, int]:
    """Images of each split, where most of `count` are scored on."""
    return {"fit": count // 10, "search": count * 8 // 10, "test": count // 10}


def theirs(folder: Path, training: bool, workers: int) -> Iterator[Tensor]:
    """Float batches of a plain DataLoader."""
    shown = (
        [v2.RandomResizedCrop(imagenet.CROP), v2.RandomHorizontalFlip()]
        if training
        else [v2.Resize(imagenet.RESIZE), v2.CenterCrop(imagenet.CROP)]
    )
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    last = v2.Normalize(list(imagenet.MEAN), list(imagenet.STD))
    images = ImageFolder(folder, v2.Compose([*shown, *floats, last]))
    for batch, _ in DataLoader(images, BATCH, num_workers=workers):
        yield batch


def ours(folder: Path, training: bool) -> Iterator[Tensor]:
    """Float batches of our way."""
    # A folder of classes below one name is what ImageFolder reads: here the split `search`.
    pictures = data.load(f"folder:{folder.parent}", preprocess=CUT).pictures("search")
    normalise = Normalise(imagenet.MEAN, imagenet.STD)
    indexes = torch.arange(len(pictures)).split(BATCH)
    flips = torch.rand(len(pictures), generator=streams.generator("flip")) < 0.5
    batches = pictures.batches(indexes, TRAINING if training else WHOLE)
    for index, batch in zip(indexes, batches, strict=True):
        if training:
            batch = torch.where(flips[index][:, None, None, None], batch.flip(3), batch)
        yield normalise(batch)


def images_a_second(batches: Iterator[Tensor]) -> float:
    """How fast they come, without what it takes to get the first."""
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in itertools.islice(batches, TIMED):
        count += len(batch)
    return count / (time.perf_counter() - start)


def check(folder: Path, workers: int) -> float:
    """The largest difference between both ways' values in evaluation.

    Raises:
        SystemExit: they are not the same but for rounding.
    """
    pairs = zip(theirs(folder, False, workers), ours(folder, False), strict=True)
    apart = max(float((a - b).abs().max()) for (a, b), _ in zip(pairs, range(4), strict=False))
    if apart > 1e-5:
        raise SystemExit(f"pixels are {apart:.1e} apart from those of ImageFolder")
    return apart


def speed(folder: Path, turns: int, workers: int) -> list[Row]:
    """Lines of the table: each way, in evaluation and in training."""
    check(folder, workers)
    rows = []
    for training in (False, True):
        ways: dict[str, Callable[[], Iterator[Tensor]]] = {
            "DataLoader": lambda t=training: theirs(folder, t, workers),
            "ours": lambda t=training: ours(folder, t),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in tqdm(range(turns), "turns", leave=False):
            for name, way in ways.items():
                found[name].append(images_a_second(way()))
        ratios = [b / a for a, b in zip(found["DataLoader"], found["ours"], strict=True)]
        rows += [
            {
                "case": "training" if training else "evaluation",
                "way": name,
                "images_a_second": round(statistics.median(rates), 1),
                "ratio": round(statistics.median(ratios), 2) if name == "ours" else 1.0,
                "ratio_low": round(min(ratios), 2) if name == "ours" else 1.0,
                "ratio_high": round(max(ratios), 2) if name == "ours" else 1.0,
                "turns": turns,
            }
            for name, rates in found.items()
        ]
    return rows


def score(folder: Path) -> Row:
    """Score a population on every search image; runs in a process of its own."""
    runtime.settle()
    with memory.Watch() as watch:
        start = time.perf_counter()
        splits = data.load(f"folder:{folder}", preprocess=CUT)
        images = splits.scored("search")
        decoded = time.perf_counter()
        module = models.build(NET, photographs.CLASSES, streams.generator("net"))
        space = WeightSpace(module)
        evaluator = Evaluator(
            module, space, images, splits.labels("search"), imagenet.MEAN, imagenet.STD
        )
        vector = space.flatten(module.state_dict())
        noise = torch.randn(CANDIDATES, len(vector), generator=streams.generator("noise"))
        found = evaluator.scores(vector + 0.02 * vector.abs() * noise)
        scored = time.perf_counter()
    return {
        "case": "scoring",
        "way": "in memory" if isinstance(images, Tensor) else "from a file",
        "decoded_mb": round(len(images) * 3 * imagenet.CROP**2 / 2**20),
        "peak_mb": round(watch.peak / 2**20),
        "decode_seconds": round(decoded - start, 1),
        "images_a_second": round(int(found.images.sum()) / (scored - decoded), 1),
    }


def watched(folder: Path) -> Row:
    """The last line of the table.

    Raises:
        SystemExit: scoring took more than `CAP`.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        row = pool.submit(score, folder).result()
    if row["peak_mb"] > CAP / 2**20:
        raise SystemExit(f"scoring took {row['peak_mb']} MB")
    return row


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        {
            "": f"{row['case']}, {row['way']}",
            "images/s": row["images_a_second"],
            "ours / DataLoader": f"{row['ratio']} [{row['ratio_low']}, {row['ratio_high']}]"
            if row["way"] == "ours"
            else "",
            "decoded, MB": row.get("decoded_mb", ""),
            "peak, MB": row.get("peak_mb", ""),
        }
        for row in rows
    ]
    return tabulate(lines, "keys", "pipe", disable_numparse=True)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Images from a folder next to a plain DataLoader, and the memory of scoring.",
        epilog="example: python benchmarks/folders.py --images 300 --turns 1",
    )
    parser.add_argument("--images", type=int, default=10_000, help="JPEGs that are made")
    parser.add_argument("--folder", type=Path, help="with fit/, search/ and test/ in it, instead")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    head, dirty = provenance.commit()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MERGESUITE_CACHE"] = f"{scratch}/cache"
        folder = options.folder or Path(scratch) / "images"
        if not options.folder:
            photographs.make(folder, divided(options.images))
        files = [file for file in folder.rglob("*") if file.is_file()]
        origin = {
            "images": len(files),
            "folder_mb": round(sum(file.stat().st_size for file in files) / 2**20),
            "workers": ondisk.workers(),
            "commit": head + ("+" if dirty else ""),
            "device": provenance.processor(),
            "torch": provenance.versions()["torch"],
        }
        rows = speed(folder / "search", options.turns, ondisk.workers())
        rows.append(watched(folder))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    store.write_rows(options.out / "folders.csv", [{**row, **origin} for row in rows], columns)
    print(table(rows))


if __name__ == "__main__":
    main()
