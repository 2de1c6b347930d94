"""JPEGs that stand in for photographs, for the benchmarks on image folders. No torch is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

CLASSES = 10


def make(folder: Path, splits: Mapping[str, int], sides: tuple[int, int] = (300, 550)) -> None:
    """As many JPEGs in each split, of the weight that photographs of their size have.

    Sides are between `sides` pixels; by default as ImageNet's. The classes differ in one colour, so
    that a network can learn them.
    """
    rng = np.random.default_rng(11)
    for split, count in splits.items():
        for label in range(CLASSES):
            (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        for number in tqdm(range(count), f"making {split}", leave=False):
            height, width = rng.integers(*sides, 2)
            coarse = rng.integers(0, 200, (height // 16, width // 16, 3), dtype=np.uint8)
            coarse[..., number % 3] += np.uint8(number % CLASSES * 6)
            smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            pixels = np.asarray(smooth).astype(np.int16) + rng.integers(-24, 25, (height, width, 1))
            file = folder / split / str(number % CLASSES) / f"{number:06}.jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=88)
