"""Records: JSON files that end in their own checksum, and hold those of the files beside them.

A run has `run.json`; the tables, hits and figures of a later stage have `NAME.record.json`. Whoever
reads a file that a stage has written checks it against its record first, so a bit that flipped, a
file that was cut short or swapped, and a folder with the files of two runs are errors and never
numbers. A record is written last, and removed before what it describes is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mergesuite.core import store
from mergesuite.errors import UserError

RUN = "run.json"
SUFFIX = ".record.json"
DESCRIBED = ("weights", "files")
"""Keys of a record under which it says name -> SHA-256 of files, relative to its folder."""
MARK = ',\n  "seal": "'


def beside(path: Path) -> Path:
    """The record of a table and what was written with it, or of the files in a folder."""
    return path.with_suffix(SUFFIX)


def write(path: Path, value: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write `value`, which is not empty, as JSON with sorted keys that ends in a seal."""
    text = json.dumps(value, indent=indent, sort_keys=True, allow_nan=False)
    text = text.removesuffix("}").rstrip()
    store.write_text(path, f'{text}{MARK}{_digest(text.encode())}"\n}}\n')


def found(path: Path) -> dict[str, Any] | None:
    """What `write` wrote, without the seal; None where there is no such file, or a damaged one."""
    try:
        text, _, rest = path.read_bytes().rpartition(MARK.encode())
        if rest != f'{_digest(text)}"\n}}\n'.encode():
            return None
        return json.loads(text + b"}")
    except (OSError, ValueError):
        return None


def read(path: Path) -> dict[str, Any]:
    """The same.

    Raises:
        UserError: there is no such file, or its seal is not that of what it says.
    """
    if not path.is_file():
        raise UserError(f"no {path}: what belongs to it is not finished; run its stage again")
    value = found(path)
    if value is None:
        raise UserError(
            f"{path} is damaged, or of an older mergesuite (its seal is not that of what it says): "
            f"delete {path} and run its stage again"
        )
    return value


def check(record: Path, only: Collection[str] = ()) -> dict[str, Any]:
    """The record, once the files that it describes are the ones that it describes.

    `only` names those that matter; without it all do.

    Raises:
        UserError: the record is missing or damaged, or a file is missing or another one.
    """
    value = read(record)
    for fault in faults(record, value, only):
        raise UserError(fault)
    return value


def faults(record: Path, value: Mapping[str, Any], only: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with each file that a record describes, and what to delete."""
    recorded = described(value)
    for name in only or recorded:
        file = record.parent / name
        again = record.parent if record.name == RUN else file
        mend = f"delete {again} and run its stage again"
        if name not in recorded:
            yield f"{record} knows nothing of {name}: {mend}"
        elif not file.is_file():
            yield f"{file} is missing, and {record} describes it: {mend}"
        elif (there := store.sha256(file)) != recorded[name]:
            yield (
                f"{file} is not the file that {record} describes (SHA-256 {there[:12]}, recorded "
                f"{recorded[name][:12]}): {mend}"
            )


def described(value: Mapping[str, Any]) -> dict[str, str]:
    """Name -> SHA-256 of every file that a record describes."""
    return {name: sha for key in DESCRIBED for name, sha in value.get(key, {}).items()}


@contextlib.contextmanager
def describing(record: Path) -> Iterator[Callable[[Path], Path]]:
    """A function for each file that the block writes, which gives its path back.

    The record of these files is there when the block has ended well.
    """
    written: list[Path] = []

    def to_write(file: Path) -> Path:
        written.append(file)
        return file

    with contextlib.suppress(OSError):  # where it cannot be removed, the block cannot write either
        record.unlink()
    yield to_write
    sums = {file.relative_to(record.parent).as_posix(): store.sha256(file) for file in written}
    write(record, {"files": sums})


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
