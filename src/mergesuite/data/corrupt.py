"""Corrupted images made here, by torchvision's operations: for test images without a corrupted set.

They are not those of CIFAR-10-C (Hendrycks & Dietterich 2019), but of the same kinds and, where an
operation has the same parameter, with the levels that its authors give for 32 pixels. What is
measured in pixels grows with the side of an image. What happens to image i depends on kind, level
and i alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from mergesuite.core import streams

SIDE = 32
"""Pixels that widths are given for."""


def gaussian_noise(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: standard deviation of the noise on each channel, of values in [0, 1]."""
    rng = streams.generator("corruption", "gaussian-noise", str(level), index)
    noise = torch.randn(image.shape, generator=rng)
    return (image / 255 + level * noise).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def gaussian_blur(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: standard deviation of the kernel, in pixels of an image of 32."""
    sigma = level * image.shape[-1] / SIDE
    size = 2 * max(1, round(4 * sigma)) + 1
    return functional.gaussian_blur(image, [size, size], [sigma, sigma])


def brightness(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: what every value is multiplied by."""
    return functional.adjust_brightness(image, level)


def contrast(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: what is left of every value's distance from the mean grey of the image."""
    return functional.adjust_contrast(image, level)


def jpeg(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: quality of the compression, from 1 to 100, by PIL (torchvision gives its own up)."""
    file = io.BytesIO()
    functional.to_pil_image(image).save(file, "JPEG", quality=int(level))
    return functional.pil_to_tensor(Image.open(file))


def pixelate(image: Tensor, level: float, index: int) -> Tensor:
    """`level`: share of the side that is left before it is enlarged again."""
    side = image.shape[-1]
    small = [max(1, int(side * level))] * 2
    coarse = functional.resize(image, small, InterpolationMode.BILINEAR, antialias=True)
    return functional.resize(coarse, [side, side], InterpolationMode.NEAREST)


Kind = Callable[[Tensor, float, int], Tensor]
KINDS: dict[str, tuple[Kind, tuple[float, ...]]] = {
    "gaussian-noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.1)),
    "gaussian-blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (brightness, (1.1, 1.2, 1.3, 1.5, 1.7)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "jpeg": (jpeg, (80, 65, 58, 50, 40)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
}
"""Kind -> what it does to uint8 `(3, h, w)`, and its level at severity 1 to 5."""


def corruption(kind: str, severity: int) -> Callable[[Tensor, Tensor], Tensor]:
    """From uint8 images `(k, 3, h, w)` and their indexes to the corrupted images."""
    change, levels = KINDS[kind]
    level = levels[severity - 1]

    def corrupted(images: Tensor, index: Tensor) -> Tensor:
        pairs = zip(images, index.tolist(), strict=True)
        return torch.stack([change(image, level, i) for image, i in pairs])

    return corrupted
