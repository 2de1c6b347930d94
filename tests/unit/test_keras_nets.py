import pytest
import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.models import build, keras_nets


@pytest.mark.parametrize(
    ("name", "backbone", "head"),
    [
        # Totals that keras.applications publishes for include_top=False, BN statistics included,
        # and the dense layers of MeGA's heads.
        ("xception-mega", 20_861_480, 2048 * 1024 + 1024 + 1024 * 10 + 10),
        ("densenet121-mega", 7_037_504, 1024 * 10 + 10),
        ("densenet169-mega", 12_642_880, 1664 * 10 + 10),
    ],
)
def test_counts_are_those_of_keras_applications(name, backbone, head):
    weights = build(name).state_dict()
    total = sum(v.numel() for key, v in weights.items() if "num_batches" not in key)
    assert total == backbone + head


@pytest.mark.parametrize(
    ("name", "eps"),
    [("xception-mega", 1e-3), ("densenet121-mega", 1.001e-5)],
)
def test_batchnorm_settings(name, eps):
    norms = [m for m in build(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(eps, 0.01)}


def test_pool_same_pads_even_sides_bottom_and_right():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert keras_nets.pool_same(x).flatten().tolist() == [10, 11, 14, 15]


def test_pool_same_pads_odd_sides_all_around():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert keras_nets.pool_same(x).flatten().tolist() == [4, 5, 7, 8]


def test_pool_same_never_lets_the_padding_win():
    assert keras_nets.pool_same(torch.full((1, 1, 4, 4), -3.0)).unique().tolist() == [-3]


def test_sides_through_xception_are_those_of_keras_on_32x32_images():
    sides = []
    net = build("xception-mega").eval()
    assert isinstance(net, keras_nets.Xception)
    for layer in (net.conv1, net.conv2, *net.blocks):
        layer.register_forward_hook(lambda _layer, _inputs, out: sides.append(out.shape[-1]))
    with torch.no_grad():
        net(torch.rand(1, 3, 32, 32, generator=streams.generator("test", "sides")))
    assert sides == [15, 13, 7, 4, 2, *[2] * 8, 1]


def test_densenet_agrees_with_torchvision_given_the_same_weights():
    # torchvision's layers come in the same order, so weights carry over by position; only the
    # BatchNorm constant differs. Note: 0 and 1 statistics would hide a wrong one.
    from torchvision.models import get_model

    ours = build("densenet121-mega")
    with torch.random.fork_rng(devices=[]):
        theirs = get_model("densenet121", weights=None, num_classes=10)
    weights = ours.state_dict()
    rng = streams.generator("test", "densenet")
    for key in weights:
        if "running_" in key:
            weights[key] = torch.rand(weights[key].shape, generator=rng) + 0.5
    ours.load_state_dict(weights)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights.values(), strict=True)))
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = keras_nets.DENSENET_EPS
    x = torch.rand(2, 3, 32, 32, generator=rng)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_first_relu_of_a_block_leaves_the_shortcut_alone():
    block = keras_nets.XceptionBlock((2, 2), pool=False).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.linspace(-1, 1, 8).reshape(1, 2, 2, 2)
    assert torch.equal(block(x), x)
