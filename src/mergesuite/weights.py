"""One flat float vector per network: what of the state dict evolves, and in which order.

The vector holds the declared part of `module.state_dict()` in its own order. Integer entries
(BatchNorm's batch counters) are never part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from mergesuite.errors import UserError

PARTS = ("parameters", "parameters+statistics")


class WeightSpace:
    """The layout of one network's weights as a vector of `dim` numbers.

    Attributes:
        dim: length d of a vector.
        names: state-dict keys in order.
        sizes: number of elements of each.
        statistics: `(d,)` bool, the coordinates that are BatchNorm statistics.
        variances: `(d,)` bool, the running variances among them.
    """

    def __init__(self, module: nn.Module, part: str = "parameters") -> None:
        """Lay out `part` of `module`: "parameters" or "parameters+statistics".

        Raises:
            UserError: any other part.
        """
        if part not in PARTS:
            raise UserError(f"unknown part {part!r} of a state dict: use {' or '.join(PARTS)}")
        self.part = part
        parameters = {name for name, _ in module.named_parameters()}
        self._shapes = {
            name: tuple(tensor.shape)
            for name, tensor in module.state_dict().items()
            if name in parameters or (part == PARTS[1] and tensor.is_floating_point())
        }
        self.names = list(self._shapes)
        self.sizes = [prod(shape) for shape in self._shapes.values()]
        self.dim = sum(self.sizes)
        self.statistics = self._where(lambda name: name not in parameters)
        self.variances = self._where(lambda name: name.endswith("running_var"))

    def _where(self, holds) -> Tensor:
        return torch.cat(
            [
                torch.full((size,), bool(holds(name)))
                for name, size in zip(self.names, self.sizes, strict=True)
            ]
        )

    def flatten(self, state_dict: Mapping[str, Tensor]) -> Tensor:
        """The vector `(d,)` of a state dict, a copy.

        Raises:
            UserError: an entry is missing, has another shape, or is not finite.
        """
        check_fit(state_dict, self._shapes)
        parts = [state_dict[name].detach().reshape(-1).to(torch.float32) for name in self.names]
        return torch.cat(parts)

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """The entries of a vector `(d,)`, as views into it."""
        return {
            name: part.view(shape)
            for (name, shape), part in zip(
                self._shapes.items(), vector.split(self.sizes), strict=True
            )
        }

    def load(self, module: nn.Module, vector: Tensor) -> None:
        """Copy a vector into a module; what is not in the vector stays as it is."""
        self.fill(self.entries(module), vector)

    def entries(self, module: nn.Module) -> list[Tensor]:
        """A module's own tensors that a vector goes into, for `fill`."""
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return [own[name] for name in self.names]

    @torch.no_grad()
    def fill(self, entries: Sequence[Tensor], vector: Tensor) -> None:
        """Copy a vector into the `entries` of a module."""
        for entry, part in zip(entries, vector.split(self.sizes), strict=True):
            entry.copy_(part.view(entry.shape))

    def clamp(self, vectors: Tensor) -> Tensor:
        """Running variances of `(n, d)` or `(d,)` lifted to zero, in place."""
        if bool(self.variances.any()):
            values = vectors[..., self.variances]
            if bool((values < 0).any()):
                vectors[..., self.variances] = values.clamp_min(0)
        return vectors


def check_fit(
    state_dict: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    weights: str = "the weights",
    model: str = "this model",
) -> None:
    """Refuse a state dict that cannot be that of a network; what is in it beside is not looked at.

    Args:
        state_dict: what is given.
        shapes: the entries that the network needs.
        weights: what an error calls the given (plural).
        model: what it calls the network.

    Raises:
        UserError: an entry is missing, has another shape, or is not finite.
    """
    for name, shape in shapes.items():
        if name not in state_dict:
            raise UserError(
                f"{weights} lack {name!r} {shape} of {model}: "
                "give the model and the data they were trained with"
            )
        tensor = state_dict[name]
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{weights}: {name!r} has shape {tuple(tensor.shape)}, that of {model} is {shape}: "
                "parents must be of that model and data"
            )
        _check_finite(tensor, name, weights)


NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored as; whole numbers and truth values are no weights."""
COUNTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""What BatchNorm's counters may be stored as too; no result depends on them."""


def as_stored(
    state_dict: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    weights: str = "the weights",
) -> dict[str, Tensor]:
    """Those entries that a network has too, in the kind of number that it has them in.

    Args:
        state_dict: what is given; `check_fit` has looked at the shapes.
        expected: the network's own entries.
        weights: what an error calls the given (plural).

    Raises:
        UserError: an entry is stored as another kind of number, or is not finite in the network's,
            or a variance is below zero.
    """
    found: dict[str, Tensor] = {}
    for name, own in expected.items():
        if name not in state_dict:
            continue
        tensor = state_dict[name]
        counts = not own.is_floating_point() and tensor.dtype in COUNTS
        if tensor.dtype not in NUMBERS and not counts:
            raise UserError(
                f"{weights}: {name!r} is stored as {_plain(tensor)}, and should be "
                f"{_plain(own)}: save the network's own state_dict()"
            )
        found[name] = tensor.to(own.dtype)
        # Of 64 bits not each is finite in 32; of a counter none is infinite once it is whole.
        _check_finite(found[name] if own.is_floating_point() else tensor, name, weights)
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise UserError(
                f"{weights}: {name!r} holds negative variances, of which no network has a score: "
                "clamp them to zero or re-estimate them, or leave it out"
            )
    return found


def _plain(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_finite(tensor: Tensor, name: str, weights: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(
            f"{weights}: {name!r} holds NaN or infinite values: that network diverged, leave it out"
        )


def check_same(state_dicts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Refuse parents that do not fit each other; keys of `state_dicts` are their file names.

    Raises:
        UserError: two differ in an entry or its shape, or two are the same network.
    """
    first, *others = state_dicts
    reference = state_dicts[first]
    for name in others:
        other = state_dicts[name]
        odd = sorted(reference.keys() ^ other.keys())
        if odd:
            raise UserError(
                f"{first} and {name} are different networks: only one has {odd[0]!r}; "
                "merge networks of one architecture"
            )
        for key, tensor in reference.items():
            if tensor.shape != other[key].shape:
                raise UserError(
                    f"{key!r} is {tuple(tensor.shape)} in {first} but {tuple(other[key].shape)} "
                    f"in {name}: merge networks of one architecture"
                )
    names = list(state_dicts)
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            a, b = state_dicts[left], state_dicts[right]
            if all(torch.equal(a[k], b[k]) for k in a if a[k].is_floating_point()):
                raise UserError(f"{left} and {right} hold the same weights: give different parents")
