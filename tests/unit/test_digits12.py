"""The embedded data at 12 x 12 pixels: means of areas, with the labels of the larger ones."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from mergesuite.data import digits, digits12
from mergesuite.data.digits12 import reduced
from mergesuite.data.sources import SPLITS


def test_a_pixel_is_the_mean_of_its_area_with_halves_rounded_up():
    image = np.zeros((1, 1, 32, 32), dtype=np.uint8)
    image[0, 0, :3, :3] = [[255, 0, 9], [0, 255, 9], [9, 9, 9]]

    # Two whole rows and columns and two thirds of the third; the rest of it is its neighbours'.
    whole, part = Fraction(255 + 255), Fraction(2, 3)
    first = (whole + part * 4 * 9 + part**2 * 9) / Fraction(64, 9)
    assert reduced(image)[0, 0, 0, 0] == int(first + Fraction(1, 2))
    second = (Fraction(1, 3) * 2 * 9 + Fraction(1, 3) * part * 9) / Fraction(64, 9)
    assert reduced(image)[0, 0, 0, 1] == int(second + Fraction(1, 2))


def test_it_is_the_larger_data_set_area_by_area():
    for small, large in (("digits12", "digits"), ("digits5-12", "digits5")):
        a, b = digits12.load(small, Path()), digits.load(large, Path())
        assert a.classes == b.classes
        for split in SPLITS:
            assert np.array_equal(a.splits[split].labels, b.splits[split].labels)
            x, y = (source.splits[split].read(np.arange(30)) for source in (a, b))
            fine = torch.from_numpy(y).double().repeat_interleave(3, 2).repeat_interleave(3, 3)
            means = torch.nn.functional.avg_pool2d(fine, 8)
            assert torch.equal(torch.from_numpy(x), (means + 0.5).floor().to(torch.uint8))
