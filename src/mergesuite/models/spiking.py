"""Spiking SEW-ResNets (spike-element-wise): as published on ImageNet, and as CADE evolves them.

Source: Fang et al. 2021, arXiv 2102.04159, and their `imagenet/sew_resnet.py` (blocks, joining
functions, ImageNet stem, neurons, initialisation); CADE's released
`Evolution_Algorithm_Code/utils/snn_model/SEW.py` (CIFAR stem, neurons). CADE's projector heads,
which serve training only and never reach the logits, are left out.
Deviations: spikingjelly 2.0 in place of an older release, and no mixed precision. With ImageNet's
stem Fang et al. normalise its output before it is repeated over the time steps, here and in
spikingjelly after: the running variance differs by the factor n / (n - 1) of other n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mergesuite.errors import UserError
from mergesuite.models import family
from mergesuite.models.initialise import as_torchvision
from mergesuite.models.neurons import PUBLISHED, Neuron, Spikes, changed, require

Connect = Literal["ADD", "AND", "IAND"]


@dataclass(frozen=True)
class Shape:
    """Blocks and channels of each stage, the kind of its blocks, and the stride of a CIFAR stem."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    stem_stride: int = 1


SHAPES = {
    "resnet18": Shape((2, 2, 2, 2)),
    "resnet34": Shape((3, 4, 6, 3)),
    "resnet50": Shape((3, 4, 6, 3), bottleneck=True),
    "resnet101": Shape((3, 4, 23, 3), bottleneck=True),
    "resnet152": Shape((3, 8, 36, 3), bottleneck=True),
    # For laptops, not from any paper: stem at stride 2, since time steps already cost fourfold.
    "small": Shape((1, 1, 1), (8, 16, 32), stem_stride=2),
}


def join(branch: Tensor, shortcut: Tensor, connect: Connect) -> Tensor:
    """The element-wise function g of Fang et al., table 1, on spikes of equal shape.

    IAND is (not branch) and shortcut: the block's own spikes veto those of the shortcut. (So it is
    in their code; in the bottleneck of spikingjelly 2.0 the shortcut vetoes the block.)
    """
    if connect == "ADD":
        return branch + shortcut
    if connect == "AND":
        return branch * shortcut
    return (1 - branch) * shortcut


class SewBlock(nn.Module):
    """g(branch, shortcut), where the branch is conv, BN and SN two times.

    The shortcut has conv, BN and SN where the shape changes.
    `[steps * n, inputs, h, w]` -> `[steps * n, outputs, ceil(h / stride), ceil(w / stride)]` with
    `outputs` = `expansion * width`.
    """

    expansion = 1

    def __init__(
        self, inputs: int, width: int, stride: int, connect: Connect, **spikes: Any
    ) -> None:
        """`spikes`: what `Spikes` takes."""
        super().__init__()
        self.connect: Connect = connect
        outputs = self.expansion * width
        convolutions = self._convolutions(inputs, width, stride)
        self.depth = len(convolutions)
        for i, conv in enumerate(convolutions, start=1):
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(conv.out_channels))
            self.add_module(f"sn{i}", Spikes(**spikes))
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
                Spikes(**spikes),
            )

    def _convolutions(self, inputs: int, width: int, stride: int) -> list[nn.Conv2d]:
        return [
            nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        ]

    def forward(self, x: Tensor) -> Tensor:
        """The joined spikes; with ADD counts up to one more than the shortcut's."""
        out = x
        for i in range(1, self.depth + 1):
            for kind in ("conv", "bn", "sn"):
                out = self.get_submodule(f"{kind}{i}")(out)
        return join(out, self.downsample(x), self.connect)

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Make the branch silent, as ADD and IAND need, or, for AND, spike in every step.

        Source: Fang et al. 2021, section 4.2, and their `zero_init_blocks`.
        """
        norm, spikes = (self.get_submodule(f"{kind}{self.depth}") for kind in ("bn", "sn"))
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(spikes, Spikes)
        nn.init.zeros_(norm.weight)
        if self.connect == "AND":
            nn.init.constant_(norm.bias, spikes.neuron.always_on)


class SewBottleneck(SewBlock):
    """The same with a branch of three: 1x1, 3x3 at the stride, 1x1 to four times the width."""

    expansion = 4

    def _convolutions(self, inputs: int, width: int, stride: int) -> list[nn.Conv2d]:
        return [
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.Conv2d(width, self.expansion * width, 1, bias=False),
        ]


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
        imagenet: bool = False,
    ) -> None:
        """All neurons share the settings `neuron`.

        `imagenet`: a 7x7 stem at stride 2 whose spikes are pooled, 3x3 at stride 2.
        """
        super().__init__()
        self.steps = steps
        self.step_mode = step_mode
        spikes: dict[str, Any] = {
            "neuron": neuron or Neuron(),
            "steps": steps,
            "step_mode": step_mode,
        }
        inputs = shape.channels[0]
        stem = (7, 2, 3) if imagenet else (3, shape.stem_stride, 1)
        self.conv1 = nn.Conv2d(3, inputs, *stem, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.sn1 = Spikes(**spikes)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if imagenet else nn.Identity()
        kind = SewBottleneck if shape.bottleneck else SewBlock
        self.stages: list[str] = []
        for stage, (count, width) in enumerate(zip(shape.blocks, shape.channels, strict=True)):
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            blocks: list[nn.Module] = []
            for stride in strides:
                blocks.append(kind(inputs, width, stride, connect, **spikes))
                inputs = kind.expansion * width
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.each_step(x).mean(0)

    def each_step(self, x: Tensor) -> Tensor:
        """Logits `[steps, n, classes]`. The only place where neuron states are reset."""
        self._reset()
        # The image is the same in every step, and so is its convolution.
        current = self.conv1(x)
        if self.step_mode == "m":
            logits = self._after_stem(current.repeat(self.steps, 1, 1, 1))
            logits = logits.unflatten(0, (self.steps, -1))
        else:
            logits = torch.stack([self._after_stem(current) for _ in range(self.steps)])
        # Again, so that no state keeps the graph of this pass alive or blocks a deep copy.
        self._reset()
        return logits

    def _reset(self) -> None:
        if not self.sn1.is_stateless:
            from spikingjelly.activation_based.functional import reset_net

            reset_net(self)

    def _after_stem(self, current: Tensor) -> Tensor:
        spikes = self.maxpool(self.sn1(self.bn1(current)))
        for stage in self.stages:
            spikes = self.get_submodule(stage)(spikes)
        return self.fc(spikes.mean((2, 3)))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter anew, as in torchvision, with each block starting as the identity."""
    as_torchvision(module, generator)
    for block in module.modules():
        if isinstance(block, SewBlock):
            block.start_as_identity()


