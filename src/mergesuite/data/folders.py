"""Any folder of images as a data set: `folder:PATH`, or `folder:PATH@SIDE`.

Two layouts are known: `PATH/class/*.png`, divided 70/15/15 by one stream per class, and
`PATH/{fit,search,test}/class/*.png`, taken as it is. With `train` and `val` (or `test`) instead,
test is `test`, else `val`, and a search split is taken out of `train`: 15 % of each class, or what
`held_out` says. Images are listed here and decoded where they are asked for (`ondisk`).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mergesuite.core import imagefiles
from mergesuite.core.portable import permutation
from mergesuite.data.decode import Cut, check
from mergesuite.data.ondisk import OnDisk
from mergesuite.data.sources import SPLITS, LazySplit, Source
from mergesuite.errors import UserError
from mergesuite.experiment.settings import MOST_SIDE, PLAIN, Other, Preprocess

SIDE = 32
LEAST_SIDE = 8
HELD_OUT = 0.15
"""Share of each class that becomes the search split, and the test split where there is none."""

Found = dict[str, list[str]]
"""Class -> its images, as paths below the data set's folder; both in the order of their names."""
Listing = dict[str, list[tuple[str, int]]]
"""Split -> images and labels."""


def load(name: str, root: Path, held_out: float | None, preprocess: Preprocess) -> Source:
    """The image folder that `name` means.

    Raises:
        UserError: no such folder, no classes, an empty class, classes that differ between splits,
            a search split that is asked for and there already, or too small images.
    """
    folder, side = imagefiles.parse(name)
    if not folder.is_dir():
        raise UserError(f"expected a folder of images, found none at {folder}: correct the path")
    if side and preprocess.crop:
        raise UserError(f"{name}: @{side} and preprocess.crop both say the side: remove one")
    cut = cut_of(preprocess, side or SIDE)
    if not LEAST_SIDE <= cut.crop <= MOST_SIDE:
        raise UserError(
            f"{name}: images are {LEAST_SIDE} to {MOST_SIDE} pixels wide, not {cut.crop}"
        )
    classes, listing = listed(folder, held_out)
    return source(folder, classes, listing, cut, preprocess)


def cut_of(asked: Preprocess, side: int, resize: int | None = None) -> Cut:
    """How images are cut; `side` and `resize` are the data set's own."""
    crop = asked.crop or side
    own = resize if resize and not asked.crop else crop
    return Cut(asked.resize or own, crop, asked.interpolation)


def source(
    folder: Path, classes: tuple[str, ...], listing: Listing, cut: Cut, asked: Preprocess
) -> Source:
    """The images of a listing, to be read when they are asked for."""
    every = sorted({name for rows in listing.values() for name, _ in rows})
    position = {name: number for number, name in enumerate(every)}
    return Source(
        {split: _split(folder, rows, position, cut) for split, rows in listing.items()},
        classes,
        imagefiles.checksums(folder, every, check),
        cut,
        (asked.mean, asked.std) if asked.mean and asked.std else None,
    )


def tested(asked: Other, root: Path, clean: Source) -> Source:
    """A folder of images by class, to evaluate on; classes are known by their folders' names.

    Raises:
        UserError: no such folder, or a class that networks were not trained on.
    """
    folder, side = imagefiles.parse(asked.name)
    if side or not folder.is_dir():
        raise UserError(
            f"{asked.name} should be a folder of images, cut as those that networks are trained "
            "on: correct the path, without @SIDE"
        )
    return test_source(folder, classes_of(folder), clean)


def test_source(folder: Path, found: Found, clean: Source) -> Source:
    """The images `found` below a folder as the split `test`, cut as those of `clean`."""
    if odd := set(found) - set(clean.classes):
        raise UserError(
            f"{folder} has a class {min(odd)!r} that networks were not trained on: its folders "
            f"should be called {', '.join(clean.classes[:3])}, ..., or some of them"
        )
    cut = clean.cut
    if cut is None:  # images in memory have the side that these are cut to
        side = clean.splits["test"].read(np.array([0])).shape[-1]
        cut = Cut(side, side)
    classes = tuple(name for name in clean.classes if name in found)
    listing = {"test": _rows(classes, found)}
    return source(folder, classes, listing, cut, PLAIN)


