"""Data sets as three splits: fit, search, test; in memory, or in files of any number.

`load` is the whole interface; it imports the file that declares a reader for the name, and no
other. Where a data set comes without a search split, a fixed permutation of its training images
makes one: it depends on no seed, so that every parent, method and control of every study sees the
same division. `seed` only chooses which images a smaller `sizes` keeps.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mergesuite.core import digests, imagefiles, sealed
from mergesuite.core.portable import permutation
from mergesuite.data.pictures import InMemory, Pictures
from mergesuite.data.sources import READERS, SPLITS, TEST_READERS, Reader, Source, Statistics
from mergesuite.data.stored import Images, kept
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared
from mergesuite.experiment.settings import PLAIN, Other, Preprocess

IN_MEMORY = 1 << 28
"""Bytes up to which the images of files are decoded into memory to be scored, and not into a file:
1,783 images of 224 pixels."""


class Split(NamedTuple):
    """Images uint8 `[n, 3, h, w]` and labels int64 `[n]`."""

    images: Tensor
    labels: Tensor


class Splits:
    """A data set; a split is read when it is first asked for.

    Attributes:
        classes: number of classes.
        source: where the images come from.
    """

    def __init__(
        self, name: str, source: Source, rows: Mapping[str, np.ndarray], seed: int
    ) -> None:
        """The `rows` of each split of `source`; `name` and `seed` go into the manifest."""
        self._name, self.source, self._rows, self._seed = name, source, rows, seed
        self.classes = len(source.classes)

    @functools.cached_property
    def fit(self) -> Split:
        """What networks are trained on."""
        return self.first("fit", None)

    @functools.cached_property
    def search(self) -> Split:
        """What searches score on."""
        return self.first("search", None)

    @functools.cached_property
    def test(self) -> Split:
        """What results are measured on."""
        return self.first("test", None)

    def first(self, split: str, count: int | None) -> Split:
        """The first `count` images of a split, in memory; only these are read."""
        rows, lazy = self._rows[split][:count], self.source.splits[split]
        images = np.ascontiguousarray(lazy.read(rows))
        return Split(torch.from_numpy(images), torch.from_numpy(lazy.labels[rows]))

    def labels(self, split: str) -> Tensor:
        """int64 `(n,)`; no image is read."""
        return torch.from_numpy(self.source.splits[split].labels[self._rows[split]])

    def pictures(self, split: str, leave_out: tuple[int, int] = (0, 0)) -> Pictures:
        """The images of a split batch by batch: from memory, or decoded from files.

        `leave_out`: `(i, k)` is without the i-th image of every k, counted from 1.
        """
        part, parts = leave_out
        rows, lazy = self._rows[split], self.source.splits[split]
        kept = np.arange(len(rows)) % parts != part - 1 if parts else slice(None)
        if lazy.pictures is not None:
            return lazy.pictures(rows[kept])
        images, labels = getattr(self, split)
        return InMemory(images[kept], labels[kept])

    def scored(self, split: str, count: int | None = None) -> Images:
        """The first `count` images of a split (None: all) to score networks on, again and again.

        In memory, or in a file where those of files take more than `IN_MEMORY`: see `stored`.
        """
        rows, lazy = self._rows[split][:count], self.source.splits[split]
        pictures = lazy.pictures(rows) if lazy.pictures else None
        if pictures and pictures.shape.numel() > IN_MEMORY:
            return kept(pictures, self._key(split, pictures.cut, rows))
        whole: Split = getattr(self, split) if count is None else self.first(split, count)
        return whole.images

    def _key(self, split: str, cut: object, rows: np.ndarray) -> str:
        """What decoded images are a result of: the files, which of them, and the code."""
        indices = self.source.splits[split].indices[rows].astype("<i8")
        parts = [self.content, _digest(indices), repr(cut), digests.code("data.ondisk")]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    @functools.cached_property
    def statistics(self) -> Statistics:
        """`mean` and `std`: those that the data set or its `preprocess` gives, else measured."""
        rows, lazy = self._rows["fit"], self.source.splits["fit"]
        if self.source.statistics:
            return self.source.statistics
        if lazy.pictures is None:
            return channel_statistics(self.fit.images)
        pictures = lazy.pictures(rows)
        file = imagefiles.cache() / "statistics" / f"{self._key('fit', pictures.cut, rows)}.json"
        known = sealed.found(file)
        if known is None:  # every fit image is decoded for it
            mean, std = _statistics(pictures.all())
            known = {"mean": mean, "std": std}
            sealed.write(file, known)
        mean, std = known["mean"], known["std"]
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per channel, over the fit split, of values in [0, 1]."""
        return self.statistics[0]

    @property
    def std(self) -> tuple[float, float, float]:
        """Population standard deviation, as `mean`."""
        return self.statistics[1]

    @functools.cached_property
    def content(self) -> str:
        """Twelve hex digits over the checksums of the data set's files; embedded data have none."""
        return hashlib.sha256(repr(sorted(self.source.files.items())).encode()).hexdigest()[:12]

    @property
    def manifest(self) -> dict[str, Any]:
        """JSON values: name, sizes, SHA-256 of the content and the choice of every split, files.

        The content is images and labels; of images in files it is their checksums and labels.
        """
        return {
            "name": self._name,
            "seed": self._seed,
            "classes": list(self.source.classes),
            "sizes": {split: len(rows) for split, rows in self._rows.items()},
            "content": {split: self._content(split) for split in SPLITS},
            "indices": {
                split: _digest(self.source.splits[split].indices[rows].astype("<i8"))
                for split, rows in self._rows.items()
            },
            "files": dict(self.source.files),
        }

    def _content(self, split: str) -> str:
        rows, lazy = self._rows[split], self.source.splits[split]
        labels = lazy.labels[rows].astype("<i8")
        if lazy.pictures is None:
            return _digest(getattr(self, split).images.numpy(), labels)
        sums = list(self.source.files.values())  # in the order that `indices` counts in
        return _digest(np.array([sums[i] for i in lazy.indices[rows]], dtype=np.bytes_), labels)


