"""CMA-ES over affine mixing coefficients: a few numbers instead of millions of weights.

`coefficients` is the search; here is what a point of it means.

Source: Hansen & Ostermeier 2001, as the `cma` library implements it. That coefficients below zero
are worth trying is the finding of Liu et al. 2024 (arXiv 2404.02241), whose own search is `lcsc`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.coefficients import CoefficientSearch


@method(
    "affine",
    cite="Hansen & Ostermeier: CMA-ES, Evolutionary Computation 9 (2001)",
    control=True,
)
class Affine(CoefficientSearch):
    """CMA-ES over coefficients of sum 1, also below zero: the best found in the parents' plane.

    CMA-ES moves in R^(k-1), in orthonormal coordinates of all coefficients of sum 1, and starts at
    the uniform average; no parent is preferred. Whatever only recombines k parents moves in this
    plane, or with `per: tensor` in the product of its projections on the tensors.

    Beyond the parents a running variance of BatchNorm can turn negative. The driver lifts it to
    zero, but under protocol `released`, where such a candidate has no score and loses. A clean
    fitness has `batchnorm: re-estimate`: then no score depends on what was lifted.
    """

    sigma: float = Field(
        0.3, gt=0, description="first step size of a coefficient; a parent is at most 1 away"
    )

    @property
    def _degrees(self) -> int:
        return len(self._parents) - 1

    def _coefficients(self, points: Tensor) -> Tensor:
        k = len(self._parents)
        return 1 / k + points @ directions(k)


def directions(k: int) -> Tensor:
    """`(k - 1, k)` float64: orthonormal rows, each of sum 0 (Helmert's)."""
    rows = torch.tril(torch.ones(k - 1, k, dtype=torch.float64))
    for i, row in enumerate(rows, 1):
        row[i] = -i
    return rows / rows.norm(dim=1, keepdim=True)
