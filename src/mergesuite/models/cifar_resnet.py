"""The CIFAR ResNet of He et al. 2016 in torch's form: for papers whose code is PyTorch.

Source: He et al. 2016, arXiv 1512.03385, section 4.2 (stages, shortcut A); what a PyTorch paper
leaves unsaid is as in torchvision's ResNets: convolutions without bias, padded on all sides alike,
Kaiming-normal kernels, torch's BatchNorm. Keras' form of the same net, for MeGA, is in `resnet`.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mergesuite.errors import UserError
from mergesuite.models import family
from mergesuite.models.initialise import as_torchvision
from mergesuite.models.resnet import blocks_for

Shortcut = Literal["A", "B"]


class PadChannels(nn.Module):
    """Shortcut A: every other pixel, and zeros for the channels that are new; no parameters.

    `[n, c, h, w]` -> `[n, c + more, ceil(h / 2), ceil(w / 2)]`.
    """

    def __init__(self, more: int) -> None:
        """`more`: how many channels are new."""
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        """The shortcut."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))


def project(inputs: int, outputs: int) -> nn.Module:
    """Shortcut B: a 1x1 convolution at stride 2, then BatchNorm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """conv-BN-ReLU-conv-BN, add, ReLU; stride 2 where the number of channels changes.

    `[n, inputs, h, w]` -> `[n, outputs, ceil(h / stride), ceil(w / stride)]`.
    """

    def __init__(self, inputs: int, outputs: int, shortcut: Shortcut) -> None:
        """`shortcut`: how the input gets the shape of the output."""
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride == 2:
            pads = shortcut == "A"
            self.downsample = PadChannels(outputs - inputs) if pads else project(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class CifarResNet(nn.Module):
    """`[n, 3, h, w]` -> logits `[n, classes]`; parameters are named as in torchvision's ResNets.

    3x3 stem without pooling, three stages of `width`, `2 width` and `4 width` channels, mean over
    positions, linear.
    """

    def __init__(
        self, blocks: tuple[int, int, int], classes: int, width: int, shortcut: Shortcut
    ) -> None:
        """`blocks`: how many blocks each stage has, the first of stages 2 and 3 at stride 2."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, blocks[0], shortcut)
        self.layer2 = _stage(width, 2 * width, blocks[1], shortcut)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], shortcut)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.fc(out.mean((2, 3)))


def _stage(inputs: int, outputs: int, count: int, shortcut: Shortcut) -> nn.Sequential:
    rest = (Block(outputs, outputs, shortcut) for _ in range(count - 1))
    return nn.Sequential(Block(inputs, outputs, shortcut), *rest)


@family(
    r"resnet(?P<depth>\d{1,4})-torch(-w(?P<width>[1-9]\d{0,3}))?",
    names=("resnet8-torch", "resnet8-torch-w8", "resnet20-torch", "resnet56-torch"),
    initialise=as_torchvision,
    cite="He et al.: Deep Residual Learning for Image Recognition, CVPR (2016)",
)
def construct(depth: str, width: str | None, classes: int, shortcut: Shortcut = "A") -> nn.Module:
    """CIFAR ResNet of 6n+2 layers in torch's form; `-w8` sets the first stage's channels.

    Args:
        depth: weighted layers; those of shortcuts B are not counted.
        width: channels of the first stage; None for 16.
        classes: number of logits.
        shortcut: where the shape changes, "A" pads with zeros (as He et al. on CIFAR), "B" is a
            1x1 convolution with BatchNorm.

    Raises:
        UserError: the depth is not 6n+2, or there is no such shortcut.
    """
    if shortcut not in ("A", "B"):
        raise UserError(f"shortcut: expected A or B, found {shortcut!r}; change shortcut")
    return CifarResNet(blocks_for(int(depth)), classes, int(width or 16), shortcut)
