"""Which units of a network may be exchanged without a change of what it computes.

A hidden unit has no place of its own: whoever exchanges two of them, in the weights that make them,
in BatchNorm and in the weights that read them, has the same network (Ainsworth et al. 2023, arXiv
2209.04836, section 2). The traced graph says where each unit is (`units`), so no network has a list
of its own. Units that occur in just the same places, equally often, are a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mergesuite.models.units import FIXED, NOBODY, Labelling, Labels, labelled

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Where units are in a tensor.

    `positions`: `(times, units)` int64, along axis `axis` of entry `name` of the state dict. A unit
    is there more than once where a flattened map or a concatenation holds it several times.
    """

    name: str
    axis: int
    positions: Tensor


@dataclass(frozen=True)
class Group:
    """`size` units that may take each other's places, and all the places that they are in."""

    size: int
    places: tuple[Place, ...]


def groups(module: nn.Module, image: Sequence[int] = (3, 32, 32)) -> list[Group]:
    """The groups of `module`, for inputs of the shape `image`; a unit without any other is in none.

    Grouped convolutions (but for one group per channel) keep the order of their input and divide
    that of their output: what is exchanged in one part of a kernel has no counterpart in another.

    Raises:
        UserError: the network cannot be traced, or does something that is not known here.
    """
    found = labelled(module, image)
    roots = _roots(found)
    group_of = _alike(roots, [*found.seen, *found.axes.values()])
    places: dict[int, list[Place]] = defaultdict(list)
    for (name, axis), labels in found.axes.items():
        units = roots[labels]
        for group in np.unique(group_of[units]):
            if group >= 0:
                at = np.flatnonzero(group_of[units] == group)
                by_unit = at[np.argsort(units[at], kind="stable")]
                positions = by_unit.reshape(len(np.unique(units[at])), -1).T
                places[int(group)].append(Place(name, axis, torch.from_numpy(positions.copy())))
    return [Group(one[0].positions.shape[1], tuple(one)) for _, one in sorted(places.items())]


@torch.no_grad()
def permute(state: State, group: Group, order: Tensor) -> None:
    """Put the units of `group` in another order, in place.

    `order` `(size,)` int64: place i is taken by the unit that was at place `order[i]`.
    """
    for place in group.places:
        if place.name in state:
            tensor = state[place.name]
            to, of = (
                at.flatten().to(tensor.device)
                for at in (place.positions, place.positions[:, order])
            )
            tensor.index_copy_(place.axis, to, tensor.index_select(place.axis, of))


def _roots(found: Labelling) -> Labels:
    """`(labels,)`: the least label of those that are the same as a label."""
    # Imported here: it takes a while, and no other merge needs it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = np.concatenate([np.zeros((2, 0), np.int64), *found.pairs], axis=1)
    joined = coo_array((np.ones(len(a)), (a, b)), shape=(found.count, found.count))
    _, parts = connected_components(joined, directed=False)
    _, least = np.unique(parts, return_index=True)
    return least[parts]


def _alike(roots: Labels, axes: Sequence[Labels]) -> Labels:
    """`(labels,)`: the group of each root, by its least unit; -1 of what is alone, or stays.

    Roots are in one group if they occur in the same `axes` and equally often.
    """
    where: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, labels in enumerate(axes):
        for root, count in zip(*np.unique(roots[labels], return_counts=True), strict=True):
            where[int(root)].append((number, int(count)))
    members: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for root in sorted(where.keys() - {NOBODY, int(roots[FIXED])}):
        members[tuple(where[root])].append(root)
    group_of = np.full(len(roots), -1)
    for units in members.values():
        if len(units) > 1:
            group_of[units] = units[0]
    return group_of