@family(
    r"sew-(?P<name>small|resnet(?:18|34|50|101|152))(?P<stem>(?<!small)-imagenet)?"
    r"(-w(?P<width>[1-9]\d{0,3}))?",
    names=(
        "sew-small",
        "sew-resnet18",
        "sew-resnet34",
        "sew-resnet18-imagenet",
        "sew-resnet34-imagenet",
        "sew-resnet50-imagenet",
        "sew-resnet101-imagenet",
        "sew-resnet152-imagenet",
    ),
    initialise=initialise,
    cite="Fang et al.: Deep Residual Learning in Spiking Neural Networks, NeurIPS (2021)",
)
def construct(
    name: str,
    stem: str | None,
    width: str | None,
    classes: int,
    *,
    connect: Connect = "ADD",
    steps: int = 4,
    step_mode: Literal["s", "m"] = "m",
    neuron: Neuron | Mapping[str, Any] | None = None,
) -> SewResNet:
    """Spiking SEW-ResNet with a CIFAR stem, or as published: `-imagenet`.

    Args:
        name: which shape, a key of `SHAPES`.
        stem: given for that of ImageNet. The default neurons go with it: with a CIFAR stem those
            of `Neuron`, with that of ImageNet `PUBLISHED` ones.
        width: channels of the first stage, doubled at each further one; None for the shape's own.
        classes: number of logits.
        connect: how a block's spikes are joined with its shortcut.
        steps: time steps T.
        step_mode: "m" computes all time steps layer by layer, "s" the whole net step by step.
        neuron: settings, or those of them that differ from the default.

    Raises:
        UserError: an unknown option value or neuron setting.
    """
    require("connect", connect, ("ADD", "AND", "IAND"))
    require("step_mode", step_mode, ("s", "m"))
    if steps < 1:
        raise UserError(f"steps: expected at least 1 time step, found {steps}; change steps")
    if not isinstance(neuron, Neuron):
        neuron = changed(PUBLISHED if stem else Neuron(), neuron)
    shape = SHAPES[name]
    if width is not None:
        channels = tuple(int(width) * 2**stage for stage in range(len(shape.blocks)))
        shape = replace(shape, channels=channels)
    return SewResNet(
        shape, classes, connect=connect, steps=steps, step_mode=step_mode, neuron=neuron,
        imagenet=stem is not None,
    )  # fmt: skip
