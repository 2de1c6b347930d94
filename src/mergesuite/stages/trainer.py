"""Training one network. Read `Trainer.epoch`: that is the loop.

All images are in memory; the order of an epoch and what augmentation does to each image come from
streams named by the epoch, so that a resumed run is the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergesuite.core import streams
from mergesuite.core.runtime import Meter, log, progress
from mergesuite.data.images import Augment, Normalise
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Recipe
from mergesuite.stages.resume import Resume

EVALUATION_BATCH = 100


def make_optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters.

    `foreach` takes them together, which a CPU does not by default: the same bytes in two thirds of
    the time. (`fused` is faster still, but rounds otherwise.)
    """
    if recipe.optimiser == "adam":
        return torch.optim.Adam(
            module.parameters(),
            lr=recipe.lr,
            eps=recipe.eps,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )
    return torch.optim.SGD(
        module.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        foreach=True,
    )


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of update `step` (from 0) of `steps` in `epoch` (from 0).

    Source: cosine as in CADE's fine-tuning, per epoch there and per update here; cyclic is
    Huang et al. (2017), equation 2: (lr/2)(1 + cos(pi t / C)) within each cycle of C updates.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    cycle = recipe.epochs if recipe.schedule == "cosine" else recipe.epochs // recipe.cycles
    position = (epoch % cycle + step / steps) / cycle
    return recipe.lr / 2 * (1 + math.cos(math.pi * position))


