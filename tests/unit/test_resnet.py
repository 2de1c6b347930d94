import pytest
import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.errors import UserError
from mergesuite.models import build, resnet


@pytest.mark.parametrize(
    ("name", "total", "trainable", "tensors"),
    [
        # Counted from the released Keras code (papers' own 0.86M, 1.78M [sic] and 3.51M).
        ("resnet56", 862_154, 857_898, 344),
        ("resnet110", 1_743_146, 1_734_858, 668),
        ("resnet152-mega", 3_512_426, 3_496_842, 1124),
    ],
)
def test_counts_are_those_of_the_released_code(name, total, trainable, tensors):
    net = build(name)
    weights = [v for key, v in net.state_dict().items() if not key.endswith("num_batches_tracked")]
    assert sum(v.numel() for v in weights) == total
    assert sum(p.numel() for p in net.parameters()) == trainable
    assert len(weights) == tensors


def test_mega_152_has_186_weighted_layers():
    convolutions = [
        name
        for name, layer in build("resnet152-mega").named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(convolutions) == 186


@pytest.mark.parametrize("depth", [7, 9, 2, 0, 57])
def test_blocks_for_refuses_other_depths(depth):
    with pytest.raises(UserError, match="6n"):
        resnet.blocks_for(depth)


def test_pad_same_at_an_even_side_pads_bottom_and_right():
    # TensorFlow, SAME, 3x3 ones, stride 2 on 0..15 as 4x4: windows start at (0, 0), not (-1, -1).
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    out = nn.functional.conv2d(resnet.pad_same(x), torch.ones(1, 1, 3, 3), stride=2)
    assert out.flatten().tolist() == [45, 39, 66, 50]


def test_pad_same_at_an_odd_side_pads_all_around():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    out = nn.functional.conv2d(resnet.pad_same(x), torch.ones(1, 1, 3, 3), stride=2)
    assert out.flatten().tolist() == [8, 12, 20, 24]


def test_block_is_post_activation():
    # All kernels zero: the branch gives 0, the shortcut passes, the last ReLU clips.
    block = resnet.Block(4, 4, 1, nn.BatchNorm2d).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.linspace(-1, 1, 16).reshape(1, 4, 2, 2)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(
    ("options", "defaults"),
    [
        ({}, (1e-3, 0.01)),
        ({"batchnorm": "keras"}, (1e-3, 0.01)),
        ({"batchnorm": "torch"}, (1e-5, 0.1)),
    ],
)
def test_batchnorm_has_the_defaults_of_keras_or_of_torch(options, defaults):
    norms = [m for m in build("resnet8", **options).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {defaults}


def test_unknown_batchnorm_defaults_are_refused():
    with pytest.raises(UserError, match="keras, torch"):
        build("resnet8", batchnorm="jax")


def test_kernels_are_glorot_uniform_and_biases_zero():
    net = build("resnet20", generator=streams.generator("test", "glorot"))
    kernel = net.get_parameter("stages.2.1.conv1.weight")
    bound = (6 / (9 * 64 + 9 * 64)) ** 0.5
    assert kernel.abs().max() <= bound
    assert kernel.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    assert all(not p.any() for p in biases)


def test_initialise_refuses_a_layer_it_does_not_know():
    with pytest.raises(TypeError, match="PReLU"):
        resnet.initialise_as_keras(nn.Sequential(nn.PReLU()), streams.generator("test"))


def test_width_suffix_sets_the_channels_of_the_stages():
    net = build("resnet8-w8")
    channels = [net.get_parameter(f"stages.{s}.0.conv2.weight").shape[0] for s in range(3)]
    assert channels == [8, 16, 32]


@pytest.mark.parametrize("size", [32, 28, 27])
def test_traced_net_computes_the_same(size):
    net = build("resnet8-w8").eval()
    x = torch.rand(2, 3, size, size, generator=streams.generator("test", "trace"))
    assert torch.equal(torch.fx.symbolic_trace(net)(x), net(x))


def test_channels_last_computes_the_same():
    net = build("resnet8-w8").eval()
    x = torch.rand(2, 3, 32, 32, generator=streams.generator("test", "layout"))
    with torch.no_grad():
        planar = net(x)
        net.to(memory_format=torch.channels_last)
        last = net(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, planar, rtol=1e-4, atol=1e-5)