def root_folder(root: str | Path | None = None) -> Path:
    """Where published data sets are looked for: `root`, else `MERGESUITE_DATA`, else a cache.

    Raises:
        UserError: `MERGESUITE_DATA` names no folder.
    """
    if root is not None:
        return Path(root).expanduser()
    if named := os.environ.get("MERGESUITE_DATA"):
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise UserError(
                f"MERGESUITE_DATA should name a folder with data, found none at {folder}: "
                "correct or unset it"
            )
        return folder
    return imagefiles.cache()


def load(
    name: str,
    root: str | Path | None = None,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    held_out: float | None = None,
    preprocess: Preprocess = PLAIN,
) -> Splits:
    """Load data set `name`: a declared one, or `folder:PATH` / `folder:PATH@SIDE`.

    Args:
        name: a declared name, or an image folder with or without the prefix `folder:`.
        root: folder with published data sets; see `root_folder`.
        sizes: images to keep per split; a split that is not named is kept whole.
        seed: which images a smaller size keeps; a larger size keeps those of a smaller one too.
        held_out: of images in files: what of each class becomes the search split.
        preprocess: of images in files: how they are cut.

    Raises:
        UserError: unknown name, missing or damaged data, an empty class, more images asked for
            than there are, or `held_out` or `preprocess` for images that are not in files.
    """
    reader, known = _reader(name), declared.datasets()
    folder = root_folder(root) if name in known else Path()
    if name not in known or known[name]["files"]:
        source = reader(name, folder, held_out, preprocess)
    elif held_out is not None or preprocess != PLAIN:
        raise UserError(f"held_out and preprocess are for image folders, not {name}: remove them")
    else:
        source = reader(name, folder)
    if held_out is None:
        _check_promise(name, source)
    chosen = {split: _choose(name, split, source, dict(sizes or {}), seed) for split in SPLITS}
    return Splits(name, source, chosen, seed)


def load_test(asked: Other, trained_on: Splits, root: str | Path | None = None) -> Splits:
    """A set to evaluate networks on that were trained on `trained_on`: its `test` split alone.

    Its classes are among those of `trained_on`, in that order.

    Raises:
        UserError: missing or damaged data, or classes that networks were not trained on.
    """
    (module,) = declared.modules(others=(asked.name,))
    file = importlib.import_module(f"mergesuite.{module}")
    known = asked.name in declared.test_sets()
    reader = TEST_READERS[asked.name] if known else file.tested
    source = reader(asked, root_folder(root) if known else Path(), trained_on.source)
    rows = {"test": np.arange(len(source.splits["test"].labels))}
    return Splits(asked.name, source, rows, 0)


def channel_statistics(images: Tensor) -> Statistics:
    """Mean and population standard deviation per channel of uint8 `[n, 3, h, w]`, in [0, 1].

    The sums are of integers and therefore exact: the same floats on every machine.
    """
    return _statistics(images.split(1024))


def _statistics(batches: Iterable[Tensor]) -> Statistics:
    """The same of images batch by batch."""
    total, squares = (
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(3, dtype=torch.int64),
    )
    count = 0
    for block in batches:
        values = block.transpose(0, 1).flatten(1).int()
        total += values.sum(1)
        squares += (values * values).sum(1)
        count += values.shape[1]
    mean = [t / (count * 255) for t in total.tolist()]
    std = [
        (s * count - t * t) ** 0.5 / (count * 255)
        for t, s in zip(total.tolist(), squares.tolist(), strict=True)
    ]
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _reader(name: str) -> Reader:
    """The function that reads `name`."""
    known = declared.datasets()
    if name not in known and not imagefiles.is_folder(name):
        raise UserError(
            f"no data set is called {name!r}{nearest(name, known)}; expected one of "
            f"{', '.join(known)}, or folder:PATH for a folder of images"
        )
    (module,) = declared.modules(data=name)
    file = importlib.import_module(f"mergesuite.{module}")
    return READERS[name] if name in known else file.load


def _check_promise(name: str, source: Source) -> None:
    """A data set that holds another number of images than published is damaged."""
    for split, promised in declared.datasets().get(name, {}).get("splits", {}).items():
        found = len(source.splits[split].labels)
        if found != promised:
            raise UserError(
                f"{name} should have {promised} {split} images, found {found}: "
                "delete the damaged copy and fetch it again"
            )


def _choose(name: str, split: str, source: Source, sizes: dict[str, int], seed: int) -> np.ndarray:
    """The rows of a split to keep, in ascending order."""
    if unknown := set(sizes) - set(SPLITS):
        raise UserError(f"sizes has {sorted(unknown)}: expected only {', '.join(SPLITS)}")
    there = len(source.splits[split].labels)
    wanted = sizes.get(split, there)
    if not 0 < wanted <= there:
        raise UserError(
            f"{name} has {there} {split} images, {wanted} were asked for: "
            f"set the size of {split} to 1..{there}"
        )
    if wanted == there:
        return np.arange(there)
    # The stream does not depend on where a folder lies, only on how many images there are.
    stream = name if name in declared.datasets() else "folder"
    return np.sort(permutation(there, "data", stream, split, "subset", seed)[:wanted])


def _digest(*arrays: np.ndarray) -> str:
    """SHA-256 over the bytes of arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
