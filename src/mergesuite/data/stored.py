"""Decoded images in one file: as much of a tensor as scoring needs, without the memory.

A search scores the same images for every candidate, and `evaluate` for every network. They are
decoded once, into a file of raw pixels in the cache, whose size is said before it is made where it
is large. The next search that needs the same images takes the same file; what was used longest ago
is removed where there is no room for a new one.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mergesuite.core import imagefiles, store, writing
from mergesuite.core.progress import log
from mergesuite.core.runtime import give_back_memory
from mergesuite.errors import MachineError, refused

SUFFIX = ".pixels"
READ = 1 << 28
"""Bytes after which freed memory is given back: blocks of many sizes leave gaps in what is kept."""
SPARE = 1 << 26
"""Bytes that are left free on the disk."""

SAID = 1 << 28
"""Bytes from which a new file is announced."""

Change = Callable[[Tensor, Tensor], Tensor]
"""From images and their indexes to what is seen of them."""


class Stored:
    """uint8 images `(n, 3, h, w)` in a file that is mapped into memory, read batch by batch."""

    def __init__(self, file: Path, shape: torch.Size) -> None:
        """The first bytes of `file` are the pixels of images of this `shape`."""
        with file.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), math.prod(shape), access=mmap.ACCESS_READ)
        self._pixels = np.frombuffer(self._map, np.uint8).reshape(shape)
        self._read = 0
        self._rows: Tensor | None = None
        self._change: Change | None = None
        self.shape = shape

    def __len__(self) -> int:
        """How many there are."""
        return self.shape[0]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The images at `index` `(k,)`, on any device, as uint8 `(k, 3, h, w)` on the CPU."""
        if dim:
            raise ValueError("images are taken by the first dimension")
        index = index.cpu()
        rows = index if self._rows is None else self._rows[index]
        images = torch.from_numpy(self._pixels.take(rows.numpy(), axis=0))
        # Pages that were read stay in the system's cache, but not in this process's memory.
        self._map.madvise(mmap.MADV_DONTNEED)
        self._read += images.nbytes
        if self._read > READ:
            self._read = 0
            give_back_memory()
        return images if self._change is None else self._change(images, index)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images, so many at a time."""
        return self._parts(torch.arange(len(self)).split(size))

    def tensor_split(self, sections: int) -> Iterator[Tensor]:
        """All images in so many parts, as `torch.tensor_split` divides them."""
        return self._parts(torch.arange(len(self)).tensor_split(sections))

    def _parts(self, indexes: tuple[Tensor, ...]) -> Iterator[Tensor]:
        return (self.index_select(0, index) for index in indexes)

    def drawn(self, rows: Tensor | None, change: Change) -> Stored:
        """The images at `rows` `(k,)`, or all, each changed when it is read."""
        other = object.__new__(Stored)
        other._map, other._pixels = self._map, self._pixels
        other._read, other._rows, other._change = 0, rows, change
        count = len(self) if rows is None else len(rows)
        other.shape = torch.Size((count, *self.shape[1:]))
        return other


Images = Tensor | Stored
"""Images to score networks on."""


class Made(Protocol):
    """Images that are decoded, or composed, when they are asked for."""

    shape: torch.Size

    def all(self) -> Iterator[Tensor]:
        """All of them, uint8, batch by batch."""
        ...


def kept(made: Made, key: str) -> Stored:
    """The images of `made` in the cache's file `key`, written where it is not there whole.

    `key` says which images they are, and by what code they are made.

    Raises:
        UserError: the disk has no room for them.
    """
    file = folder() / f"{key}{SUFFIX}"
    size = math.prod(made.shape)
    try:
        with writing.alone(file):
            if not (file.is_file() and file.stat().st_size > size and store.is_sealed(file)):
                writing.sweep(file)
                _make_room(file, size, made.shape[0])
                _write(file, made)
            os.utime(file)
            return Stored(file, made.shape)
    except OSError as error:
        raise refused(
            f"cannot keep decoded images in {file.parent} ({error.strerror or error}): name a "
            "folder that can be written in MERGESUITE_CACHE",
            error,
        ) from None


def folder() -> Path:
    """Where the files are."""
    return imagefiles.cache() / "pixels"


def _make_room(file: Path, size: int, count: int) -> None:
    """Remove files that were used longest ago until there is room for `size` bytes more.

    A process that reads such a file goes on reading it: its space is free when that ends.
    """
    said = f"{count:,} decoded images in {file}: {size / 1e9:.2f} GB"
    others = sorted(file.parent.glob(f"*{SUFFIX}"), key=lambda other: other.stat().st_mtime)
    free = 0
    for other in [*others, None]:
        free = shutil.disk_usage(file.parent).free
        if free >= size + SPARE:
            if size >= SAID:
                log(said)
            return
        if other:
            other.unlink(missing_ok=True)
            log(f"{other} removed to make room")
    raise MachineError(
        f"{said}, and there are {free / 1e9:.2f} GB free: free some space, or name a larger disk's "
        "folder in MERGESUITE_CACHE"
    )


def _write(file: Path, made: Made) -> None:
    """Write pixels and, last, their SHA-256."""
    digest = hashlib.sha256()
    with store.whole(file) as temporary, temporary.open("wb") as out:
        for images in made.all():
            block = images.numpy().data
            out.write(block)
            digest.update(block)
        out.write(digest.digest())
