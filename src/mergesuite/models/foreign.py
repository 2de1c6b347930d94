"""Networks of timm and torchvision, untrained, from the generator given."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torchvision.models
from torch import nn

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared


def build(
    name: str, classes: int, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    """The net that timm, or else torchvision, calls `name`.

    Its constructor draws from the global generator, which is forked and left as it was.

    Raises:
        UserError: neither has it, or it knows no such option.
    """
    theirs = torchvision.models.list_models(module=torchvision.models)
    # `is_model` also keeps out names such as "hf-hub:..." that would reach for the network.
    if not timm.is_model(name) and name not in theirs:
        ours = [own for family in declared.families() for own in family.names]
        raise UserError(
            f"no model is called {name!r}{nearest(name, [*ours, *timm.list_models(), *theirs])}; "
            "`mergesuite list models` shows ours, any name of timm or torchvision works too"
        )
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators as well, which are not forked.
        torch.default_generator.manual_seed(seed)
        try:
            if timm.is_model(name):
                return timm.create_model(name, pretrained=False, num_classes=classes, **options)
            return torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
        except TypeError as error:
            raise UserError(
                f"model {name} cannot be built with {options}: {error}; change its options"
            ) from None
