"""Any folder of images as a data set: `folder:PATH`, or `folder:PATH@SIDE`.

Two layouts are known: `PATH/class/*.png`, divided 70/15/15 by one stream per class, and
`PATH/{fit,search,test}/class/*.png`, taken as it is. With `train` and `val` (or `test`) instead,
test is `test`, else `val`, and a search split is taken out of `train`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mergesuite.core import imagefiles
from mergesuite.core.imagefiles import SUFFIXES
from mergesuite.core.portable import permutation
from mergesuite.data.sources import SPLITS, LazySplit, Source
from mergesuite.errors import UserError

SIDE = 32
SHARES = {"fit": 70, "search": 15, "test": 15}
"""Per cent of each class, where the folder has no splits of its own."""

Listing = dict[str, list[tuple[Path, int]]]


def load(name: str, root: Path) -> Source:
    """The image folder that `name` means; images are read when they are asked for.

    The shorter side is scaled to SIDE pixels (32 where not given) and the centre is kept.

    Raises:
        UserError: no such folder, no classes, an empty class, classes that differ between splits.
    """
    folder, given = imagefiles.parse(name)
    side = given or SIDE
    if not folder.is_dir():
        raise UserError(f"expected a folder of images, found none at {folder}: correct the path")
    if side < 8:
        raise UserError(f"{name}: images of {side} pixels are too small, give 8 or more")
    classes, listing = _listing(folder)
    every = sorted({file for rows in listing.values() for file, _ in rows})
    position = {file: number for number, file in enumerate(every)}
    splits = {
        split: LazySplit(
            np.array([label for _, label in rows], dtype=np.int64),
            np.array([position[file] for file, _ in rows], dtype=np.int64),
            lambda chosen, rows=rows: np.stack([_read(rows[i][0], side) for i in chosen]),
        )
        for split, rows in listing.items()
    }
    return Source(splits, classes, imagefiles.checksums(folder, every))


def _listing(folder: Path) -> tuple[tuple[str, ...], Listing]:
    """Class names and, per split, the files with their labels."""
    there = {child.name: child for child in folder.iterdir() if child.is_dir()}
    if set(SPLITS) <= set(there):
        parts = {split: _classes(there[split]) for split in SPLITS}
        classes = _same_classes(folder, parts)
        return classes, {split: _rows(classes, files) for split, files in parts.items()}
    held = there.get("test", there.get("val"))
    if "train" in there and held is not None:
        parts = {"train": _classes(there["train"]), "test": _classes(held)}
        classes = _same_classes(folder, parts)
        fit, search = _divide(classes, parts["train"], {"fit": 85, "search": 15}).values()
        return classes, {
            "fit": fit,
            "search": search,
            "test": _rows(classes, parts["test"]),
        }
    found = _classes(folder)
    return tuple(found), _divide(tuple(found), found, SHARES)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Class -> its image files, both in the order of their names."""
    found: dict[str, list[Path]] = {}
    for child in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        files = sorted(p for p in child.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise UserError(
                f"class {child.name!r} in {folder} should hold images "
                f"({', '.join(sorted(SUFFIXES))}), found none: add some or remove the folder"
            )
        found[child.name] = files
    if len(found) < 2:
        raise UserError(
            f"{folder} should hold one folder per class, found {len(found)}: "
            "arrange the images as FOLDER/CLASS/IMAGE.png"
        )
    return found


def _same_classes(folder: Path, parts: dict[str, dict[str, list[Path]]]) -> tuple[str, ...]:
    """The classes that all splits share; labels would mean different things otherwise."""
    first = next(iter(parts))
    for split, found in parts.items():
        if odd := set(found) ^ set(parts[first]):
            raise UserError(
                f"{folder}: {split} and {first} should have the same classes, found "
                f"{sorted(odd)} in one only: add or remove them"
            )
    return tuple(parts[first])


def _rows(classes: tuple[str, ...], found: dict[str, list[Path]]) -> list[tuple[Path, int]]:
    return [(file, label) for label, name in enumerate(classes) for file in found[name]]


def _divide(
    classes: tuple[str, ...], found: dict[str, list[Path]], shares: dict[str, int]
) -> Listing:
    """Divide each class by its own stream: a class that is added moves no image of another."""
    listing: Listing = {split: [] for split in shares}
    for label, name in enumerate(classes):
        files = found[name]
        if len(files) < len(shares):
            raise UserError(
                f"class {name!r} has {len(files)} images, too few to divide into "
                f"{', '.join(shares)}: give {len(shares)} or more"
            )
        order = permutation(len(files), "data", "folder", "division", name)
        held = {s: max(1, len(files) * share // 100) for s, share in shares.items() if s != "fit"}
        stop = len(files)
        for split, count in held.items():
            rows = np.sort(order[stop - count : stop])
            listing[split] += [(files[i], label) for i in rows]
            stop -= count
        listing["fit"] += [(files[i], label) for i in np.sort(order[:stop])]
    return listing


def _read(file: Path, side: int) -> np.ndarray:
    """One image as uint8 `(3, side, side)`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            colour = image.convert("RGB")
            fitted = ImageOps.fit(colour, (side, side), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{file} should be an image, found something else ({reason}): replace or remove it"
        ) from None
    return np.asarray(fitted).transpose(2, 0, 1)
