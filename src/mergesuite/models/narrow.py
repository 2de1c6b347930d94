"""Layers of few channels, computed on a CPU with whole vector registers.

torch's kernels go over channels-last memory pixel by pixel: eight channels fill half of a register
of sixteen numbers. But in that memory several pixels side by side are one pixel of more channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LANES = {"AVX512": 16, "AVX2": 8}
"""float32 numbers in a vector register, by torch's name of the instructions."""


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
