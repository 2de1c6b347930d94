"""How torchvision draws the first weights of its ResNets, from a generator that is given."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def as_torchvision(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter anew, layer after layer.

    Convolutions are Kaiming-normal over their outputs, linear layers uniform within
    1 / sqrt(inputs), BatchNorm is 1 and 0.

    Raises:
        TypeError: a layer holds parameters and is none of these kinds.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation for {name}: {type(layer).__name__}")
