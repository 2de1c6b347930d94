"""CMA-ES over convex mixing coefficients: what weighting whole parents gives at equal budget.

`coefficients` is the search; here is what a point of it means.

Source: Hansen & Ostermeier 2001, as the `cma` library implements it with its default strategy
parameters.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from mergesuite.methods import method
from mergesuite.methods.coefficients import CoefficientSearch


@method(
    "cma-es",
    cite="Hansen & Ostermeier: CMA-ES, Evolutionary Computation 9 (2001)",
    control=True,
)
class CmaEs(CoefficientSearch):
    """CMA-ES over positive coefficients of sum 1: the best found between the parents.

    CMA-ES moves in R^k, and the softmax of its point are the coefficients. So every candidate lies
    between the parents, where running variances cannot turn negative, and the search starts around
    the uniform average. What lies beyond the parents is out of its reach: see `affine`. Adding a
    constant to a point changes nothing; this costs one idle direction and spares two parents a
    one-dimensional search, which `cma` refuses.
    """

    sigma: float = Field(1.0, gt=0, description="first step size, in units of the softmax's inputs")

    @property
    def _degrees(self) -> int:
        return len(self._parents)

    def _coefficients(self, points: Tensor) -> Tensor:
        return points.softmax(1)
