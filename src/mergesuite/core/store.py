"""Reading and writing files. Only this module writes results, each whole: see `writing`."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergesuite.core import weightfiles
from mergesuite.core.writing import whole
from mergesuite.errors import UserError, of_machine, refused

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, without the cost of importing pandas; floats keep every digit.

    The header is `columns` and then every other key, in the order in which rows first have it.
    """
    header = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors and read the file back before it takes its name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    with whole(path) as temporary:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        # One entry: safetensors writes several in an order that differs from process to process.
        described = json.dumps(dict(metadata or {}), sort_keys=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(contiguous, temporary, {"mergesuite": described})
        except SafetensorError as error:
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise OSError(number, os.strerror(number)) from None
        temporary.chmod(mode)  # safetensors writes for the owner alone, whatever the umask
        if load_file(temporary).keys() != contiguous.keys():
            raise OSError(f"{temporary} did not read back as written")


def load_weights(path: Path, most: int | None = None) -> dict[str, Tensor]:
    """Read a checkpoint: safetensors, or a state dict in a `.pt`/`.pth` without code in it.

    `most`: bytes that it may have; see `weightfiles.most_bytes`.

    Raises:
        UserError: the file is missing, cut short, too large, holds code, or holds no state dict.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: check the path")
    weightfiles.check(path, most)
    if path.suffix in {".pt", ".pth"}:
        return _load_pickled(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise refused(f"cannot read {path}: {error.strerror or error}", error) from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}): fetch or make it again"
        ) from None


def read_metadata(path: Path) -> dict[str, str]:
    """What `save_weights` was told beside the tensors; nothing for a file of another program.

    Raises:
        UserError: it was changed since.
    """
    from safetensors import safe_open

    weightfiles.check(path)
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get("mergesuite", "{}")
    try:
        known = json.loads(said)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise UserError(f"{path}: its metadata are not ours and not whole: make it again")
    return {str(key): str(value) for key, value in known.items()}


def _load_pickled(path: Path) -> dict[str, Tensor]:
    """A state dict out of a file of `torch.save`, code refused."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # over damaged or hostile bytes the unpickler raises what it likes
        if failure := of_machine(error):
            raise failure from None
        reason = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise UserError(
            f"{path} was refused: {reason}. Only tensors are read from .pt files; "
            "save its state_dict() with safetensors"
        ) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise UserError(f"{path} holds no state dict: save model.state_dict() with safetensors")
    return weightfiles.check_entries(path, content)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a transient state for `load_state`: tensors, numbers, strings and containers."""
    import torch

    with whole(path) as temporary:
        with temporary.open("wb") as file:
            try:
                torch.save(dict(state), file)
            except RuntimeError as error:  # of an archive that ends early: the file said why
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
        seal = bytes.fromhex(sha256(temporary))
        with temporary.open("ab") as file:
            file.write(seal)


def load_state(path: Path, key: str, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """A state that an interrupted run with the same `key` left, or None.

    What was saved from a GPU comes back on `device`, the rest on the CPU. A state of another spec
    or other code is not continued, and a damaged one is not trusted: the run then starts again.
    """
    import pickle

    import torch

    def placed(storage: Any, place: str) -> Any:
        where = place if place == "cpu" else str(device)
        return torch.serialization.default_restore_location(storage, where)

    if not path.is_file() or not is_sealed(path):
        return None
    try:
        state = torch.load(path, map_location=placed, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        if failure := of_machine(error):  # to begin again would replace a good state
            raise failure from None
        return None
    return state if isinstance(state, dict) and state.get("key") == key else None


def is_sealed(path: Path) -> bool:
    """Whether a file ends in the SHA-256 of what comes before: a bit may flip in any other."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - digest.digest_size
        while left > 0:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
        return file.read() == digest.digest()


def copy(source: Path, target: Path) -> None:
    """Write a file as it is."""
    with whole(target) as temporary:
        shutil.copyfile(source, temporary)
