"""The CIFAR ResNet family as MeGA trains it, and the Keras initialisation it uses.

Source: MeGA's released `model/resnet.py` (see replications/mega). Post-activation blocks, biases
in every convolution, "same" padding as TensorFlow computes it, BatchNorm with Keras defaults.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergesuite.errors import UserError
from mergesuite.models import family

KERAS_EPS = 1e-3
KERAS_MOMENTUM = 0.01
"""Keras writes 0.99: the share that is kept. torch counts the share that is replaced."""

NORMS = {
    "keras": functools.partial(nn.BatchNorm2d, eps=KERAS_EPS, momentum=KERAS_MOMENTUM),
    "torch": nn.BatchNorm2d,
}
"""BatchNorm with the defaults of either library."""
Norm = Callable[[int], nn.BatchNorm2d]

MEGA_152_BLOCKS = (18, 37, 37)
"""Blocks per stage of the net that MeGA calls ResNet152; it has 186 weighted layers."""


def blocks_for(depth: int) -> tuple[int, int, int]:
    """Blocks per stage of a CIFAR ResNet with `depth` = 6n+2 weighted layers.

    Raises:
        UserError: `depth` is not 6n+2 with n >= 1.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise UserError(
            f"no CIFAR ResNet has depth {depth}: give 6n+2, that is 8, 14, 20, 26, 32 and so on"
        )
    return (n, n, n)


def pad_same(x: Tensor) -> Tensor:
    """Zeros around `x` `[n, c, h, w]` such that a 3x3 window at stride 2 sees what TensorFlow sees.

    TensorFlow's "same" puts the odd zero at the bottom and the right: even sides get (0, 1), odd
    sides (1, 1). torch's `padding=1` is (1, 1) always, another network at even sides. Written
    without a branch on the shape, so that `torch.fx` can trace it.
    """
    return F.pad(x, (x.shape[-1] % 2, 1, x.shape[-2] % 2, 1))


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN, add, ReLU; a 1x1 conv and BN on the shortcut where the shape changes.

    `[n, inputs, h, w]` -> `[n, outputs, ceil(h / stride), ceil(w / stride)]`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        """`stride` is 1 or 2; `norm` makes a BatchNorm of so many channels."""
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride),
                norm(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        padded = x if self.stride == 1 else pad_same(x)
        out = self.relu(self.bn1(self.conv1(padded)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A three-stage ResNet: 3x3 stem without pooling, stages, mean over positions, linear.

    `[n, 3, h, w]` -> logits `[n, classes]`. Stages have `width`, `2 width` and `4 width` channels.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int],
        classes: int = 10,
        width: int = 16,
        batchnorm: str = "keras",
    ) -> None:
        """`blocks`: how many blocks each stage has, the first of stages 2 and 3 at stride 2.

        `batchnorm`: whose defaults BatchNorm has, a key of `NORMS`.

        Raises:
            UserError: there are no such defaults.
        """
        super().__init__()
        if batchnorm not in NORMS:
            raise UserError(f"batchnorm {batchnorm!r} is none of {', '.join(NORMS)}")
        norm = NORMS[batchnorm]
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.bn = norm(width)
        self.relu = nn.ReLU(inplace=True)
        stages: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            layers: list[nn.Module] = []
            for stride in strides:
                layers.append(Block(inputs, outputs, stride, norm))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out = self.stages(self.relu(self.bn(self.conv(x))))
        return self.linear(out.mean((2, 3)))


@torch.no_grad()
def initialise_as_keras(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter anew as Keras does: Glorot-uniform kernels, zero biases, BN 1 and 0.

    Depthwise kernels too: Keras counts their fans the other way round, and the sum is the same.

    Raises:
        TypeError: a layer holds parameters and is none of the kinds known here.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no Keras initialisation for {name}: {type(layer).__name__}")


@family(
    # Without a width, the depths of the ImageNet nets mean those.
    r"resnet(?!(18|26|34|50|101|152)$)(?P<depth>\d{1,4})(-w(?P<width>[1-9]\d{0,3}))?",
    names=("resnet8", "resnet8-w8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    initialise=initialise_as_keras,
    cite="Yun: MeGA, arXiv 2406.04607 (2024)",
)
def cifar(depth: str, width: str | None, classes: int, batchnorm: str = "keras") -> nn.Module:
    """CIFAR ResNet of 6n+2 layers as MeGA builds it; `-w8` sets the first stage's channels."""
    return CifarResNet(blocks_for(int(depth)), classes, int(width or 16), batchnorm)


@family(
    r"resnet152-mega(-w(?P<width>[1-9]\d{0,3}))?",
    names=("resnet152-mega",),
    initialise=initialise_as_keras,
    cite="Yun: MeGA, arXiv 2406.04607 (2024)",
)
def mega(width: str | None, classes: int) -> nn.Module:
    """The 186-layer CIFAR ResNet that MeGA calls ResNet152."""
    return CifarResNet(MEGA_152_BLOCKS, classes, int(width or 16))
