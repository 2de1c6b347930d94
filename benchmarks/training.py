"""How much faster than a DataLoader loop is our training loop, with the same updates made?

One epoch on `digits`, in turn (A B C A B C ...) by

* `DataLoader`: what a user writes: PIL images as torchvision's CIFAR10 gives them, its RandomCrop,
  RandomHorizontalFlip and ToTensor, a shuffling DataLoader, the network as it was built;
* `DataLoader, 1 worker`: the same, with the batches made in a second process;
* `ours`: `mergesuite.stages.trainer.Trainer`, and ours without each lever.

The case `data` is the way of the images into batches alone; the others are nets. What keeps freed
memory runs in this process, the rest in another, because that setting is a process's; each on one
thread. The script fails if the loops do not make equally many updates, or if without augmentation
and in the same order they do not end in the same weights, but for rounding.

    python benchmarks/training.py --out docs
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from mergesuite import data, models
from mergesuite.core import provenance, runtime, store
from mergesuite.core.runtime import Meter
from mergesuite.data.images import PAD, Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.feed import Seen
from mergesuite.stages.trainer import Trainer

LOADERS = {"DataLoader": 0, "DataLoader, 1 worker": 1}
"""How many workers each has. The first is what the others are measured against."""
LEVERS = ("channels last", "kept memory")
MEMORY_KEPT = ("ours", "without channels last")
COLOURS = {"data": "#E69F00", "forward": "#56B4E9", "backward": "#0072B2", "optimiser": "#009E73"}
PARTS = tuple(COLOURS)
LINES = {
    "DataLoader": "ks-",
    "DataLoader, 1 worker": "kd--",
    "ours": "C3o-",
    "without channels last": "C3^:",
    "without kept memory": "C3v--",
}
RECIPE = Recipe.model_validate(
    {"optimiser": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 5e-4,
     "batch": 128, "augment": "crop-flip"}
)  # fmt: skip
"""CADE's fine-tuning (replications/cade/paper.yaml), at a constant rate."""

Row = dict[str, Any]


class Pictures(Dataset):
    """Images and labels as torchvision's CIFAR10 holds and gives them, through `transform`."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[..., Tensor]) -> None:
        """From uint8 `images` `(n, 3, h, w)` and `labels` `(n,)`."""
        self._images, self._labels = images.permute(0, 2, 3, 1).numpy(), labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, float32 `(3, h, w)`, and its label."""
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class ContiguousNormalise(Normalise):
    """Pixels in [0, 1] as they lie in memory: the lever "channels last" off."""

    def __call__(self, images: Tensor) -> Tensor:
        """`(n, 3, h, w)` float32, contiguous."""
        return images.float().mul_(1 / 255)


class DoubleNormalise(Normalise):
    """Pixels in [0, 1] in float64."""

    def __call__(self, images: Tensor) -> Tensor:
        """`(n, 3, h, w)` float64 in channels-last memory."""
        return images.to(torch.float64, memory_format=torch.channels_last).div_(255)


class Plain:
    """The loop of a user, as short as it can be: neither loss nor accuracy is kept."""

    def __init__(self, module: nn.Module, loader: DataLoader) -> None:
        """Train `module` on what `loader` gives."""
        self.module, self.loader = module, loader
        self.optimiser = torch.optim.SGD(
            module.parameters(),
            lr=RECIPE.lr,
            momentum=RECIPE.momentum,
            nesterov=RECIPE.nesterov,
            weight_decay=RECIPE.weight_decay,
        )

    def epoch(self, epoch: int) -> None:
        """Train through all images; the number is our trainer's, and not used."""
        self.module.train()
        for images, labels in self.loader:
            self.optimiser.zero_grad()
            F.cross_entropy(self.module(images), labels).backward()
            self.optimiser.step()


