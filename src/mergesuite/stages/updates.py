"""One update of the weights: from the gradients of its forward passes to the optimiser's step.

A batch may be divided into micro-batches, and these among processes. Then the gradients are summed
over both, once per update. (Not by torch's DistributedDataParallel: it takes the mean over
processes, each with as many passes as the others, and a short batch has no piece for some.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe


def make_optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters.

    `foreach` takes them together, which a CPU does not by default: the same bytes in two thirds of
    the time. (`fused` is faster still, but rounds otherwise.)
    """
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            module.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(
        module.parameters(),
        lr=recipe.lr,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        foreach=True,
    )


class Updates:
    """The optimiser of one run, with precision, clipping, and the sums over its pieces."""

    def __init__(self, module: nn.Module, recipe: Recipe, ranks: Ranks = ALONE) -> None:
        """Update `module` as `recipe` says; all `ranks` do the same.

        Raises:
            UserError: float16 on a CPU, or several processes and one piece per batch.
        """
        self._device = next(module.parameters()).device
        if recipe.precision == "float16" and self._device.type == "cpu":
            raise UserError(
                "precision float16 needs a GPU, this is a CPU: use precision=bfloat16 or float32"
            )
        if ranks.size > 1 and not 0 < recipe.micro_batch <= recipe.batch // ranks.size:
            raise UserError(
                f"{ranks.size} processes divide a batch of {recipe.batch} by micro-batches: set "
                f"micro_batch to {recipe.batch // ranks.size} or less (--set micro_batch=...)"
            )
        self._module, self._recipe, self._ranks = module, recipe, ranks
        self._each_step = _each_step(module, recipe) if recipe.step_weights else None
        self._parameters = list(module.parameters())
        self.optimiser = make_optimiser(module, recipe)
        self._half = None if recipe.precision == "float32" else getattr(torch, recipe.precision)
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=recipe.precision == "float16"
        )
        self._statistics = SharedStatistics(module, ranks) if recipe.micro_batch else None

    def begin(self, rate: float) -> None:
        """Begin an update at the learning rate `rate`."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        if self._statistics:
            self._statistics.begin()

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits `(n, classes)` of `inputs`, in float32 whatever they were computed in.

        With `step_weights` `(steps, n, classes)`, those of each time step.
        """
        with torch.autocast(
            self._device.type, self._half or torch.bfloat16, enabled=self._half is not None
        ):
            logits = self._each_step(inputs) if self._each_step else self._module(inputs)
        return logits.float() if self._half else logits

    def backward(self, loss: Tensor, share: float) -> None:
        """Add the gradient of a piece's mean `loss`; `share`: of the batch's images in it."""
        self._scaler.scale(loss * share).backward()
        if self._statistics:
            self._statistics.take(share)

    def end(self) -> None:
        """Sum over processes, clip, and step."""
        if self._statistics:
            self._sum_gradients()
            self._statistics.end()
        if self._recipe.clip:
            self._scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip)
        self._scaler.step(self.optimiser)
        self._scaler.update()

    def _sum_gradients(self) -> None:
        """The sum over all processes; a process without a piece, or a weight unused in it, adds 0.

        On one process too a weight that no piece uses has the gradient 0, so that weight decay
        acts on it or not whatever their number.
        """
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self._ranks.size == 1:
            return
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        flat = self._ranks.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def state(self) -> dict[str, Any]:
        """What `restore` continues from."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self._scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])


def _each_step(module: nn.Module, recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """What gives the logits of every time step.

    Raises:
        UserError: the network has other time steps than the recipe has weights, or none.
    """
    steps, asked = getattr(module, "steps", 0), len(recipe.step_weights)
    if steps != asked:
        there = f"it has {steps} time steps" if steps else "it is no spiking network"
        raise UserError(f"step_weights has {asked} weights for the steps of a network, and {there}")
    return cast("Any", module).each_step


class SharedStatistics:
    """Running BatchNorm statistics that move once per update, whatever it is divided into.

    Each piece moves them from where they were before the update; they go to the mean of the
    places that they were moved to, weighted by images. So they do not depend on the order of the
    pieces nor on how many processes these are divided among.
    """

    def __init__(self, module: nn.Module, ranks: Ranks = ALONE) -> None:
        """Share the statistics of all layers of `module` among `ranks`."""
        self._ranks = ranks
        self._buffers = [
            buffer
            for layer in module.modules()
            if isinstance(layer, _BatchNorm)
            for buffer in layer.buffers(recurse=False)
        ]

    def begin(self) -> None:
        """Remember where the statistics are."""
        self._before = [buffer.clone() for buffer in self._buffers]
        self._sums = [torch.zeros_like(b, dtype=torch.float64) for b in self._buffers]

    def take(self, share: float) -> None:
        """Take in where a piece with this share of the images has moved them, and go back."""
        for buffer, total, before in zip(self._buffers, self._sums, self._before, strict=True):
            total.add_(buffer, alpha=share)
            buffer.copy_(before)

    def end(self) -> None:
        """Go to the mean over all pieces of all processes."""
        for buffer, total in zip(self._buffers, self._sums, strict=True):
            mean = self._ranks.total(total)
            buffer.copy_(mean if buffer.is_floating_point() else mean.round())
