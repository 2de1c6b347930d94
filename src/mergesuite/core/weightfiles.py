"""What a file of weights says of itself, looked at before anything is allocated for it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergesuite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER = 1 << 22
"""Bytes of a header, of safetensors or of a pickle: names and shapes of some 40,000 entries."""
SPARE = 1 << 26
"""Bytes that a file may have beside weights."""
TIMES = 8
"""How often what a network needs: 64 bits for 32, and the state of an optimiser in a `.pt`."""


def most_bytes(expected: Mapping[str, Tensor]) -> int:
    """How large a file may be that holds a network with the entries `expected`."""
    return TIMES * sum(tensor.nbytes for tensor in expected.values()) + SPARE


def check(path: Path, most: int | None = None) -> None:
    """Refuse a file that is larger than `most` bytes, or says that it unpacks to more than it is.

    Raises:
        UserError: it is one of these, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if most is not None and size > most:
            raise UserError(
                f"{path} has {size:,} bytes, more than {most:,}, {TIMES} times what this model "
                "needs: give the model it is of, or save its state_dict() alone"
            )
        if path.suffix in {".pt", ".pth"}:
            _check_archive(path, size)
        else:
            _check_header(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _check_header(path: Path) -> None:
    """The first eight bytes of safetensors are the length of the header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise UserError(
            f"{path} is not a whole safetensors file (a header of {length:,} bytes, "
            f"{MOST_HEADER:,} at most): fetch or make it again"
        )


def _check_archive(path: Path, size: int) -> None:
    """What `torch.save` writes is a zip file whose parts are stored as they are, or no zip file."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is no whole file of torch.save ({error}): save it again") from None
    unpacked = sum(part.file_size for part in parts)
    pickled = max((p.file_size for p in parts if p.filename.endswith(".pkl")), default=0)
    if unpacked > size or pickled > MOST_HEADER:
        raise UserError(
            f"{path} was refused: it unpacks to {unpacked:,} bytes, and is {size:,}; torch.save "
            "packs nothing: save its state_dict() with safetensors"
        )


def check_entries(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The entries of a state dict that came out of a pickle.

    Raises:
        UserError: a name is no text, or a tensor is not made of as many numbers as it has.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if not isinstance(name, str):
            raise UserError(f"{path} was refused: an entry is called {name!r}, which is no text")
        plain = str(tensor.layout) == "torch.strided" and not tensor.is_quantized
        if not plain or tensor.is_meta or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{path} was refused: {name!r} is no plain tensor (sparse, quantised, without "
                "numbers or one number expanded): save a plain state_dict()"
            )
        found[name.removeprefix("module.")] = tensor.detach()
    return found
