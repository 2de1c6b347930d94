import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.errors import UserError
from mergesuite.models import batchnorm, build, neurons, spiking

BRANCH = torch.tensor([0.0, 0.0, 1.0, 1.0])
SHORTCUT = torch.tensor([0.0, 1.0, 0.0, 1.0])


def images(n=2, size=8):
    return torch.rand(n, 3, size, size, generator=streams.generator("test", "spiking"))


def awake(**options):
    """A small net in which every layer of neurons sees spikes and gives spikes."""
    net = build("sew-small", **options)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, 2.0)
            nn.init.constant_(layer.bias, 1.0)
    batchnorm.reestimate(net, (255 * images(n=8)).to(torch.uint8))
    return net


def test_the_net_of_these_tests_is_awake():
    net, rates = awake().eval(), []
    for layer in net.modules():
        if isinstance(layer, neurons.Spikes):
            layer.register_forward_hook(lambda _layer, _inputs, out: rates.append(out.mean()))
    logits = net(images())
    assert len(rates) == 9
    assert all(0.1 < rate < 0.9 for rate in rates)
    assert not torch.equal(logits[0], logits[1])


def test_sew_resnet34_has_the_parameters_of_cade():
    # 100 classes, counted from CADE's released network without its projector heads.
    net = build("sew-resnet34", classes=100)
    assert sum(p.numel() for p in net.parameters()) == 21_328_292


def test_sew_resnet18_has_the_parameters_of_a_resnet18_with_a_cifar_stem():
    # torchvision's ResNet-18 has 11,689,512 with a 7x7 stem and 1,000 classes.
    expected = 11_689_512 - 3 * 64 * (49 - 9) - 513 * (1000 - 10)
    assert sum(p.numel() for p in build("sew-resnet18").parameters()) == expected


def test_width_suffix_sets_the_channels_of_the_stages():
    net = build("sew-small-w4")
    channels = [net.get_parameter(f"layer{s}.0.conv2.weight").shape[0] for s in (1, 2, 3)]
    assert channels == [4, 8, 16]


@pytest.mark.parametrize(
    ("connect", "joined"),
    [("ADD", [0, 1, 1, 2]), ("AND", [0, 0, 0, 1]), ("IAND", [0, 1, 0, 0])],
)
def test_join_on_all_four_pairs_of_spikes(connect, joined):
    assert spiking.join(BRANCH, SHORTCUT, connect).tolist() == joined


@pytest.mark.parametrize(
    ("connect", "joined"),
    [("ADD", [2, 1]), ("AND", [1, 0]), ("IAND", [0, 0])],
)
def test_block_whose_branch_always_spikes(connect, joined):
    # With the arguments of IAND swapped, the silent half of the shortcut would give [0, 1].
    block = spiking.SewBlock(
        2, 2, 1, connect, neuron=neurons.Neuron(), steps=1, step_mode="m"
    ).eval()
    nn.init.zeros_(block.bn2.weight)
    nn.init.constant_(block.bn2.bias, 2.0)
    assert block(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)).flatten().tolist() == joined


def test_block_with_a_silent_branch_passes_the_shortcut_under_iand():
    block = spiking.SewBlock(2, 2, 1, "IAND", neuron=neurons.Neuron(), steps=1, step_mode="m")
    nn.init.zeros_(block.bn2.weight)
    x = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert block.eval()(x).flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
def test_blocks_start_as_the_identity(connect):
    block = build("sew-small", connect=connect).eval().get_submodule("layer1.0")
    x = torch.randint(2, (4 * 2, 8, 4, 4), generator=streams.generator("test", "id")).float()
    assert torch.equal(block(x), x)


def test_spikes_follow_the_membrane_equation():
    # tau 2, threshold 1, hard reset to 0: V + (x - V) / 2 for x = 1.5: 0.75, 1.125 (spike), ...
    layer = neurons.Spikes(neurons.Neuron(), steps=4, step_mode="m")
    assert layer(torch.full((4, 1), 1.5)).flatten().tolist() == [0, 1, 0, 1]


