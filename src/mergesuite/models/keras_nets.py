"""Xception and DenseNet as keras.applications builds them without a top, under MeGA's heads.

Source: MeGA's released builders in `mega.py` (`include_top=False, weights=None`, 32x32 input) and
the layer tables of keras.applications 2.15. The heads are: mean over positions, then for Xception
Dense(1024, ReLU), then Dense(classes).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mergesuite.models import family
from mergesuite.models.resnet import KERAS_MOMENTUM, NORMS, initialise_as_keras

DENSENET_EPS = 1.001e-5
"""keras.applications overrides the default of Keras here, and not in Xception."""

norm = NORMS["keras"]

DENSENET_BLOCKS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32)}


def pool_same(x: Tensor) -> Tensor:
    """3x3 maximum at stride 2 over `x` `[n, c, h, w]`, padded as TensorFlow's "same" pads.

    Even sides are padded (0, 1), odd sides (1, 1), with values that never win.
    """
    sides = (x.shape[-1] % 2, 1, x.shape[-2] % 2, 1)
    return F.max_pool2d(F.pad(x, sides, value=float("-inf")), 3, 2)


class Separable(nn.Module):
    """A 3x3 convolution per channel, then a 1x1 convolution, then BatchNorm; no biases."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Keeps height and width."""
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` -> `[n, outputs, h, w]`."""
        return self.bn(self.pointwise(self.depthwise(x)))


class XceptionBlock(nn.Module):
    """Separable convolutions, each after a ReLU, and a shortcut.

    With `pool` the maximum halves the sides, and the shortcut is a 1x1 convolution at stride 2.
    """

    def __init__(self, channels: tuple[int, ...], *, pool: bool, first_relu: bool = True) -> None:
        """`channels`: of the input and after each separable convolution."""
        super().__init__()
        self.pool = pool
        self.first_relu = first_relu
        self.separable = nn.ModuleList(Separable(i, o) for i, o in pairwise(channels))
        self.shortcut = nn.Sequential()
        if pool:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels[0], channels[-1], 1, 2, bias=False),
                norm(channels[-1]),
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        out = x
        for i, layer in enumerate(self.separable):
            out = layer(F.relu(out) if i or self.first_relu else out)
        if self.pool:
            out = pool_same(out)
        return out + self.shortcut(x)


class Xception(nn.Module):
    """`[n, 3, h, w]` -> logits `[n, classes]`; 32x32 images arrive at the head as 1x1."""

    def __init__(self, classes: int) -> None:
        """Entry flow, eight middle blocks, exit flow, MeGA's head."""
        super().__init__()
        # The two stem convolutions are the only ones without padding.
        self.conv1 = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn1 = norm(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(
            XceptionBlock((64, 128, 128), pool=True, first_relu=False),
            XceptionBlock((128, 256, 256), pool=True),
            XceptionBlock((256, 728, 728), pool=True),
            *(XceptionBlock((728, 728, 728, 728), pool=False) for _ in range(8)),
            XceptionBlock((728, 728, 1024), pool=True),
        )
        self.separable1 = Separable(1024, 1536)
        self.separable2 = Separable(1536, 2048)
        self.hidden = nn.Linear(2048, 1024)
        self.linear = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.blocks(out)
        out = self.relu(self.separable1(out))
        out = self.relu(self.separable2(out))
        return self.linear(self.relu(self.hidden(out.mean((2, 3)))))


def _dense_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=DENSENET_EPS, momentum=KERAS_MOMENTUM)


class DenseLayer(nn.Module):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3, appended to its input: `growth` more channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        """The 1x1 convolution has four times `growth` channels."""
        super().__init__()
        self.bn1 = _dense_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = _dense_norm(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` -> `[n, inputs + growth, h, w]`."""
        out = self.conv1(self.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(self.relu(self.bn2(out)))], 1)


class DenseNet(nn.Module):
    """`[n, 3, h, w]` -> logits `[n, classes]`; the ImageNet stem leaves 8x8 of a 32x32 image."""

    def __init__(self, blocks: tuple[int, ...], classes: int, growth: int = 32) -> None:
        """`blocks`: layers per dense block; between blocks channels and sides halve."""
        super().__init__()
        channels = 2 * growth
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
            _dense_norm(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        for i, count in enumerate(blocks):
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
            layers += [_dense_norm(channels), nn.ReLU(inplace=True)]
            if i < len(blocks) - 1:
                layers += [
                    nn.Conv2d(channels, channels // 2, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                channels //= 2
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.linear(self.features(x).mean((2, 3)))


@family(
    r"(?P<name>xception|densenet121|densenet169)-mega",
    names=("xception-mega", "densenet121-mega", "densenet169-mega"),
    initialise=initialise_as_keras,
    cite="Yun: MeGA, arXiv 2406.04607 (2024)",
)
def construct(name: str, classes: int) -> nn.Module:
    """The keras.applications net without its top, with MeGA's head, on 32x32 images."""
    if name == "xception":
        return Xception(classes)
    return DenseNet(DENSENET_BLOCKS[name], classes)
