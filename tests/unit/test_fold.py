"""A convolution with the BatchNorm behind it folded in, beside torch's own way."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mergesuite.core import streams
from mergesuite.fitness.fold import fold

KINDS = list(itertools.product([True, False], [True, False], [1, 2]))


@pytest.mark.parametrize(("bias", "affine", "groups"), KINDS)
@torch.no_grad()
def test_folded_weights_are_the_bits_of_torch(bias, affine, groups):
    rng = streams.generator("test", "fold")
    conv, norm = nn.Conv2d(4, 6, 3, bias=bias, groups=groups), nn.BatchNorm2d(6, affine=affine)
    for tensor in (*conv.parameters(), *norm.parameters(), *norm.buffers()):
        tensor.copy_(torch.rand(tensor.shape, generator=rng) + 0.1)
    weight = torch.empty_like(conv.weight).contiguous(memory_format=torch.channels_last)
    shift = torch.empty(6)

    fold(conv, norm, weight, shift)

    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    expected = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias
    )
    assert torch.equal(weight, expected[0])
    assert torch.equal(shift, expected[1])
    assert weight.is_contiguous(memory_format=torch.channels_last)
