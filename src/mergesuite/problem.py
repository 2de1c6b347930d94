"""A network and the data it is for: what training, merging and evaluating have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mergesuite import data, models, store, streams
from mergesuite.errors import UserError
from mergesuite.images import Normalise
from mergesuite.spec import Data


@dataclass
class Problem:
    """A model's name, a data set, and the device to work on.

    Attributes:
        build: name for `models.build`.
        options: further arguments of `models.build`.
        data: the data set, how much of it, and whether inputs are normalised.
        device: where images and networks are.
    """

    build: str
    data: Data
    device: torch.device
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find the data; a split is read when it is asked for."""
        self._splits = data.load(self.data.name, sizes=self.data.counts() or None)
        self.classes = self._splits.classes
        self.mean, self.std = self._splits.statistics if self.data.normalise else (None, None)
        self.normalise = Normalise(self.mean, self.std, self.device)

    def images(self, split: str) -> tuple[Tensor, Tensor]:
        """uint8 images `(n, 3, h, w)` and int64 labels `(n,)` of a split, on the device."""
        images, labels = getattr(self._splits, split)
        return images.to(self.device), labels.to(self.device)

    def first(self, split: str, count: int) -> Tensor:
        """The first `count` images of a split, on the device; where possible no more are read."""
        return self._splits.first(split, count).images.to(self.device)

    def network(self, seed: int = 0) -> nn.Module:
        """A freshly initialised network on the device; the stream is named by model and seed."""
        rng = streams.generator("init", self.build, seed)
        return models.build(self.build, self.classes, rng, **self.options).to(self.device)

    @functools.cached_property
    def _expected(self) -> dict[str, Tensor]:
        return models.build(self.build, self.classes, **self.options).state_dict()

    def load(self, path: Path) -> dict[str, Tensor]:
        """A checkpoint's state dict, checked against this problem's network.

        Raises:
            UserError: the file is unreadable, is of another network, or holds weights that are
                not finite.
        """
        return self.check(store.load_weights(path), path)

    def check(self, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
        """`state` if it fits this problem's network; errors name `path`."""
        expected = self._expected
        missing = [
            name
            for name, tensor in expected.items()
            if name not in state and tensor.is_floating_point()
        ]
        extra = [name for name in state if name not in expected]
        if missing or extra:
            what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} too many"
            raise UserError(
                f"{path} {what} for model {self.build} with {self.classes} classes: "
                "give the model and the data it was trained with"
            )
        for name, tensor in state.items():
            if tensor.shape != expected[name].shape:
                raise UserError(
                    f"{path}: {name!r} has shape {tuple(tensor.shape)}, model {self.build} with "
                    f"{self.classes} classes has {tuple(expected[name].shape)}: "
                    "parents must be of that model and data"
                )
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f"{path}: {name!r} holds NaN or infinite weights: "
                    "that network diverged, leave it out"
                )
        return {**{k: v for k, v in expected.items() if k not in state}, **state}