def plain(net: str, images: Tensor, labels: Tensor, workers: int) -> Plain:
    """The plain loop with its usual augmentation."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(images.shape[-1], padding=PAD),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    pictures = Pictures(images, labels, transform)
    loader = DataLoader(pictures, RECIPE.batch, shuffle=True, num_workers=workers)
    return Plain(models.build(net, 10), loader)


def ours(net: str, images: Tensor, labels: Tensor, off: str) -> Trainer:
    """Our trainer, without the lever `off`."""
    contiguous = off == "channels last"
    trainer = Trainer(
        models.build(net, 10), RECIPE, InMemory(images, labels),
        normalise=ContiguousNormalise() if contiguous else Normalise(),
        stream=("benchmark",), meter=Meter(),
    )  # fmt: skip
    if contiguous:
        trainer.module.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return trainer


class Watch:
    """Processor time of one epoch by part, told by hooks of network and optimiser: for any loop.

    "data" is everything between an optimiser's step and the next forward pass, and all of a
    worker's time; "backward" has the loss in it.
    """

    def __init__(self, loop: Plain | Trainer) -> None:
        """Start the clocks."""
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.updates = 0
        loop.module.register_forward_pre_hook(lambda *_: self.end("data"))
        loop.module.register_forward_hook(lambda *_: self.end("forward"))
        loop.optimiser.register_step_pre_hook(lambda *_: self.end("backward"))
        loop.optimiser.register_step_post_hook(lambda *_: self._step())
        self._last, self._start = cpu_seconds(), time.perf_counter()

    def end(self, part: str) -> None:
        """The processor time since the last call belongs to `part`."""
        now = cpu_seconds()
        self.parts[part] += now - self._last
        self._last = now

    def _step(self) -> None:
        self.end("optimiser")
        self.updates += 1

    def row(self) -> Row:
        """Seconds on the wall, processor time in all and by part, and the updates."""
        seconds = time.perf_counter() - self._start
        self.end("data")
        cpu = sum(self.parts.values())
        return {"seconds": seconds, "cpu_seconds": cpu, "updates": self.updates, **self.parts}


def cpu_seconds() -> float:
    """Processor time of this process and of the workers it has waited for."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + workers.ru_utime + workers.ru_stime


@functools.cache
def digits(n: int) -> data.Split:
    """`n` fit images with labels."""
    return data.load("digits", sizes={"fit": n}).fit


def play(case: str, variant: str, n: int, most: int) -> Row:
    """One epoch in this process, through the first `n` of `most` images."""
    images, labels = (part[:n] for part in digits(most))
    net = "resnet8-w8" if case == "data" else case
    if variant in LOADERS:
        loop = plain(net, images, labels, LOADERS[variant])
    else:
        loop = ours(net, images, labels, variant.removeprefix("without "))
    watch = Watch(loop)
    if case == "data":
        batches = loop.loader if isinstance(loop, Plain) else fed(loop)
        watch.updates = sum(1 for _ in batches)
    else:
        loop.epoch(0)
    return watch.row()


def fed(trainer: Trainer) -> Iterator[Seen]:
    """What the network sees in our first epoch."""
    pieces = trainer.feed.pieces(0, trainer.feed.batches(0))
    return trainer.feed.seen(0, [piece for update in pieces for piece in update])


def check(net: str, most: int) -> Row:
    """How far apart the loops end with the same images in the same order, without augmentation.

    In float64: in float32 the rounding of another memory layout moves a few activations across 0,
    and what a ReLU then passes on differs by more than rounding.

    Raises:
        ValueError: one makes too few updates, or another order of the images does not part the
            weights (largest difference) a million times as far as the other loop does.
    """
    images, labels = (part[:35] for part in digits(most))
    recipe = RECIPE.model_copy(update={"augment": "none", "batch": 8})
    trainer = Trainer(
        models.build(net, 10).double(), recipe, InMemory(images, labels),
        normalise=DoubleNormalise(), stream=("benchmark",), meter=Meter(),
    )  # fmt: skip
    to_double = [transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float64)]
    pictures = Pictures(images, labels, transforms.Compose(to_double))
    order: list[int] = torch.cat(trainer.feed.batches(0)).tolist()
    loops = [trainer] + [
        Plain(models.build(net, 10).double(), DataLoader(pictures, recipe.batch, sampler=sampler))
        for sampler in (order, order[::-1])
    ]
    watches = [Watch(loop) for loop in loops]
    for loop in loops:
        loop.epoch(0)
    first, second, third = (weights(loop.module) for loop in loops)
    same, other = float((first - second).abs().max()), float((second - third).abs().max())
    updates = [watch.updates for watch in watches]
    if set(updates) != {math.ceil(len(images) / recipe.batch)} or same * 1e6 > other:
        raise ValueError(
            f"{net}: updates {updates}, weights {same:.1e} apart, {other:.1e} in another order"
        )
    return {"apart": f"{same:.1e}", "apart_in_another_order": f"{other:.1e}"}


