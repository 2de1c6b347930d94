"""Fisher-weighted averaging: each weight counts as much as its parent's predictions depend on it.

Source: Matena & Raffel 2022, arXiv 2111.09832; their released code is
github.com/mmatena/model_merging (commit 46802f9).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import Combination, Gradients, OneStep, method


@method(
    "fisher-average",
    cite="Matena & Raffel: Merging Models with Fisher-Weighted Averaging, NeurIPS (2022)",
    control=True,
)
class FisherAverage(OneStep):
    """The mean of the parents' weights, each weighted by its diagonal Fisher information.

    Source: Matena & Raffel (2022): sum of F theta over sum of F. F is the mean over images of
    squared gradients of log p(y|x), in expectation over the network's own p(y|x): exactly, as
    released (`fisher.py` lines 16-45), or from one drawn label per image, which the release leaves
    to do (line 12). `stages.fisher` computes it on fit images.

    Deviations: all parents have the coefficient 1, where the paper also searches for coefficients.
    The floor holds for all parents alike; the released default applies it to the first only
    (`favor_target_model`, `merging.py` lines 42 and 63), for there the first is the target. No
    Fisher is divided by its norm but with `normalise`, which is the released default (line 85).

    BatchNorm statistics have no gradient: theirs is the plain mean. So is that of weights whose
    Fisher is below the floor in all parents: nets that are sure of the fit images may have many of
    them. An entry of F that is not finite counts as 0. With `expected` an image costs one backward
    pass per class.
    """

    chooses = False

    fit_images: int = Field(
        4096, ge=1, description="images of each parent's F, at most; compute_fisher.py line 23"
    )
    labels: Literal["expected", "sampled"] = Field(
        "expected", description="labels of an image: all by their probability, or one drawn"
    )
    floor: float = Field(1e-6, ge=0, description="least F; released: merging.py line 41")
    normalise: bool = Field(False, description="divide each parent's F by its L2 norm")

    @property
    def wants(self) -> Gradients:
        """Squared gradients on `fit_images` images of the fit split."""
        return Gradients(self.fit_images, self.labels)

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the weighted mean of `parents` `(k, d)`, in float64.

        `squared` `(k, d)` is set before. Written as first + sum of w (other - first): equal parents
        give themselves, to the bit.
        """
        assert self.squared is not None, "combine without squared gradients"
        total = torch.zeros(parents.shape[1], dtype=torch.float64, device=parents.device)
        for i in range(len(parents)):
            total += self._weight(i)
        mixed = parents[0].to(torch.float64, copy=True)
        for i in range(1, len(parents)):
            share = torch.where(total > 0, self._weight(i) / total, 1 / len(parents))
            if self.statistics is not None:
                share[self.statistics] = 1 / len(parents)
            mixed += share * (parents[i].double() - parents[0])
        return Combination(mixed.to(parents.dtype)[None])

    def _weight(self, i: int) -> Tensor:
        """`(d,)` float64: F of parent `i`, not below the floor, then over its norm."""
        assert self.squared is not None
        known = self.squared[i].double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        norm = float(known.norm()) if self.normalise else 1.0
        return known.clamp_min(self.floor) / (norm or 1.0)
