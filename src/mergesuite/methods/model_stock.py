"""Model Stock: how far to go from the pre-trained network to the mean of the fine-tuned ones.

Source: Jang, Yun & Han 2024, arXiv 2403.19522. Their repository, github.com/naver-ai/model-stock
(commit e4d75af), holds no code.
"""

from itertools import combinations
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.errors import UserError
from mergesuite.methods import Combination, OneStep, method


@method(
    "model-stock",
    cite="Jang, Yun & Han: Model Stock: All We Need Is Just a Few Fine-Tuned Models, ECCV (2024)",
    control=True,
)
class ModelStock(OneStep):
    """From the pre-trained parent towards the mean of the others, tensor by tensor, by their angle.

    Source: Jang et al. (2024): with w0 pre-trained and k fine-tuned networks at the angle theta
    around it, the result is t mean(w) + (1 - t) w0, t = k cos / (1 + (k - 1) cos), in each layer.
    In their model of fine-tuning that is the point between the k + 1 networks which is nearest to
    the centre of all fine-tunings: its difference to each of the k is orthogonal to the way from w0
    to any other.

    Which parent is pre-trained is its place among them, `anchor`: list it first in the `models` or
    `files` of a population, followed by networks whose training started at it.

    Deviations: a layer is a tensor of the state dict. For k > 2, where the text has one angle, cos
    is the mean over pairs. t is kept within [0, 1]: the text has acute angles, and at obtuse ones t
    leaves them without bound. A tensor that a network did not move has no angle; its cosines count
    as 0. BatchNorm statistics of a fine-tuned network are no direction of training: theirs is the
    plain mean of the fine-tuned.
    """

    chooses = False
    least = 3

    anchor: Literal["first", "last"] = Field(
        "first", description="which parent is the pre-trained network"
    )

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)` of `parents` `(k + 1, d)`, in float64.

        Raises:
            UserError: fewer than two parents beside the pre-trained one.
        """
        if len(parents) < self.least:
            raise UserError(
                f"method model-stock needs a pre-trained and at least 2 fine-tuned parents, found "
                f"{len(parents)}: add parents to the population"
            )
        first = self.anchor == "first"
        anchor, tuned = (parents[0], parents[1:]) if first else (parents[-1], parents[:-1])
        mixed = anchor.to(torch.float64, copy=True)
        start = 0
        for size in self.tensors or [len(anchor)]:
            part = slice(start, start + size)
            ways = tuned[:, part].double() - mixed[part]
            kept = None if self.statistics is None else self.statistics[part]
            t = 1.0 if kept is not None and bool(kept.all()) else ratio(ways)
            mixed[part] += t * ways.mean(0)
            start += size
        return Combination(mixed.to(parents.dtype)[None])


def ratio(ways: Tensor) -> float:
    """t, within [0, 1], for the ways `(k, n)` from the pre-trained to the fine-tuned networks."""
    k = len(ways)
    lengths = ways.norm(dim=1)
    cosines = [
        float(ways[i] @ ways[j] / (lengths[i] * lengths[j])) if lengths[i] * lengths[j] > 0 else 0.0
        for i, j in combinations(range(k), 2)
    ]
    cos = min(max(sum(cosines) / len(cosines), 0.0), 1.0)
    return k * cos / (1 + (k - 1) * cos)
