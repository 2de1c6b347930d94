"""Mixup and CutMix: every image of a batch gets something of a partner in it, and of its label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        partner: int64 `(n,)`, the place in the batch of each image's partner.
        share: of the image itself, in [0, 1].
        centre: of CutMix's box, as shares of width and height; None: mixup.
    """

    partner: Tensor
    share: float
    centre: tuple[float, float] | None = None

    def mixed(self, own: Tensor, other: Tensor) -> tuple[Tensor, float]:
        """Inputs `(k, 3, h, w)` mixed with those of their partners, and the share of the label.

        Source: Zhang et al. (2018), and Yun et al. (2019) as torchvision's `v2.CutMix` has it: the
        label's share is that of the pixels that are left, once the box is cut at the border.
        """
        if self.centre is None:
            return self.share * own + (1 - self.share) * other, self.share
        height, width = own.shape[-2:]
        left, right = _span(self.centre[0], width, self.share)
        top, bottom = _span(self.centre[1], height, self.share)
        mixed = own.clone()
        mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return mixed, 1 - (right - left) * (bottom - top) / (width * height)


def _span(centre: float, length: int, share: float) -> tuple[int, int]:
    """First and last pixel (exclusive) of a side of CutMix's box."""
    middle, half = int(centre * length), int(0.5 * math.sqrt(1 - share) * length)
    return max(middle - half, 0), min(middle + half, length)


def draw(rng: np.random.Generator, count: int, mixup: float, cutmix: float) -> Mix | None:
    """How a batch of `count` images is mixed; where both are on, one or the other, evenly.

    `mixup` and `cutmix` are the alphas of their Beta(alpha, alpha); 0 is off.
    """
    cuts = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if cuts else mixup
    if alpha == 0:
        return None
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(count))
    centre = (float(rng.random()), float(rng.random())) if cuts else None
    return Mix(partner, share, centre)
