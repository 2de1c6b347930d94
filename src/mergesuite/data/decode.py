"""One image file to pixels: read upright, in colour, eight bits each; then cut to size.

Resizing and cropping are torchvision's on PIL images, as in the preprocessing that published
weights come with; PIL reads JPEG with libjpeg-turbo where it was built with it, as its wheels are.
"""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms.v2 import InterpolationMode, functional

from mergesuite.errors import UserError, of_machine

pil: Any = functional
"""torchvision's operations: they take PIL images too, and declare only tensors."""
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
"""What a file may hold, whatever it is called: other readers of PIL start other programs."""
SIXTEEN = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of a grey image of sixteen bits."""
MOST_PIXELS = 100_000_000
"""Of one image, as it is stored or once it is scaled: 300 MB. ImageNet's largest has 61 million."""
UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What PIL raises over damaged files."""


@dataclass(frozen=True)
class Cut:
    """The shorter side is scaled to `resize` pixels, then a square of `crop` from the centre."""

    resize: int
    crop: int
    interpolation: str = "bilinear"

    def whole(self, image: Image.Image) -> Image.Image:
        """An image as it is evaluated."""
        short, long = sorted(image.size)
        if long * self.resize**2 > MOST_PIXELS * short:
            raise UserError(
                f"an image of {image.width} x {image.height} pixels, whose shorter side is to have "
                f"{self.resize}, would be larger than {MOST_PIXELS:,} pixels: crop or remove it"
            )
        scaled = pil.resize(image, [self.resize], InterpolationMode(self.interpolation))
        return pil.center_crop(scaled, [self.crop, self.crop])

    def part(self, image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        """The part of an image in `box` (top, left, height, width), scaled to the crop's size."""
        size = [self.crop, self.crop]
        return pil.resized_crop(image, *box, size, InterpolationMode(self.interpolation))


def picture(file: Path) -> Image.Image:
    """An image in RGB, turned as its EXIF orientation says.

    Grey of sixteen bits is scaled to eight, not cut off (of colour PIL keeps the upper eight). CMYK
    is converted, transparency dropped, and of several frames the first taken.

    Raises:
        UserError: it is no image, of another format than `FORMATS`, too large, or damaged.
    """
    with _opened(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in SIXTEEN:
            # Rounded v / 257; 257 is odd, so nothing lies half way.
            values = np.asarray(image).astype(np.int64).clip(0, 65535)
            return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


def check(file: Path) -> None:
    """Read the header of an image.

    Raises:
        UserError: it is no image, of another format than `FORMATS`, or too large.
    """
    with _opened(file):
        pass


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """An image of which the header is read; what PIL raises within is the user's to mend.

    PIL does not warn of odd metadata, and before a pixel is decoded their number is known.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not file.is_file():
                raise ValueError("no file")  # a pipe would be waited for
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(
                        f"{image.width} x {image.height} pixels, {MOST_PIXELS:,} at most"
                    )
                yield image
    except UNREADABLE as error:
        if isinstance(error, OSError) and (failure := of_machine(error)):
            raise failure from None
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(
            f"{file} should be an image ({', '.join(FORMATS)}), found something else ({reason}): "
            "replace or remove it"
        ) from None
