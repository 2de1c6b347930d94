"""Weight matching (Git Re-Basin): parents whose units are put in the order of the first one's.

Source: Ainsworth, Hayase and Srinivasa 2023, arXiv 2209.04836, section 3.2 and algorithm 1. What is
permuted comes from the traced graph (`permutations`). What the text leaves open, and where this
differs:

* BatchNorm's running statistics move with their units and take no part in the matching: they are
  what the weights do to images, on a scale of their own. Its weight and bias take part.
* A tensor that has one group on two axes is no linear assignment. It is matched as if the other
  axis stood still, and the order is taken only if the whole sum of products really rises.
* More than two parents are each matched to the first. The authors' algorithm 3 matches each to the
  mean of all others until nothing changes; here the first parent stays the network that it is, and
  how the second is matched does not depend on who else is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mergesuite.core import streams
from mergesuite.models.permutations import Group, Place, groups, permute

State = Mapping[str, Tensor]

TOLERANCE = 1e-7
"""A new order must raise a group's sum of products by this share of the most that it could be; what
is below may be rounding of float32 weights."""


def aligned(
    module: nn.Module, states: Mapping[str, State], image: Sequence[int]
) -> dict[str, State]:
    """State dicts of `module`, each but the first with its units in the order of the first one's.

    Every one computes what it did, up to the rounding of sums in another order; one that is the
    first already stays as it is, to the bit. It costs time, and no forward pass. No seed takes
    part: the same parents are aligned alike for all methods that are compared.

    Args:
        module: a network of this architecture; its weights do not matter.
        states: whole state dicts by name.
        image: the shape of one input.

    Raises:
        UserError: it is not known which units of the network may be exchanged.
    """
    found = groups(module, image)
    learnt = {name for name, _ in module.named_parameters()}
    first, *others = states
    return {
        first: states[first],
        **{name: match(found, states[first], states[name], learnt) for name in others},
    }


@torch.no_grad()
def match(
    found: Sequence[Group], target: State, state: State, learnt: set[str]
) -> dict[str, Tensor]:
    """A copy of `state` with its units in an order in which it is close to `target`.

    Coordinate descent: one group after another, in random order, takes the best order given that of
    all others, until none improves. (One whose weights have not changed since is not asked again.)
    It ends in a local optimum; to find the best of all is NP-hard (lemma 1 of the paper).

    Args:
        found: the groups of the network.
        target: entries of the state dict that stays as it is.
        state: entries of the one that is permuted.
        learnt: names of the entries whose products are counted.
    """
    rng = streams.generator("alignment")
    result = {name: tensor.clone() for name, tensor in state.items()}
    names = [{place.name for place in group.places} & learnt for group in found]
    waiting = set(range(len(found)))
    while waiting:
        for number in torch.randperm(len(found), generator=rng).tolist():
            if number not in waiting:
                continue
            waiting.remove(number)
            if _improve(found[number], target, result, learnt):
                waiting |= {i for i, other in enumerate(names) if other & names[number]}
    return result


def _improve(group: Group, target: State, state: dict[str, Tensor], learnt: set[str]) -> bool:
    """Give a group its best order, in place; whether that raised its sum of products."""
    places = [place for place in group.places if place.name in learnt]
    names = [place.name for place in places]
    products = inner_products(places, target, state)
    order = best_order(products)
    gain = float(products[torch.arange(group.size), order].sum() - products.trace())
    scale = sum(
        float(target[n].double().norm() * state[n].double().norm()) for n in dict.fromkeys(names)
    )
    if len(set(names)) < len(names):
        gain = _real_gain(group, order, target, {name: state[name] for name in names})
    if gain <= TOLERANCE * scale:
        return False
    permute(state, group, order)
    return True


def inner_products(places: Sequence[Place], target: State, state: State) -> Tensor:
    """`(size, size)` float64: of all weights of unit i of `target` and of unit j of `state`."""
    size = places[0].positions.shape[1]
    products = torch.zeros(size, size, dtype=torch.float64)
    for place in places:
        for at in place.positions:
            to, of = (_rows(one[place.name], place.axis, at) for one in (target, state))
            products += (to @ of.T).cpu()
    return products


def best_order(products: Tensor) -> Tensor:
    """`(size,)`: the linear assignment in section 3.2, which unit to put at each place."""
    # Imported here: it takes a while, and no other merge needs it.
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(products.numpy(), maximize=True)[1])


def _rows(tensor: Tensor, axis: int, at: Tensor) -> Tensor:
    """`(size, rest)` float64: what `tensor` holds of each unit."""
    rows = tensor.index_select(axis, at.to(tensor.device)).movedim(axis, 0)
    return rows.reshape(len(at), -1).double()


def _real_gain(group: Group, order: Tensor, target: State, state: State) -> float:
    """By how much an order raises the sum of products where a tensor has the group on two axes."""
    new = {name: tensor.clone() for name, tensor in state.items()}
    permute(new, group, order)
    return sum(
        float((target[name].double() * (new[name].double() - old.double())).sum())
        for name, old in state.items()
    )