def test_released_neuron_of_cade_does_not_divide_its_input():
    # SEW.py hands False to the kernel as decay_input: V / 2 + x for x = 0.6 is 0.6, 0.9, 1.05.
    layer = neurons.Spikes(neurons.Neuron(decay_input=False), steps=5, step_mode="m")
    assert layer(torch.full((5, 1), 0.6)).flatten().tolist() == [0, 0, 1, 0, 0]


def test_neuron_without_leak_adds_up_its_input():
    # V + x for x = 0.4: 0.4, 0.8, 1.2 (spike, back to 0), 0.4.
    layer = neurons.Spikes(neurons.PUBLISHED, steps=4, step_mode="m")
    assert layer(torch.full((4, 1), 0.4)).flatten().tolist() == [0, 0, 1, 0]


def test_surrogate_gradient_of_the_published_neuron_is_that_of_an_arc_tangent():
    # d spike / d x = alpha / 2 / (1 + (pi / 2 alpha (x - 1))^2), alpha = 2.
    current = torch.tensor([[0.7]], requires_grad=True)
    neurons.Spikes(neurons.PUBLISHED, 1, "m")(current).sum().backward()
    assert current.grad is not None
    assert current.grad.item() == pytest.approx(1 / (1 + (math.pi * 0.3) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "IF"},
        {"tau": 3.0},
        {"decay_input": False},
        {"v_threshold": 0.7},
        {"v_reset": None},
    ],
)
def test_neuron_settings_reach_the_neurons(change):
    layer = neurons.Spikes(dataclasses.replace(neurons.Neuron(), **change), 8, "m")
    default = neurons.Spikes(neurons.Neuron(), 8, "m")
    current = torch.full((8, 1), 1.3)
    assert layer(current).tolist() != default(current).tolist()


@pytest.mark.parametrize("change", [{"alpha": 2.0}, {"detach_reset": False}, {"surrogate": "atan"}])
def test_gradient_settings_reach_the_neurons(change):
    gradients = []
    for neuron in (neurons.Neuron(), dataclasses.replace(neurons.Neuron(), **change)):
        current = torch.full((4, 1), 1.5, requires_grad=True)
        neurons.Spikes(neuron, 4, "m")(current).sum().backward()
        gradients.append(current.grad)
    assert not torch.equal(*gradients)


def test_surrogate_gradient_is_that_of_a_sigmoid():
    # One step from rest: d spike / d x = alpha s (1 - s) / tau with s = sigmoid(alpha (x / 2 - 1)).
    current = torch.tensor([[1.5]], requires_grad=True)
    neurons.Spikes(neurons.Neuron(), 1, "m")(current).sum().backward()
    s = torch.sigmoid(torch.tensor(4 * (0.75 - 1)))
    assert current.grad is not None
    assert current.grad.item() == pytest.approx((4 * s * (1 - s) / 2).item(), rel=1e-5)


