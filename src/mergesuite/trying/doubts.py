"""What a reader of a comparison should know about its parents and images, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mergesuite.core import imagefiles, sealed
from mergesuite.data import folders
from mergesuite.errors import UserError
from mergesuite.experiment import foreign
from mergesuite.experiment.settings import Data
from mergesuite.judge.paired import BETTER, WORSE, paired
from mergesuite.stages import record
from mergesuite.trying.given import Given
from mergesuite.weights import WeightSpace

NEAR = 0.01
"""Parents are nearly equal where their difference has less than this share of their length."""
LOOKED_AT = 20
"""Image files whose size is looked at."""
LEVEL = 0.95
Hits = Mapping[str, NDArray[np.bool_]]


def refuse(given: Given) -> None:
    """Refuse images on which nothing can be compared.

    Raises:
        UserError: a class has no image in the search or the test split.
    """
    for split in ("search", "test"):
        counts = torch.bincount(given.labels(split).cpu(), minlength=given.classes)
        if len(counts) > given.classes or int(counts.min()) == 0:
            odd = int(counts.argmin()) if len(counts) <= given.classes else len(counts) - 1
            name = given.class_names[odd] if odd < given.classes else str(odd)
            raise UserError(
                f"class {name!r} has no {split} images ({len(given.labels(split))} of "
                f"{given.classes} classes in all): give more images, or a larger size of {split}"
            )


def of_data(given: Given, asked: Data | None) -> Iterator[str]:
    """Doubts about images in a folder that we cut or divided."""
    if asked is None or not asked.name.startswith(imagefiles.PREFIX):
        return
    folder, _ = imagefiles.parse(asked.name)
    source = given.source
    side = source.cut.crop if source.cut else 0
    sizes = sorted(_sizes(folder, list(source.files)[:LOOKED_AT]))
    if odd := [size for size in sizes if size != (side, side)]:
        width, height = odd[0]
        inputs = "normalised" if asked.normalise else "not normalised (--normalise)"
        yield (
            f"images are scaled by us (one of {width} x {height} pixels to {side} x {side}), "
            f"values in [0, 1], {inputs}: right only if the parents were trained so"
        )
    made = folders.made_here(folder)
    if "test" in made:
        unseen = [
            name
            for name in given.parents
            if name not in given.files or not _trained_here(given.files[name], asked, given)
        ]
        if unseen:
            yield (
                f"the test images were divided off by us, and {_some(unseen)} may have been "
                "trained on them (only `mergesuite train` on this folder is known not to): then "
                f"all test accuracies are too high; {folder}/train and {folder}/test are better"
            )
    elif "search" in made:
        yield (
            f"the search images are a part of {folder}/train: a parent that was trained on all of "
            "it has seen them, and searches score on what it knows by heart; "
            "PATH/fit, PATH/search and PATH/test are better"
        )


def of_parents(given: Given, hits: Hits) -> Iterator[str]:
    """Doubts about parents that do not classify, or are nearly one network.

    `hits`: which search images each parent gets right.
    """
    labels = given.labels("search").cpu()
    chance = float(torch.bincount(labels).max()) / len(labels)
    bar = chance + 2 * math.sqrt(chance * (1 - chance) / len(labels))
    if weak := [name for name, right in hits.items() if right.mean() <= bar]:
        best = max(100 * hits[name].mean() for name in weak)
        yield (
            f"at chance on the search images: {_some(weak)} ({best:.0f} % right at most, the "
            f"commonest class is {100 * chance:.0f} %): are model, classes, image size and "
            "normalisation those of the training?"
        )
    space = WeightSpace(given.network())
    vectors = {name: space.flatten(state) for name, state in given.parents.items()}
    for one, other in combinations(vectors, 2):
        apart = float((vectors[one] - vectors[other]).norm() / vectors[one].norm())
        if apart < NEAR:
            yield (
                f"{one} and {other} are nearly equal (they differ by {100 * apart:.2g} % of their "
                "length): there is little to merge"
            )


def of_statistics(name: str, kept: NDArray[np.bool_], again: NDArray[np.bool_]) -> Iterator[str]:
    """A doubt about a parent that does better with BatchNorm statistics estimated anew."""
    if paired(again, kept, LEVEL).word == BETTER:
        yield (
            f"the BatchNorm statistics of {name} do not fit its weights: {100 * kept.mean():.0f} % "
            f"of the search images right as it is, {100 * again.mean():.0f} % with statistics "
            "estimated anew; a merge gets such statistics, so parents may have them too"
        )


def of_average(average: NDArray[np.bool_], hits: Hits) -> Iterator[str]:
    """A doubt about parents between which the network is worse: they are in different basins."""
    worst = min(hits, key=lambda name: hits[name].mean())
    if paired(average, hits[worst], LEVEL).word == WORSE:
        yield (
            f"the parents are far apart: their average gets {100 * average.mean():.0f} % of the "
            f"search images right, the worst parent ({worst}) {100 * hits[worst].mean():.0f} %; "
            "parents that share a start are easier to merge"
        )


def _sizes(folder: Path, names: list[str]) -> set[tuple[int, int]]:
    from PIL import Image

    found = set()
    for name in names:
        with Image.open(folder / name) as image:
            found.add(image.size)
    return found


def _trained_here(file: Path, asked: Data, given: Given) -> bool:
    """Whether the record of a checkpoint says that it was trained on the fit part of these images.

    Raises:
        UserError: the file is not the one that its record describes.
    """
    if not file.is_file() or "model" not in record.checkpoint(file):
        return False
    run = sealed.found(_run_of(file) / sealed.RUN) or {}
    if run.get("kind") != "parent" or run["content"] != given.content:
        return False
    data, start = run["args"]["data"], run.get("start")
    there, here = (imagefiles.parse(name)[0].resolve() for name in (data["name"], asked.name))
    return (
        (there, data.get("held_out")) == (here, asked.held_out)
        and (start is None or _known_start(Path(start["path"]), asked, given))
    )  # fmt: skip


def _run_of(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "epochs" else file.parent


def _known_start(file: Path, asked: Data, given: Given) -> bool:
    """Whether a training began at published weights, or at those of one like it."""
    published = file.resolve().is_relative_to(foreign.folder().resolve())
    return published or _trained_here(file, asked, given)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
