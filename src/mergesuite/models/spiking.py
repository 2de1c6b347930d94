"""Spiking SEW-ResNets (spike-element-wise) with a CIFAR stem, as CADE evolves them.

Source: Fang et al. 2021, arXiv 2102.04159 (the block and its joining functions); CADE's released
`Evolution_Algorithm_Code/utils/snn_model/SEW.py` (stem, neurons, initialisation). Its projector
heads, which serve training only and never reach the logits, are left out.
Deviations: spikingjelly 2.0 in place of an older release, and no mixed precision.

spikingjelly is imported where it is used: it takes seconds, and no other network needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mergesuite.errors import UserError, nearest
from mergesuite.models import family

Connect = Literal["ADD", "AND", "IAND"]


@dataclass(frozen=True)
class Neuron:
    """Leaky integrate-and-fire; nothing is left to a library default, for those have changed."""

    tau: float = 2.0
    """Membrane time constant, in time steps."""
    decay_input: bool = True
    """Whether the input is divided by `tau` too."""
    v_threshold: float = 1.0
    v_reset: float | None = 0.0
    """Potential after a spike (hard reset); None subtracts the threshold (soft reset)."""
    alpha: float = 4.0
    """Slope of the sigmoid whose derivative stands in for that of the spike."""
    detach_reset: bool = True
    """Whether gradients stop at the reset."""

    @property
    def always_on(self) -> float:
        """The least constant input at which a neuron at rest spikes in every step."""
        gap = self.v_threshold - (self.v_reset or 0.0)
        return gap * self.tau if self.decay_input else gap


@dataclass(frozen=True)
class Shape:
    """Blocks and channels of each stage, and the stride of the stem."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    stem_stride: int = 1


