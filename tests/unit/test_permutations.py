"""Which units may be exchanged: judged by what the network computes, and by hand on small ones."""

import re
from collections import Counter

import pytest
import torch
from torch import nn

from mergesuite.core.streams import generator
from mergesuite.errors import UserError
from mergesuite.models import build, names
from mergesuite.models.batchnorm import reestimate
from mergesuite.models.permutations import groups, permute

FOREIGN = (
    "timm:resnet10t", "torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_1",
    "torchvision:mobilenet_v3_small", "torchvision:resnext50_32x4d",
)  # fmt: skip


def small(name):
    """A narrow network of the same build, where there is one."""
    return f"{name}-w4" if re.fullmatch(r"(resnet|sew-)(?!.*-w\d).*", name) else name


NETWORKS = [small(name) for name in names() if name != "densenet169-mega"]
"""All of ours, but for one that is another of these with more blocks, and takes seconds."""


def shaken(module, *names):
    """The network in float64, with no two units alike, nor any at a special value."""
    rng = generator("permutations", *names)
    module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=rng, dtype=tensor.dtype))
            elif tensor.is_floating_point():
                tensor += 0.1 * torch.randn(tensor.shape, generator=rng, dtype=tensor.dtype)
    return module.eval()


def shuffle(module, found):
    """Every group in another order, in place."""
    rng = generator("permutations", "shuffle")
    for group in found:
        permute(module.state_dict(), group, torch.randperm(group.size, generator=rng))


def logits(module, images):
    with torch.no_grad():
        return module(images.double() / 255)


@pytest.mark.parametrize("name", [*NETWORKS, *FOREIGN])
def test_permuted_networks_compute_the_same(name):
    module = shaken(build(name), name)
    images = torch.randint(
        256, (6, 3, 32, 32), dtype=torch.uint8, generator=generator("permutations", "images")
    )
    found = groups(module)
    as_it_was = {key: value.clone() for key, value in module.state_dict().items()}
    before = [logits(module, images)]
    reestimate(module, images, normalise=lambda x: x.double() / 255)
    before.append(logits(module, images))

    module.load_state_dict(as_it_was)
    shuffle(module, found)
    after = [logits(module, images)]
    reestimate(module, images, normalise=lambda x: x.double() / 255)
    after.append(logits(module, images))

    torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-8)
    assert before[1].std(0).max() > 1e-3  # images make a difference, so weights do


@pytest.mark.parametrize("name", NETWORKS)
def test_no_hidden_unit_is_left_out(name):
    module = build(name)
    covered = Counter()
    for group in groups(module):
        for place in group.places:
            covered[place.name, place.axis] += place.positions.numel()
            assert place.positions.shape[1] == group.size
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    expected = Counter()
    for layer, made in layers:
        weight = made.weight
        if not layer.endswith(("fc", "linear")):
            expected[f"{layer}.weight", 0] = weight.shape[0]
            if made.bias is not None:
                expected[f"{layer}.bias", 0] = weight.shape[0]
        if weight.shape[1] not in (1, 3):  # one channel of a depthwise kernel, or pixels
            expected[f"{layer}.weight", 1] = weight.shape[1]
    for norm, made in module.named_modules():
        if isinstance(made, nn.BatchNorm2d):
            for key in ("weight", "bias", "running_mean", "running_var"):
                expected[f"{norm}.{key}", 0] = made.num_features
    assert covered == expected


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # Of each stage what flows along the shortcuts, and what is inside of its only block.
        ("resnet8", [16, 16, 32, 32, 64, 64]),
        # Channels padded with zeros: those of the stage before stay with it, new ones are apart.
        ("resnet8-torch", [16, 16, 32, 16, 64, 32]),
        ("sew-small", [8, 8, 16, 16, 32, 32]),
    ],
)
def test_groups_are_those_worked_out_by_hand(name, sizes):
    assert [group.size for group in groups(build(name))] == sizes


def test_each_layer_of_a_dense_block_is_a_group_of_its_own():
    """DenseNet121: the stem, in each of 58 layers a bottleneck and what it adds, 3 transitions."""
    found = groups(build("densenet121-mega"))
    assert Counter(group.size for group in found) == {
        64: 1, 128: 58 + 1, 32: 58, 256: 1, 512: 1,
    }  # fmt: skip


def test_a_flattened_map_holds_each_channel_as_often_as_it_has_pixels():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    (group,) = groups(module, (3, 4, 4))
    at = {(place.name, place.axis): place.positions for place in group.places}
    assert at["2.weight", 1].T.tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
        [12, 13, 14, 15],
    ]
    assert at["0.weight", 0].tolist() == at["0.bias", 0].tolist() == [[0, 1, 2, 3]]


class Halves(nn.Module):
    """Half of the units take another way than the other half, without weights."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.first(x.mean((2, 3)))
        return self.last(torch.cat([x[:, :3].relu(), x[:, 3:].tanh()], 1))


def test_units_that_go_another_way_are_another_group():
    assert [group.size for group in groups(Halves())] == [3, 3]


class PaddedNorm(nn.Module):
    """Zeros beside units get values of their own from BatchNorm, and are added to units."""

    def __init__(self):
        super().__init__()
        self.conv, self.more = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1)
        self.bn, self.last = nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.conv(x)
        padded = self.bn(nn.functional.pad(x, (0, 0, 0, 0, 0, 4)))
        return self.last((padded + self.more(x)).mean((2, 3)))


def test_zeros_that_get_weights_of_their_own_stay_in_their_place():
    module = shaken(PaddedNorm(), "padded")
    images = torch.randint(256, (4, 3, 5, 5), generator=generator("permutations", "padded"))
    before = logits(module, images)
    found = groups(module, (3, 5, 5))
    shuffle(module, found)
    torch.testing.assert_close(logits(module, images), before)
    assert [group.size for group in found] == [4]


class Branching(nn.Module):
    """What it does depends on what it sees."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Attention(nn.Module):
    """Products over all units, which no order is known to pass."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x.mean((2, 3))).softmax(1))


class Scaled(nn.Module):
    """A parameter that is in no layer."""

    def __init__(self):
        super().__init__()
        self.first, self.scale = nn.Linear(3, 4), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.first(x.mean((2, 3))) * self.scale


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Branching(), "Branching cannot be traced"),
        (Attention(), "'softmax'"),
        (Scaled(), "'scale'"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(32, 2)), "several units"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_what_cannot_be_followed_is_an_error(module, words):
    module.train()
    with pytest.raises(UserError, match=words) as caught:
        groups(module)
    assert "parents: aligned" in str(caught.value)
    assert all(part.training for part in module.modules())