def weights(module: nn.Module) -> Tensor:
    """Parameters and running statistics as one vector."""
    return torch.cat([t.flatten() for t in module.state_dict().values() if t.is_floating_point()])


def compare(case: str, n: int, pairs: int, most: int, other: Executor) -> list[Row]:
    """Rows of one case: every variant on a quarter, half and all of `n` of `most` images, in turn.

    `other` is the process whose memory settings are those of a plain one.
    """
    sizes = [n // 4, n // 2, n]
    off = [f"without {lever}" for lever in LEVERS] if case != "data" else []
    variants = [*LOADERS, "ours", *off]
    found = check(case, most) if case != "data" else {}

    def ask(variant: str, size: int) -> Row:
        if variant in MEMORY_KEPT:
            return play(case, variant, size, most)
        return other.submit(play, case, variant, size, most).result()

    for variant in variants:  # kernels are chosen before the clock counts
        ask(variant, sizes[0])
    plays: dict[tuple[str, int], list[Row]] = {(v, size): [] for size in sizes for v in variants}
    for variant, size in tqdm(list(plays) * pairs, desc=case):
        played = ask(variant, size)
        if played["updates"] != math.ceil(size / RECIPE.batch):
            raise SystemExit(f"{case}, {variant}: {played['updates']} updates of {size} images")
        plays[variant, size].append(played)
    return [row(case, variant, size, plays) | found for variant, size in plays]


def row(case: str, variant: str, n: int, plays: dict[tuple[str, int], list[Row]]) -> Row:
    """One variant's line at one size; the fit over its sizes is on each of its lines.

    Shares and fit are of processor time, which other work on the machine disturbs least, and the
    fit is through the fastest epochs.
    """
    own, base = plays[variant, n], plays[next(iter(LOADERS)), n]
    ratios = [b["seconds"] / o["seconds"] for b, o in zip(base, own, strict=True)]
    cpu = [b["cpu_seconds"] / o["cpu_seconds"] for b, o in zip(base, own, strict=True)]
    seconds, processor = median(own, "seconds"), median(own, "cpu_seconds")
    total = sum(played["cpu_seconds"] for played in own)
    sizes = [size for name, size in plays if name == variant]
    fastest = [min(played["cpu_seconds"] for played in plays[variant, m]) for m in sizes]
    slope, fixed = np.polyfit(sizes, fastest, 1)
    return {
        "case": case,
        "variant": variant,
        "images": n,
        "updates": own[0]["updates"],
        "seconds": round(seconds, 4),
        "cpu_seconds": round(processor, 4),
        "least_cpu_seconds": round(fastest[sizes.index(n)], 4),
        "images_per_second": round(n / seconds),
        "speedup": round(statistics.median(ratios), 2),
        "speedup_low": round(min(ratios), 2),
        "speedup_high": round(max(ratios), 2),
        "cpu_speedup": round(statistics.median(cpu), 2),
        **{part: round(sum(o[part] for o in own) / total, 3) for part in PARTS},
        "fit_us_per_image": round(1e6 * slope, 1),
        "fit_fixed_seconds": round(fixed, 3),
    }


def median(plays: list[Row], key: str) -> float:
    """The middle one of a value over plays."""
    return statistics.median(played[key] for played in plays)


def table(rows: list[Row]) -> str:
    """What the largest size shows, in Markdown."""
    shown = [
        r for r in rows if r["images"] == max(o["images"] for o in rows if o["case"] == r["case"])
    ]
    return tabulate(
        [
            [
                f"{r['case']}, {r['images']} images", r["variant"], r["seconds"],
                r["images_per_second"],
                f"{r['speedup']} ({r['speedup_low']} to {r['speedup_high']})", r["cpu_speedup"],
                *(f"{100 * r[part]:.0f}" if r["case"] != "data" else "" for part in PARTS),
                f"{r['fit_fixed_seconds']} s + {r['fit_us_per_image']} us",
            ]
            for r in shown
        ],
        ["case", "loop", "seconds", "images/s", "times DataLoader", "in CPU time",
         *(f"{part} %" for part in PARTS), "CPU time: fixed + per image"],
        tablefmt="pipe",
        disable_numparse=True,
    )  # fmt: skip


def draw(rows: list[Row], path: Path) -> None:
    """Processor time per image by part at the largest size, and of epochs against images."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "mergesuite"
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys(r["case"] for r in rows))
    size = (3.8 * len(cases), 5.4)
    figure, axes = plt.subplots(2, len(cases), figsize=size, squeeze=False, layout="constrained")
    for (top, bottom), case in zip(axes.T, cases, strict=True):
        own = [r for r in rows if r["case"] == case]
        most = max(r["images"] for r in own)
        bars = [r for r in own if r["images"] == most][::-1]
        names = [r["variant"] for r in bars]
        left = np.zeros(len(bars))
        for part, colour in COLOURS.items():
            width = np.array([1e6 / most * r["cpu_seconds"] * r[part] for r in bars])
            top.barh(names, width, left=left, color=colour, label=part)
            left += width
        times = [f"{r['cpu_speedup']:.1f} times" for r in bars]
        top.bar_label(top.containers[-1], times, padding=3, fontsize=8)
        top.set_title(f"{case}, {most} images", fontsize=9)
        top.set_xlabel("CPU microseconds per image", fontsize=8)
        top.margins(x=0.25)
        for name, line in LINES.items():
            points = [(r["images"], r["least_cpu_seconds"]) for r in own if r["variant"] == name]
            if points:
                bottom.plot(*zip(*points, strict=True), line, ms=4, lw=1, label=name)
        bottom.set(ylim=0, xlim=0)
        bottom.set_xlabel("images", fontsize=8)
        bottom.set_ylabel("CPU seconds an epoch", fontsize=8)
        for ax in (top, bottom):
            ax.tick_params(labelsize=8)
            ax.spines[["top", "right"]].set_visible(False)
    (top, bottom), style = axes[:, -1], {"ncols": 5, "fontsize": 8, "frameon": False}
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", **style)
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", **style)
    with store.whole(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def case_and_size(text: str) -> tuple[str, int]:
    """`NET:IMAGES` or `data:IMAGES`."""
    case, _, n = text.rpartition(":")
    if not case or int(n) < 8:
        raise ValueError(text)
    return case, int(n)


def main() -> None:
    """Run every case, print and write the table."""
    parser = argparse.ArgumentParser(
        description="Our training loop against a DataLoader's, in one run.",
        epilog="example: python benchmarks/training.py --cases data:4096 resnet8-w8:2048 --pairs 3",
    )
    parser.add_argument(
        "--cases", nargs="+", type=case_and_size, metavar="NET:IMAGES",
        default=[("data", 4096), ("resnet8-w8", 2048), ("resnet20", 512)],
        help="what is timed, with all, half and a quarter of so many images; "
        "data: the images' way into batches alone",
    )  # fmt: skip
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    head, dirty = provenance.commit()
    origin = {
        "batch": RECIPE.batch,
        "pairs": options.pairs,
        "commit": head + ("+" if dirty else ""),
        "device": provenance.processor(),
        "threads": 1,
        "torch": provenance.versions()["torch"],
        "torchvision": provenance.versions()["torchvision"],
    }
    torch.set_num_threads(1)
    most = max(n for _, n in options.cases)
    digits(most)  # composed once for both processes
    rows: list[Row] = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as other:
        other.submit(torch.get_num_threads).result()  # starts it: before memory is kept here
        runtime.settle()
        for case, n in options.cases:
            rows += compare(case, n, options.pairs, most, other)
            store.write_rows(options.out / "training.csv", [{**r, **origin} for r in rows])
            draw(rows, options.out / "training.svg")
    print(table(rows))


if __name__ == "__main__":
    main()
