"""Layers of few channels, computed on a CPU with whole vector registers.

torch's kernels go over channels-last memory pixel by pixel: eight channels fill half of a register
of sixteen numbers. But in that memory several pixels side by side are one pixel of more channels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LANES = {"AVX512": 16, "AVX2": 8}
"""float32 numbers in a vector register, by torch's name of the instructions."""
WIDE = 256
"""Numbers that BatchNorm takes as one pixel: many registers, and far less than a cache."""


def times(tensor: Tensor, channels: int) -> int:
    """How often so many channels fit into a register where `tensor` lies; a power of 2."""
    lanes = LANES.get(torch.backends.cpu.get_cpu_capability(), 1)
    usable = tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return 1 << max(0, (lanes // channels).bit_length() - 1) if usable else 1


def columns(layer: nn.Module) -> int:
    """How many output columns of a layer are worth computing at once; 1: leave it as it is.

    Two columns look at k + 1 columns of the input where one looks at k: it pays from k = 3 on.
    """
    if type(layer) is not nn.Conv2d or layer.kernel_size[1] < 3:
        return 1
    plain = layer.groups == 1 and layer.stride == layer.dilation == (1, 1)
    padded = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return times(layer.weight, layer.out_channels) if plain and padded else 1


class Columns(nn.Module):
    """A convolution that computes a few columns of its output at once: the same sums.

    It does so in channels-last memory; in other memory it is the convolution. Neighbouring outputs
    become channels of one. Its window is as wide as theirs together, with zeros where an output
    does not look, and moves on by their number.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        """`layer`: one with `columns(layer)` above 1. It goes on owning the weights."""
        super().__init__()
        self.layer = layer
        self.columns = columns(layer)
        height, width = layer.kernel_size
        outputs, width = self.columns * layer.out_channels, width + self.columns - 1
        weight = layer.weight.detach().new_zeros(outputs, layer.in_channels, height, width)
        self.weight = nn.Buffer(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Buffer(weight.new_zeros(outputs))
        self.load()

    @torch.no_grad()
    def load(self) -> None:
        """Take over the weights that the layer holds now."""
        width = self.layer.kernel_size[1]
        for i, one in enumerate(self.weight.chunk(self.columns)):
            one[..., i : i + width].copy_(self.layer.weight)
        if self.layer.bias is not None:
            self.bias.copy_(self.layer.bias.repeat(self.columns))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, h, w]` -> `[n, outputs, h', w']`, as `layer` gives it."""
        layer, padding = self.layer, self.layer.padding
        assert not isinstance(padding, str)
        width = x.shape[3] + 2 * padding[1] - layer.kernel_size[1] + 1
        if x.stride(1) != 1 or width % self.columns:
            return F.conv2d(x, layer.weight, layer.bias, padding=padding)
        out = F.conv2d(x, self.weight, self.bias, (1, self.columns), padding)
        # In channels-last memory this is a view.
        out = out.permute(0, 2, 3, 1).reshape(len(x), out.shape[2], width, -1)
        return out.permute(0, 3, 1, 2)


def widen(network: nn.Module) -> list[Columns]:
    """Put `Columns` in the place of the convolutions of `network` that gain by it; returns them."""
    found = []
    for name, layer in list(network.named_modules()):
        if columns(layer) > 1:
            assert isinstance(layer, nn.Conv2d)
            found.append(Columns(layer))
            network.set_submodule(name, found[-1])
    return found


def standardise(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What `layer` computes in training mode for `x` `[n, c, h, w]`, up to rounding.

    Its running statistics move by its momentum, as there.
    """
    mean, var, momentum = layer.running_mean, layer.running_var, layer.momentum
    if not _fits(x) or mean is None or var is None or momentum is None:
        return nn.BatchNorm2d.forward(layer, x)
    n, c, h, w = x.shape
    pixels = n * h * w
    side = _side(pixels, c)
    wide = x.permute(0, 2, 3, 1).view(-1, side * c)
    centre, spread = _moments(wide, side)
    mean.mul_(1 - momentum).add_(centre, alpha=momentum)
    var.mul_(1 - momentum).add_(spread, alpha=momentum * pixels / (pixels - 1))
    scale = (spread + layer.eps).rsqrt_()
    scale = scale * layer.weight if layer.affine else scale
    shift = layer.bias - centre * scale if layer.affine else -centre * scale
    out = wide.mul(scale.repeat(side)).add_(shift.repeat(side))
    return out.view(n, h, w, c).permute(0, 3, 1, 2)


def _fits(x: Tensor) -> bool:
    """Whether `x` has the memory for it. A single value per channel is torch's to refuse."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return last and x.dtype == torch.float32 and x.numel() > x.shape[1]


def _side(pixels: int, channels: int) -> int:
    """How many pixels are taken as one: a divisor of their number, and less than all of them."""
    side = math.gcd(pixels, max(1, WIDE // channels))
    return side if side < pixels else 1


def _moments(wide: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance `[c]` of `wide` `[rows, side * c]`, over rows and `side`.

    Those of the `side` parts, joined (Chan et al. 1983, equal parts). Their sums are shorter than
    torch's over all pixels, so that less is lost to rounding.
    """
    rows = len(wide)
    means, variances = wide.new_zeros(2, wide.shape[1])
    torch.batch_norm_update_stats(wide, means, variances, 1.0)  # variances are unbiased
    means, variances = means.view(side, -1), variances.view(side, -1)
    mean = means.mean(0)
    between = (means - mean).square_().mean(0)
    return mean, variances.mean(0).mul_((rows - 1) / rows).add_(between)


class Filled:
    """The narrow layers of one network, computed as here."""

    def __init__(self, module: nn.Module) -> None:
        """Look up the layers of `module`, which stays on its device."""
        layers = list(module.modules())
        self._columns = {
            layer: Columns(layer)
            for layer in layers
            if isinstance(layer, nn.Conv2d) and columns(layer) > 1
        }
        self._norms = {layer: way for layer in layers if (way := _standardised(layer))}

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within it layers compute as here, as long as no weight changes.

        The BatchNorm layers are to be in training mode and to keep running statistics.
        """
        for layer in self._columns.values():
            layer.load()
        ways = {layer: wide.forward for layer, wide in self._columns.items()}
        with forwards({**ways, **self._norms}):
            yield


@contextmanager
def forwards(ways: Mapping[nn.Module, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Within it layers compute in another way."""
    for layer, way in ways.items():
        layer.forward = way
    try:
        yield
    finally:
        for layer in ways:
            del layer.forward


def _standardised(layer: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Another way to compute a BatchNorm layer, if it has one."""
    if type(layer) is not nn.BatchNorm2d or layer.running_mean is None:
        return None
    narrow = times(layer.running_mean, layer.num_features) > 1
    return functools.partial(standardise, layer) if narrow else None
