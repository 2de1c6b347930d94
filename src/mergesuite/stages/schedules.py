"""The learning rate of every update, from the recipe and the place in the run alone.

So a run that goes on after an interruption needs no state of a schedule. What the formulas give is
what `torch.optim.lr_scheduler` gives, stepped once per epoch or per update, up to rounding; that of
SWA is torch's own, to the last bit.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.optim.swa_utils import SWALR

from mergesuite.experiment.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of update `step` (from 0) of `steps` in `epoch` (from 0).

    A linear warm-up comes first (`LinearLR`), and what follows counts its epochs from there, as in
    `SequentialLR`. With SWA the schedule has the epochs up to `swa_start`; the first averaged epoch
    keeps the rate that it has then, and the later ones are stepped by `SWALR`, once each.

    Source: Huang et al. (2017), equation 2, for cyclic: (lr/2)(1 + cos(pi t / C)) within each cycle
    of C updates. The step and cosine schedules are those of `MultiStepLR`, `StepLR` and
    `CosineAnnealingLR`.
    """
    if recipe.swa_start and epoch >= recipe.swa_start:
        begun = _scheduled(recipe, recipe.swa_start, 0.0)
        averaged = recipe.epochs - recipe.swa_start
        rates = _swa_rates(begun, recipe.swa_lr, recipe.swa_anneal, averaged)
        return rates[epoch - recipe.swa_start]
    return _scheduled(recipe, epoch, step / steps if recipe.rate_by == "update" else 0.0)


def _scheduled(recipe: Recipe, epoch: int, part: float) -> float:
    """The learning rate when `part` of `epoch` is over, averaging apart."""
    if epoch < recipe.warmup:
        risen = (epoch + part) / recipe.warmup
        return recipe.lr * (recipe.warmup_from + (1 - recipe.warmup_from) * risen)
    epoch -= recipe.warmup
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        passed = sum(epoch >= milestone for milestone in recipe.milestones)
        return recipe.lr * recipe.gamma ** (
            epoch // recipe.step_every if recipe.step_every else passed
        )
    if recipe.schedule == "cyclic":
        cycle = recipe.epochs // recipe.cycles
        return recipe.lr / 2 * (1 + math.cos(math.pi * ((epoch % cycle + part) / cycle)))
    position = (epoch + part) / ((recipe.swa_start or recipe.epochs) - recipe.warmup)
    low = recipe.lr_end
    return low + (recipe.lr - low) / 2 * (1 + math.cos(math.pi * position))


@functools.cache
def _swa_rates(lr: float, swa_lr: float, anneal: int, epochs: int) -> list[float]:
    """The rates of all averaged epochs, by `SWALR` itself: its recursion rounds as no formula."""
    optimiser = torch.optim.SGD([torch.zeros(1)], lr)
    schedule = SWALR(optimiser, swa_lr, anneal)
    rates = [lr]
    for _ in range(epochs - 1):
        optimiser.step()
        schedule.step()
        rates.append(float(optimiser.param_groups[0]["lr"]))
    return rates
