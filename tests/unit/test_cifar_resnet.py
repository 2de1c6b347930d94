"""CIFAR ResNets in torch's form: published counts, and torchvision's own blocks."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet as torchvision_resnet

from mergesuite.core import streams
from mergesuite.errors import UserError
from mergesuite.fitness.fold import Folded
from mergesuite.models import build, cifar_resnet


# He et al. 2016, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M. Exactly: 3x3 kernels, BatchNorm's two
# numbers per channel, 650 of the classifier; shortcut A has none.
@pytest.mark.parametrize(
    ("depth", "count"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_counts_are_those_of_he_et_al(depth, count):
    net = build(f"resnet{depth}-torch")
    assert sum(p.numel() for p in net.parameters()) == count
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth


def test_shortcut_b_adds_a_convolution_and_batchnorm_at_each_change_of_shape():
    def count(shortcut):
        return sum(p.numel() for p in build("resnet20-torch", shortcut=shortcut).parameters())

    assert count("B") - count("A") == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64


def of_torchvision(shortcut):
    """ResNet-20 made of torchvision's blocks, names as ours."""

    def stage(inputs, outputs):
        downsample = None
        if inputs != outputs:
            downsample = nn.Sequential(
                torchvision_resnet.conv1x1(inputs, outputs, 2), nn.BatchNorm2d(outputs)
            )
        if inputs != outputs and shortcut == "A":
            downsample = cifar_resnet.PadChannels(outputs - inputs)
        first = torchvision_resnet.BasicBlock(
            inputs, outputs, 1 if inputs == outputs else 2, downsample
        )
        rest = [torchvision_resnet.BasicBlock(outputs, outputs) for _ in range(2)]
        return nn.Sequential(first, *rest)

    return nn.ModuleDict(
        {
            "conv1": torchvision_resnet.conv3x3(3, 16),
            "bn1": nn.BatchNorm2d(16),
            "layer1": stage(16, 16),
            "layer2": stage(16, 32),
            "layer3": stage(32, 64),
            "fc": nn.Linear(64, 10),
        }
    )


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_are_those_of_torchvisions_blocks(shortcut, training):
    net = build("resnet20-torch", shortcut=shortcut).train(training)
    reference = of_torchvision(shortcut).train(training)
    reference.load_state_dict(net.state_dict())
    x = torch.rand(4, 3, 32, 32, generator=streams.generator("test", "cifar"))
    out = reference["bn1"](reference["conv1"](x)).relu()
    for name in ("layer1", "layer2", "layer3"):
        out = reference[name](out)
    expected = reference["fc"](out.mean((2, 3)))
    logits = net(x)
    assert torch.equal(logits, expected)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in reference.named_parameters():
        assert torch.equal(net.get_parameter(name).grad, parameter.grad), name


def test_shortcut_a_takes_every_other_pixel_and_adds_silent_channels():
    x = torch.arange(2 * 9.0).reshape(1, 2, 3, 3)
    out = cifar_resnet.PadChannels(2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 0].tolist() == [[0, 2], [6, 8]]
    assert not out[0, 2:].any()


def test_kernels_are_kaiming_normal_over_their_outputs():
    net = build("resnet20-torch", generator=streams.generator("test", "kaiming"))
    kernel = net.get_parameter("layer3.2.conv1.weight")
    assert kernel.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert net.get_parameter("fc.weight").abs().max() <= 64**-0.5
    assert {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {
        (1e-5, 0.1)
    }


def test_width_suffix_sets_the_channels_of_the_stages():
    net = build("resnet8-torch-w8")
    channels = [net.get_parameter(f"layer{s}.0.conv2.weight").shape[0] for s in (1, 2, 3)]
    assert channels == [8, 16, 32]


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("size", [32, 28, 27])
def test_folded_net_computes_the_same(shortcut, size):
    net = build("resnet8-torch-w8", shortcut=shortcut).eval()
    folded = Folded(net)
    folded.load()
    x = torch.rand(4, 3, size, size, generator=streams.generator("test", "fold"))
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(folded.network(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet9-torch", {}, "no CIFAR ResNet has depth 9"),
        ("resnet20-torch", {"shortcut": "C"}, "expected A or B, found 'C'"),
    ],
)
def test_bad_names_and_options_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        build(name, **options)
