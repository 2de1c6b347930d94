"""What a recipe does to single images beside crop and flip: torchvision's transforms.

They draw from torch's global generator, which is put at the start of a stream of each image: what
happens to an image depends on its index and the stream alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mergesuite.core import streams
from mergesuite.experiment.recipe import Recipe

CPU = torch.device("cpu")


class Cutout(nn.Module):
    """A square of zeros around a random pixel; what lies outside the image is cut off.

    Source: DeVries and Taylor (2017), `uoguelph-mlrg/Cutout` util/cutout.py, with one hole. Zero is
    the mean where inputs are normalised, as there.
    """

    def __init__(self, side: int) -> None:
        """`side` in pixels."""
        super().__init__()
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        """`(3, h, w)`, a copy."""
        height, width = image.shape[-2:]
        y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
        half = self.side // 2
        image = image.clone()
        image[..., max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
        return image


def on_pixels(recipe: Recipe) -> list[nn.Module]:
    """The transforms of uint8 images: RandAugment, then colour jitter."""
    found: list[nn.Module] = []
    if recipe.rand_augment:
        from torchvision.transforms.v2 import RandAugment

        found.append(RandAugment(recipe.rand_augment, recipe.rand_magnitude))
    if any(recipe.colour_jitter):
        from torchvision.transforms.v2 import ColorJitter

        found.append(ColorJitter(*recipe.colour_jitter))
    return found


def on_inputs(recipe: Recipe) -> list[nn.Module]:
    """The transforms of normalised images: random erasing to zero, then cutout."""
    found: list[nn.Module] = []
    if recipe.erasing:
        from torchvision.transforms.v2 import RandomErasing

        found.append(RandomErasing(recipe.erasing))
    if recipe.cutout:
        found.append(Cutout(recipe.cutout))
    return found


def perturbed(
    images: Tensor, index: Tensor, transforms: Sequence[nn.Module], stream: tuple[str | int, ...]
) -> Tensor:
    """`(k, 3, h, w)` images after `transforms`, each with the draws of `(*stream, its index)`."""
    if not transforms:
        return images
    done = []
    for image, i in zip(images, index.tolist(), strict=True):
        with streams.as_global(CPU, *stream, i):
            for transform in transforms:
                image = transform(image)
        done.append(image)
    return torch.stack(done)
