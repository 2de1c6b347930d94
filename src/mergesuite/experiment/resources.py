"""What a job asks a scheduler for: GPU, memory, time; from its network and data alone.

These are estimates, made the same on every machine, with room to spare: a job that is killed for
want of memory or time costs more than a wait in a queue. `--set-resources` overrules them.
"""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mergesuite.core import imagefiles, slots
from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network

NETWORKS = {
    r"resnet(\d+)(?:-torch)?": (0.0022, 0.0156),  # a layer of a CIFAR ResNet of width 16
    r"resnet152-mega": (0.45, 3.6),
    r"xception-mega": (0.09, 22.0),
    r"densenet121-mega": (0.058, 7.5),
    r"densenet169-mega": (0.069, 13.0),
    r"sew-small": (0.0122, 0.16),  # of width 16; as it is, it has width 8
    r"sew-resnet18": (2.3, 11.2),
    r"sew-resnet34": (4.7, 21.4),
    r"sew-resnet18-imagenet": (7.3, 11.7),
    r"sew-resnet34-imagenet": (14.7, 21.8),
    r"sew-resnet50-imagenet": (16.4, 25.6),
    r"sew-resnet101-imagenet": (31.4, 44.6),
    r"sew-resnet152-imagenet": (46.3, 60.2),
}
"""Name -> 10^9 multiply-adds of one image (32 x 32, ImageNet's 224 x 224; of spiking nets in four
time steps), and 10^6 parameters; `-wN` multiplies both."""
UNKNOWN = (4.2, 26.0)
"""Of a network that is not listed: ResNet-50 at 224 x 224."""
BASE_WIDTH = 16
WIDTHS = {"sew-small": "8"}
"""Of networks that have another width where none is named."""
SPLIT = 100_000
"""Images in a split of a data set whose size is not known beforehand."""
CPU, GPU = 15e9, 1e12
"""Multiply-adds a second that one core and one GPU surely reach."""
ON_A_CPU = 2 * 3600.0
"""Seconds of work on one core up to which a job does without a GPU."""
PROCESS_MB = 1500
"""What a process holds that has imported torch and works on a small network."""
ACTIVATIONS_MB = 5
"""Of one image for each 10^9 multiply-adds."""
FILES_MB = 1000
"""Of images in files: what is decoded at a time; beside it a kilobyte for the name of each."""
SCORED = 100
"""Images that are scored at once on a CPU."""
TRAINED = 3
"""Forward passes that an image costs which is trained on; its backward pass is two."""
ROOM = 3
"""How much longer than estimated a job may take."""


@dataclass(frozen=True)
class Need:
    """What one job asks for: `gpu` (0 or 1), `mem_mb` (MB), `runtime` (minutes).

    `multiply_adds`: what it computes, as if no candidate were rejected early.
    """

    gpu: int
    mem_mb: int
    runtime: int
    multiply_adds: float


def size(build: str) -> tuple[float, float]:
    """10^9 multiply-adds an image, and 10^6 parameters, of the network called `build`."""
    name, _, width = build.partition("-w")
    width = width or WIDTHS.get(name, "")
    factor = (float(width) / BASE_WIDTH) ** 2 if width.isdecimal() else 1.0
    for pattern, (work, parameters) in NETWORKS.items():
        if match := re.fullmatch(pattern, name):
            layers = float(match[1]) if match.groups() else 1.0
            return factor * layers * work, factor * layers * parameters
    return UNKNOWN


def images(data: Data, split: str) -> int:
    """How many images of a split are used; of a folder of images, at most how many."""
    known = declared.datasets().get(data.name, {}).get("splits", {})
    inside = declared.is_folder(data.name) and _files(imagefiles.parse(data.name)[0])
    return data.counts().get(split) or known.get(split) or inside or SPLIT


@functools.cache
def _files(folder: Path) -> int:
    """Files below a folder, counted once in the life of a process; 0 where there is none."""
    return sum(len(files) for _, _, files in os.walk(folder))