def _split(
    folder: Path, rows: list[tuple[str, int]], position: dict[str, int], cut: Cut
) -> LazySplit:
    names = np.array([os.fsencode(name) for name, _ in rows], dtype=np.bytes_)
    labels = np.array([label for _, label in rows], dtype=np.int64)
    indices = np.array([position[name] for name, _ in rows], dtype=np.int64)

    def pictures(chosen: np.ndarray) -> OnDisk:
        return OnDisk(folder, names[chosen], labels[chosen], cut)

    def read(chosen: np.ndarray) -> np.ndarray:
        return pictures(chosen).whole()

    return LazySplit(labels, indices, read, pictures)


def listed(folder: Path, held_out: float | None) -> tuple[tuple[str, ...], Listing]:
    """Class names and, per split, the files with their labels."""
    there = {child.name for child in folder.iterdir() if child.is_dir()}
    if set(SPLITS) <= there:
        if held_out is not None:
            raise UserError(f"{folder} has a search split of its own: remove held_out")
        parts = {split: classes_of(folder, split) for split in SPLITS}
        classes = _same_classes(folder, parts)
        return classes, {split: _rows(classes, files) for split, files in parts.items()}
    held = held_out or HELD_OUT
    tested = next((name for name in ("test", "val") if name in there), None)
    if "train" in there and tested:
        parts = {"train": classes_of(folder, "train"), "test": classes_of(folder, tested)}
        classes = _same_classes(folder, parts)
        listing = _divide(classes, parts["train"], {"search": held})
        return classes, {**listing, "test": _rows(classes, parts["test"])}
    found = classes_of(folder)
    return tuple(found), _divide(tuple(found), found, {"search": held, "test": HELD_OUT})


def made_here(folder: Path) -> tuple[str, ...]:
    """The splits that `listed` divides off by itself, because the folder has no such part."""
    there = {child.name for child in folder.iterdir() if child.is_dir()}
    if set(SPLITS) <= there:
        return ()
    return ("search",) if "train" in there and there & {"test", "val"} else ("search", "test")


def classes_of(folder: Path, part: str = "") -> Found:
    """The classes of a folder, or of the `part` of it, with their images.

    Raises:
        UserError: a class without images, or fewer than two classes.
    """
    top = folder / part
    found: Found = {}
    for child in sorted(p for p in top.iterdir() if p.is_dir() and p.name[0] != "."):
        files = sorted(imagefiles.images(child), key=lambda name: name.split("/"))
        if not files:
            raise UserError(
                f"class {child.name!r} in {top} should hold images "
                f"({', '.join(sorted(imagefiles.SUFFIXES))}), found none: add some or remove the "
                "folder"
            )
        below = child.relative_to(folder).as_posix()
        found[child.name] = [f"{below}/{file}" for file in files]
    if len(found) < 2:
        raise UserError(
            f"{top} should hold one folder per class, found {len(found)}: "
            "arrange the images as FOLDER/CLASS/IMAGE.png"
        )
    return found


def _same_classes(folder: Path, parts: dict[str, Found]) -> tuple[str, ...]:
    """The classes that all splits share; labels would mean different things otherwise."""
    first = next(iter(parts))
    for split, found in parts.items():
        if odd := set(found) ^ set(parts[first]):
            raise UserError(
                f"{folder}: {split} and {first} should have the same classes, found "
                f"{sorted(odd)} in one only: add or remove them"
            )
    return tuple(parts[first])


def _rows(classes: tuple[str, ...], found: Found) -> list[tuple[str, int]]:
    return [(file, label) for label, name in enumerate(classes) for file in found[name]]


def _divide(classes: tuple[str, ...], found: Found, held: dict[str, float]) -> Listing:
    """Divide each class by its own stream: a class that is added moves no image of another.

    `held`: what of each class goes to a split, images (from 1 on) or a share; the rest is fit.
    """
    listing: Listing = {split: [] for split in ("fit", *held)}
    for label, name in enumerate(classes):
        files = found[name]
        order = permutation(len(files), "data", "folder", "division", name)
        stop = len(files)
        for split, amount in held.items():
            count = int(amount) if amount >= 1 else max(1, int(len(files) * amount + 1e-9))
            rows = np.sort(order[max(0, stop - count) : stop])
            listing[split] += [(files[i], label) for i in rows]
            stop -= count
        if stop < 1:
            raise UserError(
                f"class {name!r} has {len(files)} images, too few to divide into "
                f"{', '.join(listing)}: give {len(files) + 1 - stop} or more"
            )
        listing["fit"] += [(files[i], label) for i in np.sort(order[:stop])]
    return listing