NEURONS = [
    neurons.Neuron(kind, tau, decay, v_reset=reset, surrogate=surrogate)
    for kind, tau, decay in [("LIF", 3.0, True), ("LIF", 2.0, False), ("IF", 2.0, True)]
    for reset in (0.0, 0.2, None)
    for surrogate in ("sigmoid", "atan")
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_the_gradients_of_all_steps_at_once_are_those_of_spikingjelly(neuron, layout):
    """Bit for bit, in the same memory: what is computed from them depends on both."""
    layer, rng = neurons.Spikes(neuron, 4, "m"), streams.generator("test", "steps")
    x = (torch.randn(4 * 3, 5, 4, 4, generator=rng) * 3).contiguous(memory_format=layout)
    back = torch.randn(x.shape, generator=rng)
    found = []
    for pass_ in (layer, lambda x: layer.node(x.unflatten(0, (4, -1))).flatten(0, 1)):
        current = x.clone().requires_grad_()
        out = pass_(current)
        (gradient,) = torch.autograd.grad(out, current, back)
        found.append((out, gradient))
    assert found[0][0].grad_fn is not None
    assert 0.1 < float(found[0][0].detach().mean()) < 0.9
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()


def test_a_neuron_whose_gradients_pass_the_reset_is_spikingjellys():
    layer = neurons.Spikes(neurons.Neuron(detach_reset=False), 2, "m")
    layer(torch.ones(2, 1, requires_grad=True))
    assert isinstance(layer.node.v, torch.Tensor)  # it has run, and holds its potential


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
def test_single_and_multi_step_agree(connect):
    multi = awake(connect=connect).eval()
    single = awake(connect=connect, step_mode="s").eval()
    single.load_state_dict(multi.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(single(images()), multi(images()))


def test_state_does_not_reach_from_one_batch_to_the_next():
    net = awake().eval()
    first = net(images())
    net(1 - images(n=5))
    assert torch.equal(net(images()), first)


def test_a_state_left_by_a_failed_pass_is_reset():
    net = awake().eval()
    expected = net(images())
    net.get_submodule("sn1")(torch.ones(4 * 2, 8, 4, 4))
    assert torch.equal(net(images()), expected)


def test_net_can_be_copied_after_a_backward_pass():
    net = awake()
    net(images()).sum().backward()
    twin = copy.deepcopy(net)
    assert torch.equal(twin.eval()(images()), net.eval()(images()))


def test_state_dict_holds_no_neuron_state():
    net = awake()
    keys = set(net.state_dict())
    net(images())
    assert set(net.state_dict()) == keys
    assert not any("sn" in key.split(".") for key in keys)


def test_time_steps_matter():
    x = images()
    assert not torch.equal(awake(steps=2).eval()(x), awake(steps=4).eval()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connect": "iand"}, "expected one of ADD, AND, IAND, found 'iand'"),
        ({"step_mode": "multi"}, "expected one of s, m"),
        ({"steps": 0}, "at least 1 time step"),
        ({"neuron": {"taw": 2.0}}, "did you mean 'tau'"),
        ({"neuron": {"kind": "PLIF"}}, "expected one of IF, LIF, found 'PLIF'"),
        ({"neuron": {"surrogate": "relu"}}, "expected one of atan, sigmoid"),
        ({"neuron": {"kind": "IF", "tau": 3.0}}, "IF does not leak; remove it"),
        ({"backend": "cupy"}, "takes no option 'backend'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        build("sew-small", **options)


@pytest.mark.parametrize("kind", ["IF", "LIF"])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("tau", [2.0, 3.0])
def test_spikes_without_gradients_are_those_of_spikingjelly(kind, decay_input, v_reset, tau):
    neuron = neurons.Neuron(kind=kind, decay_input=decay_input, v_reset=v_reset, tau=tau)
    layer = neurons.Spikes(neuron, steps=5, step_mode="m")
    x = 2 * torch.randn(5 * 40, 8, 6, 6, generator=streams.generator("test", "input"))
    x[3, 0, 0, 0], x[43, 0, 0, 0], x[7, 1, 2, 3] = math.inf, -math.inf, math.nan
    for layout in (torch.contiguous_format, torch.channels_last):
        seen = x.contiguous(memory_format=layout)
        expected = layer.node(seen.unflatten(0, (5, -1))).flatten(0, 1)
        layer.node.reset()
        with torch.no_grad():
            found = layer(seen)
        assert 0.02 < found.mean() < 0.98
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=layout)


def test_a_pass_without_gradients_neither_needs_nor_leaves_a_state():
    net = awake().eval()
    with torch.no_grad():
        first, second = net(images()), net(images())
    assert torch.equal(first, second)
    assert torch.equal(first, net(images()).detach())