class Trainer:
    """One network in training, on one device."""

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        images: Tensor,
        labels: Tensor,
        *,
        normalise: Normalise,
        stream: tuple[str | int, ...],
        meter: Meter,
    ) -> None:
        """Train `module` on uint8 `images` `(n, 3, h, w)` and int64 `labels` `(n,)`.

        All tensors and the module are on the same device. `stream` names the random streams.

        Raises:
            UserError: fewer images than one batch holds.
        """
        if len(images) < 2:
            raise UserError(f"training needs at least 2 images, the fit split has {len(images)}")
        self.module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.recipe = recipe
        self.optimiser = make_optimiser(module, recipe)
        self._images, self._labels = images, labels
        self.normalise = normalise
        self._stream = stream
        self._meter = meter

    @property
    def size(self) -> int:
        """How many images there are."""
        return len(self._images)

    @property
    def device(self) -> torch.device:
        """Where the images and the network are."""
        return self._images.device

    def batches(self, epoch: int) -> list[Tensor]:
        """The epoch's image indexes (on the CPU), shuffled, in batches; the last may be short.

        A last batch of one image is left out: BatchNorm has no variance over it.
        """
        order = torch.randperm(
            len(self._images), generator=streams.generator(*self._stream, "order", epoch)
        )
        parts = list(order.split(self.recipe.batch))
        return parts[:-1] if len(parts) > 1 and len(parts[-1]) == 1 else parts

    def inputs(self, epoch: int, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """What the network sees of `batches`: augmented, normalised images and their labels."""
        augment = Augment(
            self.recipe.augment,
            len(self._images),
            streams.generator(*self._stream, "augment", epoch),
        )
        for index in batches:
            where = index.to(self._images.device)
            # Not self._images[where]: index_select copies whole images, in a tenth of the time.
            images = augment(self._images.index_select(0, where), index)
            yield self.normalise(images), self._labels[where]

    def epoch(self, epoch: int, stop_after: int | None = None) -> dict[str, float]:
        """Train through one epoch (from 0), or through `stop_after` images of it.

        Returns:
            Learning rate at the end, mean loss and accuracy while training (fraction).

        Raises:
            UserError: the loss is not finite.
        """
        self.module.train()
        mixing = np.random.default_rng(streams.derive(*self._stream, "mixup", epoch))
        batches = self.batches(epoch)
        loss_sum = torch.zeros((), device=self._images.device)
        hits = torch.zeros((), device=self._images.device)
        seen = 0
        examples = progress(self.inputs(epoch, batches), f"epoch {epoch + 1}", len(batches))
        with streams.as_global(self.device, *self._stream, "dropout", epoch):
            for step, (inputs, labels) in enumerate(examples):
                if stop_after is not None and seen >= stop_after:
                    break
                rate = learning_rate(self.recipe, epoch, step, len(batches))
                for group in self.optimiser.param_groups:
                    group["lr"] = rate
                loss, correct = self._update(inputs, labels, mixing)
                loss_sum += loss * len(labels)
                hits += correct
                seen += len(labels)
        self._meter.add(forward_images=seen, backward_images=seen)
        if not bool(torch.isfinite(loss_sum)):
            raise UserError(
                f"training diverged in epoch {epoch + 1}: the loss is {float(loss_sum)}; "
                f"lower lr (now {self.recipe.lr})"
            )
        return {
            "lr": self.optimiser.param_groups[0]["lr"],
            "loss": float(loss_sum) / max(seen, 1),
            "fit_accuracy": float(hits) / max(seen, 1),
        }

    def _update(
        self, inputs: Tensor, labels: Tensor, mixing: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """One update; returns the detached mean loss and the number of hits."""
        smoothing = self.recipe.label_smoothing
        other, share = None, 1.0
        if self.recipe.mixup > 0:
            share = float(mixing.beta(self.recipe.mixup, self.recipe.mixup))
            partner = torch.from_numpy(mixing.permutation(len(inputs))).to(inputs.device)
            inputs = share * inputs + (1 - share) * inputs[partner]
            other = labels[partner]
        logits = self.module(inputs)
        loss = share * F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if other is not None:
            loss = loss + (1 - share) * F.cross_entropy(logits, other, label_smoothing=smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()


@torch.inference_mode()
def accuracy(module: nn.Module, images: Tensor, labels: Tensor, normalise: Normalise) -> float:
    """Fraction of `images` whose label has the highest logit, in eval mode."""
    module.eval()
    hits = sum(
        int((module(normalise(x)).argmax(1) == y).sum())
        for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
    )
    return hits / len(images)


def train(
    trainer: Trainer,
    resume: Resume,
    *,
    meter: Meter,
    images: int | None = None,
    held_out: tuple[Tensor, Tensor] | None = None,
    keep: Callable[[int, nn.Module], None] | None = None,
) -> list[dict[str, Any]]:
    """Train to the end of the recipe, from where an interrupted run left off.

    Args:
        trainer: the network and its recipe.
        resume: where the state is saved after each epoch.
        meter: counts the cost.
        images: how many to train on in all; None: every epoch is whole.
        held_out: images and labels that are scored after each epoch, for the curve only; nothing
            is selected by it.
        keep: called with the number (from 1) of each epoch whose weights are kept, but the last.

    Returns:
        The rows of curve.csv: epoch, lr, loss, fit_accuracy and, with `held_out`, search_accuracy.
    """
    recipe, module = trainer.recipe, trainer.module
    curve: list[dict[str, Any]] = []
    if state := resume.load(trainer.device):
        module.load_state_dict(state["module"])
        trainer.optimiser.load_state_dict(state["optimiser"])
        curve = state["curve"]
        meter.restore(state["meter"])
        log(f"resuming after epoch {len(curve)} of {recipe.epochs}")
    for epoch in range(len(curve), recipe.epochs):
        left = None if images is None else images - epoch * trainer.size
        row = {"epoch": epoch + 1, **trainer.epoch(epoch, stop_after=left)}
        if held_out:
            row["search_accuracy"] = accuracy(module, *held_out, trainer.normalise)
            meter.add(forward_images=len(held_out[0]))
        curve.append(row)
        log(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {row['loss']:.4f}, "
            f"fit {row['fit_accuracy']:.4f}"
            + (f", search {row['search_accuracy']:.4f}" if held_out else "")
        )
        if keep and epoch + 1 in recipe.kept_epochs()[:-1]:
            keep(epoch + 1, module)
        resume.save(
            module=module.state_dict(),
            optimiser=trainer.optimiser.state_dict(),
            curve=curve,
            meter=meter.state(),
        )
    return curve
