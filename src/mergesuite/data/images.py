"""From stored uint8 images to what a network sees: scaling, normalisation, augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PAD = 4
"""Pixels of padding around an image before it is cropped back (the usual CIFAR recipe)."""
BLOCK = 1000
"""Images augmented at a time: a position takes more memory than its pixel."""


def at_once(images: int, shape: Sequence[int], least: int, most: int) -> int:
    """How many images of `shape` `(n, 3, h, w)` take the memory of `images` of 32 x 32 pixels."""
    return min(most, max(least, images * 32 * 32 // (shape[-2] * shape[-1])))


class Normalise:
    """uint8 `(n, 3, h, w)` to float32 in [0, 1], then (x - mean) / std where these are given."""

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """`mean` and `std`: three channel statistics of images in [0, 1], or None."""
        self._scale = 1 / 255
        self._affine = None
        if mean is not None and std is not None:
            shape = (1, len(mean), 1, 1)
            centre = torch.tensor(mean, dtype=torch.float32, device=device).view(shape)
            spread = torch.tensor(std, dtype=torch.float32, device=device).view(shape)
            self._affine = (centre, spread)

    def __call__(self, images: Tensor) -> Tensor:
        """`(n, 3, h, w)` float32 in channels-last memory, on the images' device."""
        x = images.to(torch.float32, memory_format=torch.channels_last).mul_(self._scale)
        if self._affine is not None:
            centre, spread = self._affine
            x = x.sub_(centre).div_(spread)
        return x


class Augment:
    """Random crop, flip or both of a whole epoch, decided per image before the epoch starts.

    What happens to an image depends on its index and the stream alone, not on the batch it is in.
    """

    def __init__(self, kind: str, n: int, rng: torch.Generator) -> None:
        """Decide for `n` images: `kind` is "none", "crop", "crop-flip" or "flip"."""
        self._crop, self._flips = kind in ("crop", "crop-flip"), kind.endswith("flip")
        self._shift = torch.randint(2 * PAD + 1, (2, n), generator=rng)
        flip = torch.rand(n, generator=rng) < 0.5
        self._flip = flip if self._flips else torch.zeros(n, dtype=torch.bool)

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """The augmented uint8 `(n, 3, h, w)` images whose indexes (on the CPU) are `index`."""
        if not self._crop and not self._flips:
            return images
        if not self._crop:
            flipped = self._flip[index].to(images.device)
            return torch.where(flipped[:, None, None, None], images.flip(-1), images)
        if len(images) > BLOCK:
            parts = zip(images.split(BLOCK), index.split(BLOCK), strict=True)
            return torch.cat([self(some, where) for some, where in parts])
        channels, height, width = images.shape[1:]
        padded = F.pad(images, (PAD, PAD, PAD, PAD))
        down, right = self._shift[:, index].to(images.device)
        columns = torch.arange(width, device=images.device) + right[:, None]
        flipped = self._flip[index].to(images.device)[:, None]
        columns = torch.where(flipped, columns.flip(1), columns)
        rows = torch.arange(height, device=images.device) + down[:, None]
        # One position per pixel for all channels: a gather takes a third of the time of indexing
        # by image, row and column.
        pixels = (rows * padded.shape[3])[:, :, None] + columns[:, None, :]
        pixels = pixels.flatten(1)[:, None, :].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, pixels).view(images.shape)
