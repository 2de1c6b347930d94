"""Parents and images that somebody hands over, as the problem that the stages work on."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mergesuite import data, models
from mergesuite.core import store, weightfiles
from mergesuite.data.images import Normalise
from mergesuite.data.sources import SPLITS, LazySplit, Source
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network
from mergesuite.stages.problem import Problem
from mergesuite.weights import check_same

Parent = nn.Module | Mapping[str, Tensor] | str | Path
Parents = Sequence[Parent] | Mapping[str, Parent]
Pairs = tuple[Tensor, Tensor] | DataLoader[Any] | Dataset[Any]
"""Images and labels: two tensors, or what gives them one by one or batch by batch."""
FEWEST = 2
ROUNDING = 1e-3
"""How far a value in [0, 1], times 255, may be from a whole number: float32 of `ToTensor` is."""


class Given(Problem):
    """A problem whose parents are held in memory, and whose network may be anybody's module.

    Attributes:
        parents: whole state dicts by name, checked against the network and each other.
        files: the files of those that come from files.
    """

    def __init__(
        self,
        parents: Parents,
        network: Network | nn.Module | None,
        splits: data.Splits,
        statistics: tuple[Sequence[float], Sequence[float]] | None,
        device: torch.device,
        batchnorm_augment: str = "none",
    ) -> None:
        """Check everything; nothing is computed.

        Raises:
            UserError: fewer than two parents, two that are the same, or one that does not fit.
        """
        named = _named(parents)
        if len(named) < FEWEST:
            raise UserError(f"{FEWEST} parents or more are merged, found {len(named)}: give others")
        self.device, self._splits, self.classes = device, splits, splits.classes
        self.mean, self.std = statistics or (None, None)
        self.normalise = Normalise(self.mean, self.std, device)
        self.batchnorm_augment = batchnorm_augment
        self._template = self._network_of(network, named)
        self.parents = {name: self._read(name, one) for name, one in named.items()}
        self.files = {n: Path(one) for n, one in named.items() if isinstance(one, str | Path)}
        check_same(self.parents)

    def _network_of(
        self, network: Network | nn.Module | None, named: Mapping[str, Parent]
    ) -> nn.Module:
        """The architecture, on the CPU."""
        if isinstance(network, Network):
            self.asked = network
            options: dict[str, Any] = dict(network.options)
            return models.build(network.build, self.classes, **options)
        first = next((p for p in named.values() if isinstance(p, nn.Module)), None)
        module = network if network is not None else first
        if module is None:
            raise UserError(
                "state dicts and files say nothing of their network: give model, by name or as a "
                "module"
            )
        self.asked = Network.model_construct(build=type(module).__name__, options={})
        return copy.deepcopy(module).cpu()

    def _read(self, name: str, parent: Parent) -> dict[str, Tensor]:
        if isinstance(parent, str | Path):
            most = weightfiles.most_bytes(self._expected)
            return self.fitted(store.load_weights(Path(parent), most), f"the weights in {parent}")
        state = parent.state_dict() if isinstance(parent, nn.Module) else parent
        copied = {key: tensor.detach().cpu().clone() for key, tensor in state.items()}
        return self.fitted(copied, f"the weights of {name}")

    @property
    def source(self) -> Source:
        """Where the images come from."""
        return self._splits.source

    def _built(self, rng: torch.Generator | None = None) -> nn.Module:
        return copy.deepcopy(self._template)

    def load(self, path: Path) -> dict[str, Tensor]:
        """The parent of this name."""
        return dict(self.parents[str(path)])


def _named(parents: Parents) -> dict[str, Parent]:
    """Parents by name: those given, their paths, or their numbers."""
    if isinstance(parents, Mapping):
        return {str(Path(str(name))): one for name, one in parents.items()}
    files = {i: Path(p) for i, p in enumerate(parents, 1) if isinstance(p, str | Path)}
    labels = _labels(files)
    found: dict[str, Parent] = {}
    for number, one in enumerate(parents, 1):
        name = labels.get(number, f"parent {number}")
        if name in found:
            raise UserError(f"{one} is given twice, the same weights: give different parents")
        found[name] = one
    return found


def _labels(files: Mapping[int, Path]) -> dict[int, str]:
    """What tells files apart: their paths without the parts that all begin and end with."""
    parts = [file.parts for file in files.values()]
    least = min(map(len, parts), default=0)
    if len(parts) < 2:
        return {number: str(file) for number, file in files.items()}
    before = next((i for i in range(least) if len({p[i] for p in parts}) > 1), 0)
    after = next((i for i in range(least) if len({p[-1 - i] for p in parts}) > 1), 0)
    return {
        number: "/".join(file.parts[before : len(file.parts) - after]) or str(file)
        for number, file in files.items()
    }


def splits_of(given: str | Data | data.Splits | Mapping[str, Pairs]) -> data.Splits:
    """The three splits that are meant; images that are handed over are held in memory.

    Raises:
        UserError: a split is missing, or its images are none that a network could be scored on.
    """
    if isinstance(given, data.Splits):
        return given
    if isinstance(given, str):
        given = Data.model_validate({"name": given})
    if isinstance(given, Data):
        return data.load(
            given.name,
            sizes=given.counts() or None,
            held_out=given.held_out,
            preprocess=given.preprocess,
        )
    if odd := set(given) ^ set(SPLITS):
        raise UserError(
            f"data should have {', '.join(SPLITS)}, found {', '.join(map(str, given)) or 'none'}: "
            f"see to {min(odd)}; fit: what the parents were trained on, search: what searches "
            "score on, test: what nobody has seen"
        )
    held = {split: _tensors(split, given[split]) for split in SPLITS}
    shapes = {split: tuple(images.shape[1:]) for split, (images, _) in held.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"images should have one shape in all splits, found {shapes}")
    count = 1 + max(int(labels.max()) for _, labels in held.values())
    lazy = {split: _lazy(images, labels) for split, (images, labels) in held.items()}
    source = Source(lazy, tuple(map(str, range(count))), {})
    rows = {split: np.arange(len(labels)) for split, (_, labels) in held.items()}
    return data.Splits("given", source, rows, 0)


def _lazy(images: Tensor, labels: Tensor) -> LazySplit:
    return LazySplit(labels.numpy(), np.arange(len(labels)), images.numpy().__getitem__)


def _tensors(split: str, given: Pairs) -> tuple[Tensor, Tensor]:
    """uint8 images `(n, c, h, w)` and int64 labels `(n,)` on the CPU."""
    if isinstance(given, Dataset):
        given = DataLoader(given, batch_size=256)
    try:
        pairs = [given] if isinstance(given, tuple) else list(given)
        images = torch.cat([torch.as_tensor(x).detach().cpu() for x, _ in pairs])
        labels = torch.cat([torch.as_tensor(y).detach().cpu() for _, y in pairs]).long()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{split} should give images and labels as tensors ({error}): give two tensors, a "
            "data set or a loader"
        ) from None
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise UserError(
            f"{split} should have images (n, channels, height, width) and labels (n,), found "
            f"{tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if int(labels.min()) < 0:
        raise UserError(f"{split}: labels count from 0, found {int(labels.min())}")
    return _whole(split, images).contiguous(), labels


def _whole(split: str, images: Tensor) -> Tensor:
    """uint8 images as they are; those in [0, 1] as `ToTensor` makes them, undone to the bit.

    Raises:
        UserError: anything else: what was normalised already cannot be told from noise.
    """
    if images.dtype == torch.uint8:
        return images
    if images.is_floating_point() and float(images.min()) >= 0 and float(images.max()) <= 1:
        levels = images.double() * 255
        if float((levels - levels.round()).abs().max()) < ROUNDING:
            return levels.round().to(torch.uint8)
    raise UserError(
        f"{split}: images should be uint8, or in [0, 1] as ToTensor makes them, found "
        f"{str(images.dtype).removeprefix('torch.')} from {float(images.min()):.3g} to "
        f"{float(images.max()):.3g}: leave normalisation out and say mean and std"
    )
