"""Every network by name, drawn from a named stream.

A family of networks is a builder in a file of this folder, under `@family`. `build` imports the
file whose family has the name asked for, and no other. Networks of timm and torchvision have a
prefix (see `foreign`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mergesuite.core import streams
from mergesuite.errors import UserError
from mergesuite.experiment import declared

Builder = Callable[..., nn.Module]
Initialise = Callable[[nn.Module, torch.Generator], None]


@dataclass(frozen=True)
class Family:
    """How the networks of a family are made."""

    construct: Builder
    initialise: Initialise


FAMILIES: dict[str, Family] = {}
"""Pattern -> family, of the files that have been imported so far."""


def family(
    pattern: str,
    *,
    names: tuple[str, ...],
    initialise: Initialise,
    cite: str = declared.OURS,
) -> Callable[[Builder], Builder]:
    """Register a builder for the names that match `pattern`, whole.

    The builder is called with the pattern's groups as keywords, `classes`, and the options that its
    signature names, on the "meta" device.

    Args:
        pattern: a regular expression.
        names: the members that `mergesuite list models` shows; the pattern may match more.
        initialise: draws every parameter and sets every buffer.
        cite: the citation of its source; none for what is of this suite.
    """

    def register(construct: Builder) -> Builder:
        FAMILIES[pattern] = Family(construct, initialise)
        return construct

    return register


def names() -> list[str]:
    """The names of this suite's own networks; `timm:...` and `torchvision:...` come on top."""
    return [name for family in declared.families() for name in family.names]


def build(
    name: str,
    classes: int = 10,
    generator: torch.Generator | None = None,
    **options: Any,
) -> nn.Module:
    """The network called `name`, in training mode, on the CPU.

    Args:
        name: one of `names()`, or `timm:NETWORK` or `torchvision:NETWORK`, untrained;
            `timm:NETWORK.TAG` and `torchvision:NETWORK@WEIGHTS` come with their weights.
        classes: number of logits.
        generator: source of every initial parameter; by default a stream named after the net.
            The global generator is left as it was.
        options: handed to the family's builder, or to timm or torchvision.

    Raises:
        UserError: no net has this name, it knows no such option, or its weights cannot be had.
    """
    if classes < 1:
        raise UserError(f"{name}: expected at least 1 class, found {classes}; change classes")
    generator = generator or streams.generator("models", name)
    (module,) = declared.modules(build=name)
    file = importlib.import_module(f"mergesuite.{module}")
    entry = declared.family(name)
    if entry is None:
        return file.build(name, classes, generator, options)
    return _build(name, entry, classes, generator, options)


def _build(
    name: str,
    entry: declared.Family,
    classes: int,
    generator: torch.Generator,
    options: dict[str, Any],
) -> nn.Module:
    """A network of ours."""
    if unknown := sorted(set(options) - set(entry.options)):
        raise UserError(
            f"model {name} takes no option {unknown[0]!r}; it takes "
            f"{', '.join(sorted(entry.options)) or 'none'}; remove it"
        )
    made, match = FAMILIES[entry.pattern.pattern], entry.pattern.fullmatch(name)
    assert match is not None  # that is how the entry was found
    # On "meta" the layers' own initialisation draws nothing; ours fills the memory afterwards.
    with torch.device("meta"):
        module = made.construct(**match.groupdict(), classes=classes, **options)
    _materialise(module)
    made.initialise(module, generator)
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
