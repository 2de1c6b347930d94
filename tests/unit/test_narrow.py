import copy

import pytest
import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.models import build, narrow


@pytest.fixture(autouse=True)
def wide_registers(monkeypatch):
    """Those of AVX-512, whatever computes."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def draw(*shape):
    return torch.randn(*shape, generator=streams.generator("test", "narrow"))


def pixels(n, channels, height, width):
    return draw(n, channels, height, width).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 1, 3), 16),
        (nn.Conv2d(3, 4, 3), 4),
        (nn.Conv2d(3, 5, 3), 2),
        (nn.Conv2d(64, 8, 3), 2),
        (nn.Conv2d(3, 9, 3), 1),
        (nn.Conv2d(3, 16, 3), 1),
        (nn.Conv2d(3, 8, 1), 1),
        (nn.Conv2d(3, 8, (3, 1)), 1),
        (nn.Conv2d(3, 8, 3, stride=2), 1),
        (nn.Conv2d(3, 8, 3, dilation=2), 1),
        (nn.Conv2d(8, 8, 3, groups=8), 1),
        (nn.Conv2d(3, 8, 3, padding="same"), 1),
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), 1),
        (nn.Conv2d(3, 8, 3).double(), 1),
        (nn.Conv1d(3, 8, 3), 1),
        (nn.Linear(3, 8), 1),
    ],
)
def test_columns_are_as_many_as_fill_a_register(layer, expected):
    assert narrow.columns(layer) == expected


def test_registers_that_are_not_known_are_left_alone(monkeypatch):
    layer = nn.Conv2d(3, 4, 3)
    for name, expected in (("AVX2", 2), ("DEFAULT", 1), ("SVE256", 1)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=name: name)
        assert narrow.columns(layer) == expected


@pytest.mark.parametrize("width", [5, 6, 7, 8])
@pytest.mark.parametrize("padding", [0, (2, 1), (0, 2)])
@pytest.mark.parametrize(("outputs", "kernel"), [(8, 3), (4, (1, 5)), (3, (2, 3))])
def test_columns_give_what_the_convolution_gives(outputs, kernel, padding, width):
    layer = nn.Conv2d(3, outputs, kernel, padding=padding, bias=outputs != 4)
    x = pixels(2, 3, 4, width)
    with torch.no_grad():
        found, expected = narrow.Columns(layer)(x), layer(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_in_other_memory_columns_are_the_convolution():
    layer, x = nn.Conv2d(3, 8, 3, padding=1), draw(2, 3, 4, 4)
    assert torch.equal(narrow.Columns(layer)(x), layer(x))


def test_columns_take_over_weights_when_loaded():
    layer = nn.Conv2d(3, 8, 3, padding=1)
    quick, x = narrow.Columns(layer), pixels(1, 3, 4, 4)
    with torch.no_grad():
        layer.weight.copy_(draw(8, 3, 3, 3))
        layer.bias.fill_(2)
        assert not torch.allclose(quick(x), layer(x))
        quick.load()
        torch.testing.assert_close(quick(x), layer(x))


def test_a_widened_network_has_the_logits_of_the_network():
    net = build("resnet8-w4").eval()
    x = pixels(3, 3, 10, 10)
    with torch.no_grad():
        expected = net(x)
        layers = narrow.widen(net)
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-6)
    assert [layer.columns for layer in layers] == [4, 4, 4, 2]


@pytest.mark.parametrize("shape", [(1, 8, 1, 2), (2, 3, 1, 1), (3, 8, 5, 7), (16, 1, 8, 8)])
@pytest.mark.parametrize("affine", [True, False])
def test_standardise_is_a_training_step_of_batchnorm(shape, affine):
    ours = nn.BatchNorm2d(shape[1], affine=affine, momentum=0.3)
    if affine:
        nn.init.normal_(ours.weight, generator=streams.generator("test", "scale"))
        nn.init.normal_(ours.bias, generator=streams.generator("test", "shift"))
    theirs = copy.deepcopy(ours).double()
    x = 5 + pixels(*shape)
    with torch.no_grad():
        found, expected = narrow.standardise(ours, x), theirs(x.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for name in ("running_mean", "running_var"):
        a, b = (net.get_buffer(name).double() for net in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_standardise_refuses_a_single_value_as_torch_does():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        narrow.standardise(nn.BatchNorm2d(8), pixels(1, 8, 1, 1))


def test_other_memory_is_left_to_torch():
    ours, x = nn.BatchNorm2d(8), draw(4, 8, 3, 3)
    theirs = copy.deepcopy(ours)
    assert torch.equal(narrow.standardise(ours, x), theirs(x))
    assert torch.equal(ours.get_buffer("running_var"), theirs.get_buffer("running_var"))


def changed(net):
    return sum("forward" in vars(part) for part in net.modules())


def fail_within(net):
    with narrow.Filled(net).entered():
        assert changed(net) == 6  # three convolutions and the BatchNorm layers after them
        raise ZeroDivisionError


def test_filled_is_over_when_it_fails():
    net = build("resnet8-w8")
    with pytest.raises(ZeroDivisionError):
        fail_within(net)
    assert changed(net) == 0


def test_batchnorm_of_other_libraries_is_left_alone():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    net = nn.Sequential(WithActivation(4), nn.BatchNorm2d(4, track_running_stats=False))
    with narrow.Filled(net).entered():
        assert changed(net) == 0