def train(network: Network, data: Data, recipe: Recipe, device: str) -> Need:
    """A training: each image forward and backward."""
    passes = recipe.epochs * (TRAINED * images(data, "fit") + images(data, "search"))
    # Weights, gradients, the optimiser's state, what is saved; an average is kept and saved.
    copies = 6 + recipe.keep + 2 * len(recipe.averages())
    at_once = recipe.micro_batch or recipe.batch
    return _need(network, data, passes, copies, at_once, device)


def merge(
    network: Network, data: Data, how: Merge, parents: int, device: str, budget: Merge | None = None
) -> Need:
    """A merge: every candidate on every image of its fitness, as if none were rejected early.

    `budget`: the merge whose number of images it gets.
    """
    of = budget or how
    scored = of.fitness.images or images(data, of.fitness.split)
    if of.fitness.batchnorm == "re-estimate":
        scored += of.fitness.batchnorm_images
    passes = scored * (parents + evaluations(of, parents))
    if how.use == "train-on":
        told = how.params.get("epochs", 0) * images(data, "fit")
        passes = TRAINED * (how.params.get("images") or told or passes)
    members = max(parents, int(of.params.get("population", 0)))
    return _need(network, data, passes, 4 + 3 * members, SCORED, device)


def evaluations(how: Merge, parents: int) -> int:
    """About how many candidates a search scores; MeGA's population starts anew for each parent."""
    entry = declared.method_fields(how.use)
    if entry.kind != "population":
        return 0
    told = {name: field.default for name, field in entry.params.model_fields.items()} | how.params
    if "generations" not in told:
        return int(told.get("evaluations") or parents)
    generations = told["generations"] * told.get("de_epochs", 1)
    return generations * (told["population"] * (parents - 1) if "population" in told else parents)


def evaluate(network: Network, data: Data, networks: int, others: int, device: str) -> Need:
    """Measuring: every network on search, test and other sets under three treatments.

    New BatchNorm statistics take up to 10,000 fit images more; other sets count as test images.
    """
    statistics = min(10_000, images(data, "fit"))
    scored = images(data, "search") + (1 + others) * images(data, "test")
    passes = 3 * networks * (scored + statistics)
    return _need(network, data, passes, 8, SCORED, device)


def _need(
    network: Network, data: Data, passes: float, copies: int, batch: int, device: str
) -> Need:
    work, parameters = size(network.build)
    operations = passes * work * 1e9
    gpu = int(device.startswith("cuda") or (device == "auto" and operations / CPU > ON_A_CPU))
    memory = PROCESS_MB + _images_mb(data) + copies * 4 * parameters + batch * ACTIVATIONS_MB * work
    minutes = 15 + math.ceil(ROOM * operations / (GPU if gpu else CPU) / 60)
    return Need(gpu, 500 * math.ceil(memory / 500), minutes, operations)


def _images_mb(data: Data) -> float:
    """Of the images of all splits, twice; those in files are read as they are needed."""
    count = sum(images(data, split) for split in ("fit", "search", "test"))
    return (
        FILES_MB + count / 1000 if declared.is_folder(data.name) else 2 * count * 3 * 32 * 32 / 1e6
    )


def decoders(cores: int, gpus: int) -> int:
    """How many processes may decode images for each of the jobs that run on one machine at once.

    A job on a GPU has its share of the cores for them. One on a CPU computes on each core that it
    was granted, and decodes there too.
    """
    return max(1, cores // gpus) if gpus else 0


def gpus_here() -> int:
    """How many jobs may compute on NVIDIA GPUs of this machine at once, without importing torch.

    Raises:
        UserError: MERGESUITE_GPUS is no number from 1 on.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if visible is not None:
        there = min(there, len([name for name in visible.split(",") if name.strip()]))
    return slots.count(there)
