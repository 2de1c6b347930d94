"""Every network by name, drawn from a named stream.

A family is one entry of `FAMILIES`: a pattern of names, a builder and an initialisation. Names
that match none are handed to timm, then to torchvision.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.errors import UserError, nearest
from mergesuite.models import keras_nets, resnet, spiking

IMAGENET_DEPTHS = (26, 50, 152)
"""Depths 6n+2 that are also ImageNet nets: without `-wN` the name means those."""


@dataclass(frozen=True)
class Family:
    """Nets whose names match `pattern`, whole."""

    pattern: str
    names: tuple[str, ...]
    """The members that `mergesuite list models` shows; the pattern may match more."""
    summary: str
    cite: str
    construct: Callable[..., nn.Module]
    """From the matched name's groups (as keywords), `classes` and the options to a module."""
    initialise: Callable[[nn.Module, torch.Generator], None]


def _resnet(depth: str, width: str | None, classes: int, batchnorm: str = "keras") -> nn.Module:
    blocks = resnet.blocks_for(int(depth))
    return resnet.CifarResNet(blocks, classes, int(width or 16), batchnorm)


def _resnet_mega(width: str | None, classes: int) -> nn.Module:
    return resnet.CifarResNet(resnet.MEGA_152_BLOCKS, classes, int(width or 16))


FAMILIES = (
    Family(
        r"resnet(?P<depth>\d+)(-w(?P<width>[1-9]\d*))?",
        (
            "resnet8",
            "resnet8-w8",
            "resnet20",
            "resnet32",
            "resnet44",
            "resnet56",
            "resnet110",
        ),
        "CIFAR ResNet of 6n+2 layers as MeGA builds it; `-w8` sets the first stage's channels; "
        "option batchnorm: keras or torch",
        "mega2024",
        _resnet,
        resnet.initialise_as_keras,
    ),
    Family(
        r"resnet152-mega(-w(?P<width>[1-9]\d*))?",
        ("resnet152-mega",),
        "the 186-layer CIFAR ResNet that MeGA calls ResNet152",
        "mega2024",
        _resnet_mega,
        resnet.initialise_as_keras,
    ),
    Family(
        r"(?P<name>xception|densenet121|densenet169)-mega",
        ("xception-mega", "densenet121-mega", "densenet169-mega"),
        "the keras.applications net without its top, with MeGA's head, on 32x32 images",
        "mega2024",
        keras_nets.construct,
        resnet.initialise_as_keras,
    ),
    Family(
        r"sew-(?P<name>resnet18|resnet34|small)(-w(?P<width>[1-9]\d*))?",
        ("sew-small", "sew-resnet18", "sew-resnet34"),
        "spiking SEW-ResNet with a CIFAR stem; options: connect, steps, step_mode, neuron",
        "cade2024",
        spiking.construct,
        spiking.initialise,
    ),
)


def names() -> list[str]:
    """The names of this suite's own networks; timm's and torchvision's come on top."""
    return [name for family in FAMILIES for name in family.names]


def build(
    name: str,
    classes: int = 10,
    generator: torch.Generator | None = None,
    **options: Any,
) -> nn.Module:
    """The network called `name`, in training mode, on the CPU.

    Args:
        name: one of `names()`, or any classification net of timm or torchvision (untrained).
        classes: number of logits.
        generator: source of every initial parameter; by default a stream named after the net.
            The global generator is left as it was.
        options: handed to the family's builder (see its entry in `FAMILIES`), or to timm or
            torchvision.

    Raises:
        UserError: no net has this name, or it knows no such option.
    """
    if classes < 1:
        raise UserError(f"{name}: expected at least 1 class, found {classes}; change classes")
    generator = generator or streams.generator("models", name)
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        if match and _is_ours(match):
            return _build_own(family, match, classes, generator, options)
    return _build_foreign(name, classes, generator, options)


def _is_ours(match: re.Match[str]) -> bool:
    """Whether a name that matches a family's pattern is one of its depths."""
    groups = match.groupdict()
    if groups.get("depth") is None:
        return True
    depth = int(groups["depth"])
    if groups["width"] is None and depth in IMAGENET_DEPTHS:
        return False
    return depth >= 8 and depth % 6 == 2


def _build_own(
    family: Family,
    match: re.Match[str],
    classes: int,
    generator: torch.Generator,
    options: dict[str, Any],
) -> nn.Module:
    groups = match.groupdict()
    _check_options(match[0], family.construct, groups, options)
    # On "meta" the layers' own initialisation draws nothing; ours fills the memory afterwards.
    with torch.device("meta"):
        module = family.construct(**groups, classes=classes, **options)
    _materialise(module)
    family.initialise(module, generator)
    return module


def _materialise(module: nn.Module) -> None:
    """Give every tensor memory on the CPU.

    `to_empty` does the same by way of torch's symbolic shapes, whose import takes half a second.
    """
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype)
            setattr(part, name, nn.Parameter(empty, parameter.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _check_options(
    name: str,
    construct: Callable[..., nn.Module],
    groups: dict[str, Any],
    options: dict[str, Any],
) -> None:
    known = set(inspect.signature(construct).parameters) - set(groups) - {"classes"}
    if unknown := sorted(set(options) - known):
        raise UserError(
            f"model {name} takes no option {unknown[0]!r}; it takes "
            f"{', '.join(sorted(known)) or 'none'}; remove it"
        )


def _build_foreign(
    name: str, classes: int, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    """A net of timm or torchvision; its constructor draws from the global generator, so fork it."""
    import timm
    import torchvision.models

    theirs = torchvision.models.list_models(module=torchvision.models)
    # `is_model` also keeps out names such as "hf-hub:..." that would reach for the network.
    if not timm.is_model(name) and name not in theirs:
        known = [*names(), *timm.list_models(), *theirs]
        raise UserError(
            f"no model is called {name!r}{nearest(name, known)}; "
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