SHAPES = {
    "resnet18": Shape((2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet34": Shape((3, 4, 6, 3), (64, 128, 256, 512)),
    # For laptops, not from any paper: stem at stride 2, since time steps already cost fourfold.
    "small": Shape((1, 1, 1), (8, 16, 32), stem_stride=2),
}


def join(branch: Tensor, shortcut: Tensor, connect: Connect) -> Tensor:
    """The element-wise function g of Fang et al., table 1, on spikes of equal shape.

    IAND is (not branch) and shortcut: the block's own spikes veto those of the shortcut.
    """
    if connect == "ADD":
        return branch + shortcut
    if connect == "AND":
        return branch * shortcut
    return (1 - branch) * shortcut


class Spikes(nn.Module):
    """A layer of neurons, same shape in and out; the input's first axis holds step after step."""

    def __init__(self, neuron: Neuron, steps: int, step_mode: str) -> None:
        """`step_mode` "m" takes all steps at once, `[steps * n, ...]`, "s" one, `[n, ...]`."""
        from spikingjelly.activation_based.neuron import LIFNode
        from spikingjelly.activation_based.surrogate import Sigmoid

        super().__init__()
        self.neuron = neuron
        self.steps = steps
        self.step_mode = step_mode
        self.node = LIFNode(
            tau=neuron.tau,
            decay_input=neuron.decay_input,
            v_threshold=neuron.v_threshold,
            v_reset=neuron.v_reset,
            surrogate_function=Sigmoid(alpha=neuron.alpha, spiking=True),
            detach_reset=neuron.detach_reset,
            step_mode=step_mode,
            store_v_seq=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Spikes, 0 or 1."""
        if self.step_mode == "s":
            return self.node(x)
        return self.node(x.unflatten(0, (self.steps, -1))).flatten(0, 1)


class SewBlock(nn.Module):
    """g(SN(BN(conv(SN(BN(conv x))))), shortcut); conv, BN and SN on the shortcut at a new shape.

    `[steps * n, inputs, h, w]` -> `[steps * n, outputs, ceil(h / stride), ceil(w / stride)]`.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, connect: Connect, **spikes: Any
    ) -> None:
        """`spikes`: what `Spikes` takes."""
        super().__init__()
        self.connect: Connect = connect
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.sn1 = Spikes(**spikes)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.sn2 = Spikes(**spikes)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
                Spikes(**spikes),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The joined spikes; with ADD counts up to one more than the shortcut's."""
        out = self.sn1(self.bn1(self.conv1(x)))
        out = self.sn2(self.bn2(self.conv2(out)))
        return join(out, self.downsample(x), self.connect)


class SewResNet(nn.Module):
    """A SEW-ResNet that sees the same image in every time step.

    `[n, 3, h, w]` -> logits `[n, classes]`, the mean over time steps. Parameters are named as in
    torchvision's ResNets. With `step_mode="s"` time runs in an outer loop; in evaluation mode the
    result is that of "m", in training mode BatchNorm then sees one time step at a time.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        connect: Connect = "ADD",
        steps: int = 4,
        step_mode: Literal["s", "m"] = "m",
        neuron: Neuron | None = None,
    ) -> None:
        """All neurons share the settings `neuron`."""
        super().__init__()
        self.connect: Connect = connect
        self.steps = steps
        self.step_mode = step_mode
        self.neuron = neuron or Neuron()
        spikes: dict[str, Any] = {
            "neuron": self.neuron,
            "steps": steps,
            "step_mode": step_mode,
        }
        inputs = shape.channels[0]
        self.conv1 = nn.Conv2d(3, inputs, 3, shape.stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.sn1 = Spikes(**spikes)
        self.stages: list[str] = []
        for stage, (count, outputs) in enumerate(zip(shape.blocks, shape.channels, strict=True)):
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            blocks: list[nn.Module] = []
            for stride in strides:
                blocks.append(SewBlock(inputs, outputs, stride, connect, **spikes))
                inputs = outputs
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits. The only place where neuron states are reset."""
        from spikingjelly.activation_based.functional import reset_net

        reset_net(self)
        # The image is the same in every step, and so is its convolution.
        current = self.conv1(x)
        if self.step_mode == "m":
            logits = self._after_stem(current.repeat(self.steps, 1, 1, 1))
            logits = logits.unflatten(0, (self.steps, -1)).mean(0)
        else:
            logits = torch.stack([self._after_stem(current) for _ in range(self.steps)]).mean(0)
        # Again, so that no state keeps the graph of this pass alive or blocks a deep copy.
        reset_net(self)
        return logits

    def _after_stem(self, current: Tensor) -> Tensor:
        spikes = self.sn1(self.bn1(current))
        for stage in self.stages:
            spikes = self.get_submodule(stage)(spikes)
        return self.fc(spikes.mean((2, 3)))


def _require(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(
            f"{option}: expected one of {', '.join(allowed)}, found {value!r}; change {option}"
        )


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter anew, with each block starting as the identity.

    Convolutions are Kaiming-normal over their outputs, the classifier is uniform within
    1 / sqrt(inputs), BatchNorm is 1 and 0. The last BatchNorm of each block starts at 0, so that
    its branch is silent, as ADD and IAND need; for AND, its shift makes the branch spike in every
    step (Fang et al. 2021, section 4.2).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    for block in module.modules():
        if isinstance(block, SewBlock):
            nn.init.zeros_(block.bn2.weight)
            if block.connect == "AND":
                nn.init.constant_(block.bn2.bias, block.sn2.neuron.always_on)


@family(
    r"sew-(?P<name>resnet18|resnet34|small)(-w(?P<width>[1-9]\d*))?",
    names=("sew-small", "sew-resnet18", "sew-resnet34"),
    initialise=initialise,
    cite="Fang et al.: Deep Residual Learning in Spiking Neural Networks, NeurIPS (2021)",
)
def construct(
    name: str,
    width: str | None,
    classes: int,
    *,
    connect: Connect = "ADD",
    steps: int = 4,
    step_mode: Literal["s", "m"] = "m",
    neuron: Neuron | Mapping[str, Any] | None = None,
) -> SewResNet:
    """Spiking SEW-ResNet with a CIFAR stem.

    Args:
        name: which shape, a key of `SHAPES`.
        width: channels of the first stage, doubled at each further one; None for the shape's own.
        classes: number of logits.
        connect: how a block's spikes are joined with its shortcut.
        steps: time steps T.
        step_mode: "m" computes all time steps layer by layer, "s" the whole net step by step.
        neuron: settings, or those of them that differ from the defaults of `Neuron`.

    Raises:
        UserError: an unknown option value or neuron setting.
    """
    _require("connect", connect, ("ADD", "AND", "IAND"))
    _require("step_mode", step_mode, ("s", "m"))
    if steps < 1:
        raise UserError(f"steps: expected at least 1 time step, found {steps}; change steps")
    if isinstance(neuron, Mapping):
        known = [field.name for field in fields(Neuron)]
        for key in neuron:
            if key not in known:
                raise UserError(
                    f"neuron has no setting {key!r}{nearest(key, known)}; it has {', '.join(known)}"
                )
        neuron = Neuron(**neuron)
    shape = SHAPES[name]
    if width is not None:
        channels = tuple(int(width) * 2**stage for stage in range(len(shape.blocks)))
        shape = replace(shape, channels=channels)
    return SewResNet(
        shape, classes, connect=connect, steps=steps, step_mode=step_mode, neuron=neuron
    )
