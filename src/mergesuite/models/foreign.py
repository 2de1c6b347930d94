"""Networks of timm and torchvision: untrained, from the generator given, or with their weights."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torchvision.models
from torch import nn

from mergesuite.core import store, weightfiles
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared, foreign
from mergesuite.models import pretrained


def build(
    name: str, classes: int, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    """The net `timm:NETWORK` or `torchvision:NETWORK`; with `.TAG` or `@WEIGHTS`, pre-trained.

    Its constructor draws from the global generator, which is forked and left as it was.

    Raises:
        UserError: the library has it not, it knows no such option, or its weights cannot be had or
            are of another number of classes.
    """
    asked = foreign.parsed(name)
    if asked is None or asked.network not in _known()[asked.library]:
        raise UserError(_no_model(name))
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators as well, which are not forked.
        torch.default_generator.manual_seed(seed)
        try:
            if asked.library == "timm":
                make = timm.create_model
                module = make(asked.network, pretrained=False, num_classes=classes, **options)
            else:
                make = torchvision.models.get_model
                module = make(asked.network, weights=None, num_classes=classes, **options)
        except TypeError as error:
            raise UserError(
                f"model {name} cannot be built with {options}: {error}; change its options"
            ) from None
    if asked.weights:
        _load(module, name, classes)
    return module


def _known() -> dict[str, list[str]]:
    """The networks of each library. No "hf-hub:..." is among them, which would reach further."""
    return {
        "timm": timm.list_models(),
        "torchvision": torchvision.models.list_models(module=torchvision.models),
    }


def _no_model(name: str) -> str:
    """What to say of a name that no network has."""
    theirs = [f"{library}:{net}" for library, nets in _known().items() for net in nets]
    meant = [one for one in theirs if one.partition(":")[2] == name]
    if meant:
        return (
            f"no model is called {name!r}: those of other libraries have a prefix, here "
            f"{' or '.join(meant)}; name one of them"
        )
    ours = [own for family in declared.families() for own in family.names]
    return (
        f"no model is called {name!r}{nearest(name, [*ours, *theirs])}; `mergesuite list models` "
        "shows ours, others are timm:NETWORK or torchvision:NETWORK"
    )


def _load(module: nn.Module, name: str, classes: int) -> None:
    """Put published weights into a network."""
    file = pretrained.find(name)
    try:
        module.load_state_dict(
            store.load_weights(file, weightfiles.most_bytes(module.state_dict()))
        )
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()
        raise UserError(
            f"the weights in {file} do not fit {name} with {classes} classes ({reason}): ask for "
            "the classes they were trained with, or start a training at them, where the "
            "classifier may differ"
        ) from None
