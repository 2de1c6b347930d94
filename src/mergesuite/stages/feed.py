"""What the network sees of an epoch: order, division into forward passes, augmentation, mixing.

Everything is decided by named streams and by the place in the epoch, before the epoch is divided
among processes: so each image looks the same, in the same update, on any number of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mergesuite.core import streams
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.data import mixing, perturb
from mergesuite.data.images import Augment, Normalise
from mergesuite.data.mixing import Mix
from mergesuite.data.pictures import Pictures, View
from mergesuite.experiment.recipe import Recipe


@dataclass(frozen=True)
class Piece:
    """One forward pass before its images are read.

    Attributes:
        update: number of the update in the epoch.
        number: of this piece in the update.
        size: how many images it has of its own.
        read: int64 indexes (on the CPU) of its images, then of partners that are in other pieces.
        mix: how the images are mixed; `mix.partner` are places in `read`.
    """

    update: int
    number: int
    size: int
    read: Tensor
    mix: Mix | None


@dataclass(frozen=True)
class Seen:
    """What one forward pass sees: images of `piece`, their labels, those of their partners."""

    piece: Piece
    inputs: Tensor
    labels: Tensor
    others: Tensor | None
    share: float


class Feed:
    """The fit images of one run, epoch by epoch."""

    def __init__(
        self,
        recipe: Recipe,
        pictures: Pictures,
        normalise: Normalise,
        stream: tuple[str | int, ...],
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        """Feed `pictures` as `recipe` says to a network on `device`; this is one of `ranks`."""
        self.recipe, self.pictures, self.normalise = recipe, pictures, normalise
        self._stream, self._device, self._ranks = stream, device, ranks
        self._labels = pictures.labels.to(device)
        self._on_pixels, self._on_inputs = perturb.on_pixels(recipe), perturb.on_inputs(recipe)

    def batches(self, epoch: int) -> list[Tensor]:
        """The epoch's image indexes (on the CPU), shuffled, in batches; the last may be short.

        A last batch of one image is left out: BatchNorm has no variance over it. With `drop_last`
        any short one is.
        """
        order = torch.randperm(
            len(self.pictures), generator=streams.generator(*self._stream, "order", epoch)
        )
        parts = list(order.split(self.recipe.batch))
        least = self.recipe.batch if self.recipe.drop_last else 2
        return parts[:-1] if len(parts) > 1 and len(parts[-1]) < least else parts

    def pieces(self, epoch: int, batches: list[Tensor]) -> list[list[Piece]]:
        """This process's pieces of each of `batches`; of a short batch there may be none."""
        drawn = np.random.default_rng(streams.derive(*self._stream, "mixup", epoch))
        found = []
        for update, batch in enumerate(batches):
            mix = mixing.draw(drawn, len(batch), self.recipe.mixup, self.recipe.cutmix)
            parts = len(batch) if self.recipe.micro_batch == 0 else self.recipe.micro_batch
            places = torch.arange(len(batch)).tensor_split(-(-len(batch) // parts))
            made = [_piece(update, n, batch, where, mix) for n, where in enumerate(places)]
            found.append(made[self._ranks.rank :: self._ranks.size])
        return found

    def seen(self, epoch: int, pieces: list[Piece]) -> Iterator[Seen]:
        """What the network sees of `pieces`, one after another."""
        flips = Augment(
            self.recipe.augment,
            len(self.pictures),
            streams.generator(*self._stream, "augment", epoch),
        )
        images = self.pictures.batches([piece.read for piece in pieces], self._view(epoch))
        for piece, read in zip(pieces, images, strict=True):
            augmented = flips(read.to(self._device), piece.read)
            yield self._mixed(piece, self._inputs(augmented, piece.read, epoch))

    def _view(self, epoch: int) -> View:
        if not self.recipe.augment.startswith("resized-crop"):
            return View()
        return View(self.recipe.crop_scale, stream=(*self._stream, "part", epoch))

    def _inputs(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """The images as they go into the network, before they are mixed."""
        stream = (*self._stream, "pixels", epoch)
        inputs = self.normalise(perturb.perturbed(images, index, self._on_pixels, stream))
        stream = (*self._stream, "inputs", epoch)
        inputs = perturb.perturbed(inputs, index, self._on_inputs, stream)
        return inputs.contiguous(memory_format=torch.channels_last) if self._on_inputs else inputs

    def _mixed(self, piece: Piece, inputs: Tensor) -> Seen:
        labels = self._labels[piece.read.to(self._device)]
        if piece.mix is None:
            return Seen(piece, inputs, labels, None, 1.0)
        partner = piece.mix.partner.to(self._device)
        mixed, share = piece.mix.mixed(inputs[: piece.size], inputs[partner])
        return Seen(piece, mixed, labels[: piece.size], labels[partner], share)


def _piece(update: int, number: int, batch: Tensor, where: Tensor, mix: Mix | None) -> Piece:
    """The piece of `batch` at the places `where`; partners that are elsewhere are read as well."""
    own = batch[where]
    if mix is None or len(where) == len(batch):
        return Piece(update, number, len(own), own, mix)
    others = len(own) + torch.arange(len(own))
    read = torch.cat([own, batch[mix.partner[where]]])
    return Piece(update, number, len(own), read, Mix(others, mix.share, mix.centre))
