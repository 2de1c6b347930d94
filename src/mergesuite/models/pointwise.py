"""1x1 convolutions at a stride, such as the shortcuts of ResNets, in training on a CPU.

In channels-last memory, with fewer input channels than a vector register holds, the gradient of
their weights is written past the end of its memory by the library that torch calls (oneDNN issue
6035: crashes, hangs, or numbers of other tensors). A convolution without a stride is not.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.nn import functional as F

from mergesuite.models.narrow import forwards

REGISTER = 16
"""float32 numbers in the widest vector register."""


def thinned(module: nn.Module) -> AbstractContextManager[None]:
    """Within it such layers of `module` first take every so many pixels: the same sums."""
    return forwards(
        {
            layer: functools.partial(_unstrided, layer)
            for layer in module.modules()
            if isinstance(layer, nn.Conv2d) and _strides(layer)
        }
    )


def _strides(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.padding in ((0, 0), "valid")
        and layer.groups == 1
        and layer.in_channels < REGISTER
        and layer.weight.device.type == "cpu"
    )


def _unstrided(layer: nn.Conv2d, x: Tensor) -> Tensor:
    down, right = layer.stride
    return F.conv2d(x[:, :, ::down, ::right], layer.weight, layer.bias)
