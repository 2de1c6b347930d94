"""A network and the data it is for: what training, merging and evaluating have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mergesuite import data, models
from mergesuite.core import store, streams, weightfiles
from mergesuite.data.images import Augment, Normalise
from mergesuite.data.pictures import InMemory, Pictures
from mergesuite.data.stored import Images
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network, Other
from mergesuite.weights import as_stored, check_fit


@dataclass
class Problem:
    """A network, a data set, and the device to work on.

    Attributes:
        asked: which network; its name and options go to `models.build`.
        data: the data set, how much of it, and whether inputs are normalised.
        device: where images and networks are.
    """

    asked: Network
    data: Data
    device: torch.device

    def __post_init__(self) -> None:
        """Find the data; a split is read when it is asked for."""
        self._splits = data.load(
            self.data.name,
            sizes=self.data.counts() or None,
            held_out=self.data.held_out,
            preprocess=self.data.preprocess,
        )
        self.classes = self._splits.classes
        self.mean, self.std = self._splits.statistics if self.data.normalise else (None, None)
        self.normalise = Normalise(self.mean, self.std, self.device)
        self.batchnorm_augment: str = self.data.batchnorm_augment

    @functools.cached_property
    def content(self) -> str:
        """A digest of what the data set's files hold; the same on every machine."""
        return self._splits.content

    def pictures(self, split: str, leave_out: tuple[int, int] = (0, 0)) -> Pictures:
        """The images of a split to train on, batch by batch; from memory they are on the device.

        `leave_out`: see `data.Splits.pictures`.
        """
        found = self._splits.pictures(split, leave_out)
        if isinstance(found, InMemory):
            return InMemory(found.images.to(self.device), found.labels)
        return found

    def labels(self, split: str) -> Tensor:
        """The int64 labels `(n,)` of a split, on the device; no image is read."""
        return self._splits.labels(split).to(self.device)

    def scored(self, split: str, count: int | None = None) -> Images:
        """The first `count` images of a split (None: all) to score networks on; no more are read.

        On the device, but for those that are too many for memory: see `data.stored`.
        """
        images = self._splits.scored(split, count)
        return images.to(self.device) if isinstance(images, Tensor) else images

    def calibration(self, count: int | None) -> Images:
        """The first `count` images of fit to make BatchNorm statistics of, as `scored`.

        Augmented as the data says, in one draw: every network meets the same images.
        """
        images = self.scored("fit", count)
        if self.batchnorm_augment == "none":
            return images
        changed = self.calibrating(len(images))
        if not isinstance(images, Tensor):
            return images.drawn(None, changed)
        return changed(images, torch.arange(len(images)))

    def calibrating(self, count: int) -> Augment:
        """What is done to the first `count` images of fit for BatchNorm statistics."""
        return Augment(self.batchnorm_augment, count, streams.generator("calibration"))

    def other(self, asked: Other) -> data.Splits:
        """A set of other images to evaluate on: see `data.load_test`."""
        return data.load_test(asked, self._splits)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the network's outputs."""
        return self._splits.source.classes

    def network(self, seed: int = 0) -> nn.Module:
        """A freshly initialised network on the device; the stream is named by model and seed."""
        rng = streams.generator("init", self.asked.build, seed)
        return self._built(rng).to(self.device)

    def _built(self, rng: torch.Generator | None = None) -> nn.Module:
        options: dict[str, Any] = dict(self.asked.options)
        return models.build(self.asked.build, self.classes, rng, **options)

    @functools.cached_property
    def _expected(self) -> dict[str, Tensor]:
        return self._built().state_dict()

    def load(self, path: Path) -> dict[str, Tensor]:
        """A checkpoint's state dict, checked against this problem's network.

        Raises:
            UserError: the file is unreadable, is of another network, or holds weights that are no
                numbers or not finite, or variances below zero.
        """
        state = store.load_weights(path, weightfiles.most_bytes(self._expected))
        return self.fitted(state, f"the weights in {path}")

    def fitted(self, state: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
        """A state dict as this problem's network has it; `weights` is what an error calls it.

        Raises:
            UserError: as `load`.
        """
        model = f"model {self.asked.build} with {self.classes} classes"
        if extra := state.keys() - self._expected.keys():
            raise UserError(
                f"{weights} have {min(extra)!r}, which {model} has not: "
                "give the model and the data they were trained with"
            )
        # A file may lack BatchNorm's batch counters, which no result depends on.
        shapes = {
            name: tuple(tensor.shape)
            for name, tensor in self._expected.items()
            if name in state or tensor.is_floating_point()
        }
        check_fit(state, shapes, weights, model)
        return {**self._expected, **as_stored(state, self._expected, weights)}
