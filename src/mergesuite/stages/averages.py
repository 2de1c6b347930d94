"""Averages of weights beside the network in training, and statistics for averaged weights.

All of it is that of `torch.optim.swa_utils`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from mergesuite.core import streams
from mergesuite.core.runtime import Meter
from mergesuite.data.pictures import Pictures
from mergesuite.experiment.recipe import Recipe
from mergesuite.models.batchnorm import has_batchnorm, statistics_batch
from mergesuite.stages.problem import Problem


class Averages:
    """The averages that a recipe asks for: `ema` after every update, `swa` after ending epochs.

    EMA averages BatchNorm statistics as it does weights, as torchvision's training does. SWA has
    none of its own before `estimate_statistics` (Izmailov et al. 2018, algorithm 1).
    """

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        """Copies of `module`, on its device, for the averages that are on."""
        self._swa_start = recipe.swa_start
        decay = get_ema_multi_avg_fn(recipe.ema)
        self._made = {
            name: AveragedModel(module, multi_avg_fn=decay, use_buffers=True)
            if name == "ema"
            else AveragedModel(module)
            for name in recipe.averages()
        }

    def after_update(self, module: nn.Module) -> None:
        """Take the weights of `module` into the moving average."""
        if "ema" in self._made:
            self._made["ema"].update_parameters(module)

    def after_epoch(self, number: int, module: nn.Module) -> None:
        """Take the weights after epoch `number` (from 1) into the average of ending epochs."""
        if "swa" in self._made and number > self._swa_start:
            self._made["swa"].update_parameters(module)

    def modules(self) -> dict[str, nn.Module]:
        """The networks with the averaged weights, by the name of the average."""
        return {name: made.module for name, made in self._made.items()}

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What `restore` continues from."""
        return {name: made.state_dict() for name, made in self._made.items()}

    def restore(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue exactly where `state` was taken."""
        for name, made in self._made.items():
            made.load_state_dict(state[name])


def estimate_statistics(
    module: nn.Module,
    pictures: Pictures,
    problem: Problem,
    *,
    stream: tuple[str | int, ...],
    meter: Meter,
) -> None:
    """Replace BatchNorm statistics by those of `pictures`, by torch's `update_bn`.

    The images are taken in their order, augmented as the problem's `calibration`, in batches that
    differ by one image at most, for `update_bn` gives each batch the same weight. It leaves dropout
    on, which draws from `stream`; the network is left as it was but for the statistics, in
    channels-last memory.
    """
    if not has_batchnorm(module):
        return
    # As in training: sums over another layout round otherwise.
    module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    device = next(module.parameters()).device
    count = len(pictures)
    (first,) = pictures.batches([torch.arange(1)])
    parts = torch.arange(count).tensor_split(-(-count // statistics_batch(first.shape)))
    changed = problem.calibrating(count)
    batches = zip(pictures.batches(parts), parts, strict=True)
    with streams.as_global(device, *stream):
        update_bn((problem.normalise(changed(x.to(device), part)) for x, part in batches), module)
    meter.add(forward_images=count)
