"""What every network of the suite must do, whatever its family."""

import copy

import pytest
import torch
from torch.optim.swa_utils import update_bn

from mergesuite.core import streams
from mergesuite.models import batchnorm, build, names

NAMES = [*names(), "timm:resnet18", "torchvision:shufflenet_v2_x0_5"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_construction_is_a_function_of_the_generator(name):
    first = build(name, generator=streams.generator("test", 1))
    again = build(name, generator=streams.generator("test", 1))
    other = build(name, generator=streams.generator("test", 2))
    assert same(first, again)
    assert not same(first, other)
    assert all(torch.isfinite(value).all() for value in first.state_dict().values())


def test_construction_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    build(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_logits_have_one_column_per_class_and_weights_carry_over(name):
    net = build(name, classes=7).eval()
    twin = build(name, classes=7, generator=streams.generator("test", "twin")).eval()
    x = torch.rand(2, 3, 32, 32, generator=streams.generator("test", "images"))
    with torch.no_grad():
        logits = net(x)
        twin.load_state_dict(copy.deepcopy(net.state_dict()))
        assert torch.equal(twin(x), logits)
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


def test_statistics_are_part_of_the_state_dict(name):
    net = build(name)
    assert batchnorm.has_batchnorm(net)
    assert set(batchnorm.statistics_names(net)) == {
        key for key in net.state_dict() if key.endswith(("running_mean", "running_var"))
    }


def test_statistics_are_those_of_torch_in_training_mode(name):
    """To the last bit, but where layers of few channels are in channels-last memory."""
    net = build(name)
    images = torch.randint(
        256, (3, 3, 32, 32), dtype=torch.uint8, generator=streams.generator("test", "statistics")
    )
    theirs = copy.deepcopy(net)
    update_bn([images.to(memory_format=torch.channels_last) / 255], theirs)
    batchnorm.reestimate(net, images)
    expected = theirs.state_dict()
    allowed = 1e-5 if name.endswith("-w8") else 0.0
    for key in batchnorm.statistics_names(net):
        torch.testing.assert_close(
            net.state_dict()[key], expected[key], rtol=allowed, atol=allowed, msg=key
        )


@pytest.mark.parametrize(
    "name", ["resnet8-w8", "resnet8-torch-w8", "sew-small", "torchvision:shufflenet_v2_x0_5"]
)
def test_gradients_reach_every_parameter(name):
    net = build(name)
    x = torch.rand(4, 3, 32, 32, generator=streams.generator("test", "images"))
    torch.nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 3])).backward()
    assert all(p.grad is not None for p in net.parameters())
