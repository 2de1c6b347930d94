"""Which test images each result gets right: kept by `evaluate` and `collect` for `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mergesuite.core import store, weightfiles
from mergesuite.errors import UserError

Key = tuple[str, int, str]
"""Subject, seed and BatchNorm treatment."""
Hits = dict[Key, NDArray[np.uint8]]
"""A bit per test image as `numpy.packbits` packs them: the last byte is filled up with zeros."""

SUFFIX = ".hits.safetensors"


def beside(table: Path) -> Path:
    """The file with the hits that belong to a table of metrics."""
    return table.with_suffix(SUFFIX)


def write(table: Path, hits: Hits) -> None:
    """Keep hits beside the table of metrics that they belong to."""
    named = {"/".join(map(str, key)): bits for key, bits in hits.items()}
    with store.whole(beside(table)) as temporary:
        temporary.write_bytes(save(named))


def read(table: Path) -> Hits:
    """The hits beside a table of metrics; none where none were kept.

    Raises:
        UserError: the file is damaged.
    """
    file = beside(table)
    if not file.is_file():
        return {}
    weightfiles.check(file)
    try:
        packed = load_file(file)
        return {_key(name): _bits(packed[name]) for name in packed}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is not a whole file of hits ({error}): delete it, evaluate again"
        ) from None


def _key(name: str) -> Key:
    subject, seed, treatment = name.split("/")
    return subject, int(seed), treatment


def _bits(found: NDArray[Any]) -> NDArray[np.uint8]:
    """What is packed.

    Raises:
        ValueError: these are no bits of one row of images.
    """
    if found.dtype != np.uint8 or found.ndim != 1:
        raise ValueError(f"bits are stored as {found.dtype} in {found.ndim} dimensions")
    return found
