"""The embedded data at half the side: means of four pixels, with the labels of the larger ones."""

from pathlib import Path

import numpy as np
import torch

from mergesuite.data import digits, digits16
from mergesuite.data.digits16 import halved
from mergesuite.data.sources import SPLITS


def test_a_pixel_is_the_mean_of_four_with_halves_rounded_up():
    image = np.array([[[[0, 1, 255, 255], [0, 1, 255, 254]]]], dtype=np.uint8)

    assert halved(image).tolist() == [[[[1, 255]]]]  # 0.5 and 254.75


def test_it_is_the_larger_data_set_pixel_by_pixel():
    for small, large in (("digits16", "digits"), ("digits5-16", "digits5")):
        a, b = digits16.load(small, Path()), digits.load(large, Path())
        assert a.classes == b.classes
        for split in SPLITS:
            assert np.array_equal(a.splits[split].labels, b.splits[split].labels)
            x, y = (source.splits[split].read(np.arange(30)) for source in (a, b))
            means = torch.nn.functional.avg_pool2d(torch.from_numpy(y).double(), 2)
            assert torch.equal(torch.from_numpy(x), (means + 0.5).floor().to(torch.uint8))
