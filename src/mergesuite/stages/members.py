"""The networks in a result: one, or the members of an ensemble stacked in one file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mergesuite.core import store
from mergesuite.errors import UserError


def members_of(file: Path) -> tuple[list[dict[str, Tensor]], str]:
    """The state dicts in a result's file, and how they are combined.

    An ensemble is stored as tensors with a leading axis of members.

    Raises:
        UserError: the file is unreadable, or does not hold the members that it says.
    """
    tensors = store.load_weights(file)
    metadata = store.read_metadata(file)
    said = metadata.get("members", "0")
    if said == "0":
        return [tensors], "single"
    count = int(said) if said.isdecimal() and len(said) < 6 else 0
    if (
        not count
        or "combine" not in metadata
        or any(t.shape[:1] != (count,) for t in tensors.values())
    ):
        raise UserError(f"{file} does not hold the {said} members that it says: make it again")
    return [
        {name: tensor[i].clone() for name, tensor in tensors.items()} for i in range(count)
    ], metadata["combine"]


def stacked(
    members: list[dict[str, Tensor]], rule: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What is stored of a result, and its metadata: one network as it is, several stacked."""
    if rule == "single":
        return members[0], {}
    tensors = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    return tensors, {"members": str(len(members)), "combine": rule}
