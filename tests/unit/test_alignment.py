"""Weight matching: planted orders are found, and what is found is the best by brute force."""

import itertools

import pytest
import torch
from torch import nn

from mergesuite.core.streams import generator
from mergesuite.models import build
from mergesuite.models.alignment import aligned, best_order, inner_products, match
from mergesuite.models.keras_nets import DenseNet, XceptionBlock
from mergesuite.models.permutations import groups, permute

NOISE = 1e-3
IMAGE = (3, 12, 12)


def xception():
    """Both kinds of Xception's blocks, narrow."""
    blocks = XceptionBlock((8, 12, 12), pool=True), XceptionBlock((12, 12, 12, 12), pool=False)
    stem = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))


def chain():
    """Layer after layer, with a map that is flattened."""
    convolutions = nn.Conv2d(3, 7, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(7, 9, 3), nn.ReLU()
    head = nn.Flatten(), nn.Linear(81, 11), nn.ReLU(), nn.Linear(11, 5)
    return nn.Sequential(*convolutions, *head)


MADE = {
    "resnet": lambda: build("resnet8-w8"),
    "torch resnet": lambda: build("resnet8-torch-w8"),
    "spiking": lambda: build("sew-small"),
    "densenet": lambda: DenseNet((2, 3), 5, growth=6),
    "xception": xception,
    "chain": chain,
}


def drawn(module, *names):
    """Weights and statistics of `module` from a stream, all different."""
    rng = generator("alignment test", *names)
    return {
        name: torch.rand(tensor.shape, generator=rng) - (0 if "running_var" in name else 0.5)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in module.state_dict().items()
    }


def shuffled(state, found, *names):
    """The same network with every group in another order."""
    rng = generator("alignment test", "shuffled", *names)
    other = {name: tensor.clone() for name, tensor in state.items()}
    for group in found:
        permute(other, group, torch.randperm(group.size, generator=rng))
    return other


def apart(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture(params=MADE, scope="module")
def made(request):
    with torch.random.fork_rng():
        module = MADE[request.param]()
    return module, drawn(module, request.param), groups(module, IMAGE)


def test_a_planted_order_is_found(made):
    module, state, found = made
    noise = drawn(module, "noise")
    other = shuffled(state, found)
    assert apart(state, other) > 0.5
    noisy = {
        name: tensor + NOISE * noise[name] if tensor.is_floating_point() else tensor
        for name, tensor in other.items()
    }
    result = aligned(module, {"a": state, "b": noisy}, IMAGE)["b"]
    assert apart(result, state) <= 1.01 * NOISE
    exact = aligned(module, {"a": state, "b": other}, IMAGE)["b"]
    assert all(torch.equal(exact[name], state[name]) for name in state)


def test_what_is_aligned_computes_what_it_did(made):
    module, state, _ = made
    other = drawn(module, "other")
    result = aligned(module, {"a": state, "b": other}, IMAGE)
    assert result["a"] is state
    assert apart(result["b"], other) > 0.1
    images = torch.rand(4, *IMAGE, generator=generator("alignment test", "images")).double()
    module.double().eval()
    logits = []
    for weights in (other, result["b"]):
        module.load_state_dict(weights)
        with torch.no_grad():
            logits.append(module(images))
    torch.testing.assert_close(*logits, rtol=1e-8, atol=1e-8)


def test_alignment_is_a_function_of_the_weights(made):
    module, state, _ = made
    states = {"a": state, "b": drawn(module, "b"), "c": drawn(module, "c")}
    before = torch.get_rng_state()
    kept = {name: tensor.clone() for name, tensor in states["b"].items()}
    together = aligned(module, states, IMAGE)
    alone = aligned(module, {"a": state, "c": states["c"]}, IMAGE)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states["b"][name], kept[name]) for name in kept)
    assert all(torch.equal(together["c"][name], alone["c"][name]) for name in state)


def test_identical_parents_stay_as_they_are(made):
    """Dead units too, which are all alike."""
    module, state, _ = made
    dead = {name: tensor.clone() for name, tensor in state.items()}
    for name, tensor in dead.items():
        if tensor.is_floating_point():
            tensor[: len(tensor) // 2] = 0 if "running_var" not in name else 1
    for one in (state, dead):
        result = aligned(module, {"a": one, "b": dict(one)}, IMAGE)["b"]
        assert all(torch.equal(result[name], one[name]) for name in one)


def products(first, second):
    return sum(float((first[name].double() * second[name].double()).sum()) for name in first)


def test_one_group_gets_the_best_of_all_orders():
    with torch.random.fork_rng():
        module = nn.Sequential(nn.Flatten(), nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    (group,) = found = groups(module, (3, 1, 1))
    learnt = {name for name, _ in module.named_parameters()}
    for number in range(5):
        first, second = drawn(module, "first", number), drawn(module, "second", number)

        def by(order, second=second):
            other = {name: tensor.clone() for name, tensor in second.items()}
            permute(other, group, torch.tensor(order))
            return other

        best = max(itertools.permutations(range(6)), key=lambda o: products(first, by(o)))
        assert best_order(inner_products(group.places, first, second)).tolist() == list(best)
        result = match(found, first, second, learnt)
        assert all(torch.equal(result[name], tensor) for name, tensor in by(best).items())


def test_no_single_group_could_be_better(made):
    """A local optimum, and no worse than the beginning."""
    module, state, found = made
    learnt = {name for name, _ in module.named_parameters()}
    other = drawn(module, "other")
    result = aligned(module, {"a": state, "b": other}, IMAGE)["b"]
    first, old, new = ({n: s[n] for n in learnt} for s in (state, other, result))
    assert products(first, new) > products(first, old)
    for group in found:
        places = [place for place in group.places if place.name in learnt]
        table = inner_products(places, state, result)
        gain = table[torch.arange(group.size), best_order(table)].sum() - table.trace()
        assert float(gain) < 1e-4


def test_statistics_move_and_are_not_matched(made):
    module, state, found = made
    other = shuffled(state, found)
    for name in other:
        if "running" in name:
            other[name] *= 100.0 * torch.rand(
                other[name].shape, generator=generator("alignment test", name)
            )
    result = aligned(module, {"a": state, "b": other}, IMAGE)["b"]
    learnt = {name for name, _ in module.named_parameters()}
    assert all(torch.equal(result[name], state[name]) for name in learnt)


class Loop(nn.Module):
    """The input and the output of a convolution are the same units."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.conv(x).relu()).mean((2, 3)))


def test_a_tensor_with_a_group_on_both_axes_is_matched_without_loss():
    with torch.random.fork_rng():
        module = Loop()
    (group,) = groups(module, IMAGE)
    assert sorted(p.axis for p in group.places if p.name == "conv.weight") == [0, 1]
    for number in range(20):
        first, second = drawn(module, "first", number), drawn(module, "second", number)
        result = aligned(module, {"a": first, "b": second}, IMAGE)["b"]
        assert products(first, result) >= products(first, second)
    twin = shuffled(first, [group])
    assert apart(aligned(module, {"a": first, "b": twin}, IMAGE)["b"], first) == 0
