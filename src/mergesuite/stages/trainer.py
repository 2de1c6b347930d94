"""Training one network. Read `Trainer.epoch`: that is the loop.

What an epoch sees is in `feed`, how weights move in `updates` and `schedules`. The order of an
epoch and what happens to each image come from streams named by the epoch, so that a resumed run is
the same run.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergesuite.core import streams
from mergesuite.core.progress import Clock, log, steps
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise, at_once
from mergesuite.data.pictures import Pictures
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.models.pointwise import thinned
from mergesuite.stages.averages import Averages
from mergesuite.stages.feed import Feed, Piece, Seen
from mergesuite.stages.resume import Resume
from mergesuite.stages.schedules import learning_rate
from mergesuite.stages.updates import Updates

EVALUATION_BATCH = 100
"""Images that are scored at once; on a CPU of larger ones than 32 x 32 pixels as many fewer."""


class Trainer:
    """One network in training, on one device, alone or with others that train the same."""

    def __init__(
        self,
        module: nn.Module,
        recipe: Recipe,
        pictures: Pictures,
        *,
        normalise: Normalise,
        stream: tuple[str | int, ...],
        meter: Meter,
        ranks: Ranks = ALONE,
    ) -> None:
        """Train `module` on `pictures`.

        `stream` names the random streams. All `ranks` train the same network; each batch is
        divided among them.

        Raises:
            UserError: fewer images than one batch holds, or a recipe that these devices cannot do.
        """
        if len(pictures) < 2:
            raise UserError(f"training needs at least 2 images, the fit split has {len(pictures)}")
        self.module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.recipe = recipe
        self.device = next(module.parameters()).device
        self.feed = Feed(recipe, pictures, normalise, stream, self.device, ranks)
        self.updates = Updates(self.module, recipe, ranks)
        self.averages = Averages(self.module, recipe)
        self.normalise = normalise
        self.ranks = ranks
        self._stream = stream
        self._meter = meter

    @property
    def size(self) -> int:
        """How many images there are."""
        return len(self.feed.pictures)

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the weights."""
        return self.updates.optimiser

    def epoch(self, epoch: int, stop_after: int | None = None) -> dict[str, float]:
        """Train through one epoch (from 0), or through `stop_after` images of it.

        Returns:
            Learning rate at the end, mean loss and accuracy while training (fraction).

        Raises:
            UserError: the loss is not finite.
        """
        self.module.train()
        batches = self.feed.batches(epoch)
        taken = batches if stop_after is None else _up_to(batches, stop_after)
        pieces = self.feed.pieces(epoch, taken)
        examples = self.feed.seen(epoch, list(itertools.chain.from_iterable(pieces)))
        sums = torch.zeros(2, device=self.device)  # of the loss over images, and of hits
        label = f"epoch {epoch + 1}/{self.recipe.epochs}"
        shown = steps(zip(taken, pieces, strict=True), label, len(taken))
        dropout = streams.as_global(self.device, *self._stream, "dropout", epoch)
        with dropout, thinned(self.module):
            for step, (batch, mine) in enumerate(shown):
                self.updates.begin(learning_rate(self.recipe, epoch, step, len(batches)))
                for seen in itertools.islice(examples, len(mine)):
                    sums += self._piece(seen, epoch, len(batch))
                self.updates.end()
                self.averages.after_update(self.module)
        self.averages.after_epoch(epoch + 1, self.module)
        count = sum(len(batch) for batch in taken)
        self._meter.add(forward_images=count, backward_images=count)
        loss, hits = self.ranks.total(sums).tolist()
        if not math.isfinite(loss):
            raise UserError(
                f"training diverged in epoch {epoch + 1}: the loss is {loss}; "
                f"lower lr (now {self.recipe.lr})"
            )
        return {
            "lr": self.optimiser.param_groups[0]["lr"],
            "loss": loss / max(count, 1),
            "fit_accuracy": hits / max(count, 1),
        }

    def _piece(self, seen: Seen, epoch: int, size: int) -> Tensor:
        """Forward and backward through a piece of a batch of `size`.

        Returns:
            `(2,)`: the sum of the loss over its images, and the hits.
        """
        with self._dropout(seen.piece, epoch):
            logits = self.updates.forward(seen.inputs)
        loss = seen.share * self._loss(logits, seen.labels)
        if seen.others is not None:
            loss = loss + (1 - seen.share) * self._loss(logits, seen.others)
        self.updates.backward(loss, seen.piece.size / size)
        scores = logits.detach().mean(0) if self.recipe.step_weights else logits.detach()
        hits = (scores.argmax(1) == seen.labels).sum()
        return torch.stack([loss.detach().float() * seen.piece.size, hits.float()])

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy; with `step_weights` that of the time steps, each by its weight.

        Source of the latter: CADE's `finetune_hyperparameter/utils/tools/functions.py`,
        `cal_loss_with_ratio`.
        """
        smoothing, weights = self.recipe.label_smoothing, self.recipe.step_weights
        if not weights:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        each = [F.cross_entropy(step, labels, label_smoothing=smoothing) for step in logits]
        weighted = [weight * loss for weight, loss in zip(weights, each, strict=True)]
        return torch.stack(weighted).sum() / sum(weights)

    def _dropout(self, piece: Piece, epoch: int) -> contextlib.AbstractContextManager[None]:
        """The draws of a micro-batch are its own: the one before may be in another process."""
        if not self.recipe.micro_batch:
            return contextlib.nullcontext()
        names = (*self._stream, "dropout", epoch, piece.update, piece.number)
        return streams.as_global(self.device, *names)

    def state(self) -> dict[str, Any]:
        """What `restore` continues from."""
        return {
            "module": self.module.state_dict(),
            "averages": self.averages.state(),
            **self.updates.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.module.load_state_dict(state["module"])
        self.averages.restore(state["averages"])
        self.updates.restore(state)


def _up_to(batches: list[Tensor], images: int) -> list[Tensor]:
    """The first of `batches`, until `images` are in them."""
    before = itertools.accumulate(map(len, batches), initial=0)
    return [batch for batch, seen in zip(batches, before, strict=False) if seen < images]


@torch.inference_mode()
def accuracy(
    module: nn.Module, pictures: Pictures, normalise: Normalise, ranks: Ranks = ALONE
) -> float:
    """Fraction of `pictures` whose label has the highest logit, in eval mode.

    All `ranks` ask together, and each scores its part.
    """
    module.eval()
    device = next(module.parameters()).device
    at = EVALUATION_BATCH
    if device.type == "cpu":
        at = at_once(EVALUATION_BATCH, pictures.shape, 4, EVALUATION_BATCH)
    mine = torch.arange(len(pictures)).split(at)[ranks.rank :: ranks.size]
    hits = torch.zeros((), dtype=torch.int64, device=device)
    for images, index in zip(pictures.batches(mine), mine, strict=True):
        chosen = module(normalise(images.to(device))).argmax(1)
        hits += (chosen == pictures.labels[index].to(device)).sum()
    return int(ranks.total(hits)) / len(pictures)


def train(
    trainer: Trainer,
    resume: Resume,
    *,
    meter: Meter,
    images: int | None = None,
    held_out: Pictures | None = None,
    keep: Callable[[int, nn.Module], None] | None = None,
) -> list[dict[str, Any]]:
    """Train to the end of the recipe, from where an interrupted run left off.

    Args:
        trainer: the network and its recipe.
        resume: where the state is saved after epochs.
        meter: counts the cost.
        images: how many to train on in all; None: every epoch is whole.
        held_out: images that are scored after each epoch, for the curve only; nothing is selected
            by it.
        keep: called with the number (from 1) of each epoch whose weights are kept, but the last.

    Returns:
        The rows of curve.csv: epoch, lr, loss, fit_accuracy and, with `held_out`, search_accuracy.
    """
    recipe, module = trainer.recipe, trainer.module
    curve: list[dict[str, Any]] = []
    if state := resume.load(trainer.device):
        trainer.restore(state)
        curve = state["curve"]
        meter.restore(state["meter"])
        log(f"resuming after epoch {len(curve)} of {recipe.epochs}")
    clock = Clock(len(curve), recipe.epochs)
    for epoch in range(len(curve), recipe.epochs):
        left = None if images is None else images - epoch * trainer.size
        row = {"epoch": epoch + 1, **trainer.epoch(epoch, stop_after=left)}
        if held_out:
            row["search_accuracy"] = accuracy(module, held_out, trainer.normalise, trainer.ranks)
            meter.add(forward_images=len(held_out))
        curve.append(row)
        log(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {row['loss']:.4f}, "
            f"fit {row['fit_accuracy']:.4f}"
            + (f", search {row['search_accuracy']:.4f}" if held_out else "")
            + clock.left(epoch + 1)
        )
        if keep and epoch + 1 in recipe.kept_epochs()[:-1]:
            keep(epoch + 1, module)
        resume.save(lambda: {**trainer.state(), "curve": curve, "meter": meter.state()})
    return curve
