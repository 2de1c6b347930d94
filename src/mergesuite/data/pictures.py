"""Images batch by batch: what training takes, wherever the images lie.

`InMemory` holds them; `ondisk.OnDisk` decodes them from files. Both show an image whole or a random
part of it, and what is shown of image `i` depends on `i` and the view's stream alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mergesuite.core import streams


@dataclass(frozen=True)
class View:
    """How an image is shown: whole (of a folder: resized, its centre), or a random part of it."""

    scale: tuple[float, float] | None = None
    """Share of the area; None: whole."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width by height."""
    stream: tuple[str | int, ...] = ()
    """What happens to image i comes from (*stream, i) alone."""


WHOLE = View()


class Pictures(Protocol):
    """Images that can be had batch by batch, as often as one likes."""

    labels: Tensor
    """int64 `(n,)`, on the CPU."""
    shape: torch.Size
    """Of all of them: `(n, 3, h, w)`."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batches(self, indexes: Sequence[Tensor], view: View = WHOLE) -> Iterator[Tensor]:
        """uint8 `(k, 3, h, w)` for each of `indexes`, int64 `(k,)` on the CPU, in this order."""
        ...


class InMemory:
    """Images that are held as one tensor."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """uint8 `images` `(n, 3, h, w)`, on any device, and int64 `labels` `(n,)`."""
        self.images, self.labels = images, labels.cpu()
        self.shape = images.shape

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def batches(self, indexes: Sequence[Tensor], view: View = WHOLE) -> Iterator[Tensor]:
        """uint8 `(k, 3, h, w)` for each of `indexes`, on the device of the images."""
        for index in indexes:
            images = self.images.index_select(0, index.to(self.images.device))
            yield images if view.scale is None else _parts(images, index, view)


def box(height: int, width: int, view: View, index: int) -> tuple[int, int, int, int]:
    """Top, left, height and width, in pixels, of the part of image `index` that `view` shows.

    Source: `RandomResizedCrop` of torchvision (Szegedy et al. 2015), whose own draws these are. It
    knows the global generator only, which is as before afterwards; that of a GPU is not touched.
    """
    from torchvision.transforms import RandomResizedCrop

    assert view.scale is not None
    shaped = torch.empty(1, 1, 1).expand(1, height, width)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(streams.derive(*view.stream, index))
        return RandomResizedCrop.get_params(shaped, list(view.scale), list(view.ratio))


def _parts(images: Tensor, index: Tensor, view: View) -> Tensor:
    """The part of each image that `view` shows, scaled to the size that the image has."""
    from torchvision.transforms.v2 import functional

    height, width = images.shape[2:]
    shown = [
        functional.resized_crop(image, *box(height, width, view, i), size=[height, width])
        for image, i in zip(images, index.tolist(), strict=True)
    ]
    return torch.stack(shown)
