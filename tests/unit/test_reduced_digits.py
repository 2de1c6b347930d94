"""The embedded data at 12 x 12 and 10 x 10 pixels: means of areas of images of 32 x 32."""

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from mergesuite.data import digits, reduced_digits
from mergesuite.data.reduced_digits import reduced
from mergesuite.data.sources import SPLITS

PINNED = {
    ("digits10", "fit"): "a0291d3ba2fbaa7ffe563f9f639d20d7fa8d57bd1892dd6736a2e0799b3e3b0c",
    ("digits10", "search"): "2c2645f86e283c75b585537e4970d90091cea7b4ed978ebc1c10a3dd6fe83ffe",
    ("digits10", "test"): "fb2ea82882f6c08f2122d5eadac65c3d4d1521e06a5445c6403198342cae5c80",
    ("digits5-10", "fit"): "36068b423e3e26ea2368224e66f7862bc3e380d0bd6997f4d611a07e69cb0cc4",
}
"""SHA-256 of the first 300 images of 10 x 10 pixels and their labels."""


def means(images, side):
    """The images and the means over the areas of `side * side` pixels, in double precision."""
    parts = {12: 3, 10: 5}[side]
    fine = torch.from_numpy(images).double()
    fine = fine.repeat_interleave(parts, 2).repeat_interleave(parts, 3)
    found = torch.nn.functional.avg_pool2d(fine, 32 * parts // side)
    return (found + 0.5).floor().to(torch.uint8).numpy()


def test_a_pixel_is_the_mean_of_its_area_with_halves_rounded_up():
    image = np.zeros((1, 1, 32, 32), dtype=np.uint8)
    image[0, 0, :3, :3] = [[255, 0, 9], [0, 255, 9], [9, 9, 9]]

    # Two whole rows and columns and two thirds of the third; the rest of it is its neighbours'.
    whole, part = Fraction(255 + 255), Fraction(2, 3)
    first = (whole + part * 4 * 9 + part**2 * 9) / Fraction(64, 9)
    assert reduced(image, 12)[0, 0, 0, 0] == int(first + Fraction(1, 2))
    second = (Fraction(1, 3) * 2 * 9 + Fraction(1, 3) * part * 9) / Fraction(64, 9)
    assert reduced(image, 12)[0, 0, 0, 1] == int(second + Fraction(1, 2))


@pytest.mark.parametrize("side", [12, 10])
def test_means_are_exact(side):
    images = digits.compose(digits.plan("digits", "test"), np.arange(40))
    extremes = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255)])
    for some in (images, extremes):
        assert np.array_equal(reduced(some, side), means(some, side))


def test_12_pixels_show_the_larger_data_set():
    for small, large in (("digits12", "digits"), ("digits5-12", "digits5")):
        a, b = reduced_digits.load(small, Path()), digits.load(large, Path())
        assert a.classes == b.classes
        for split in SPLITS:
            assert np.array_equal(a.splits[split].labels, b.splits[split].labels)
            x, y = (source.splits[split].read(np.arange(30)) for source in (a, b))
            assert np.array_equal(x, means(y, 12))


@pytest.mark.parametrize(("name", "split"), PINNED)
def test_10_pixels_show_images_of_their_own(name, split):
    planned = digits.plan(name, split, reduced_digits.MORE[split])
    assert set(planned.sources) <= set(digits.divide()[split])
    assert not np.array_equal(planned.labels[:1000], digits.plan("digits", split).labels[:1000])
    if split == "test":
        assert len(planned.labels) == 20000
    source = reduced_digits.load(name, Path())
    labels, images = source.splits[split].labels, source.splits[split].read(np.arange(300))
    assert np.array_equal(labels, planned.labels)
    found = hashlib.sha256(images.tobytes() + labels[:300].tobytes()).hexdigest()
    assert found == PINNED[name, split]
