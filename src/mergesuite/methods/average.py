"""Uniform averaging of weights."""

from torch import Tensor

from mergesuite.methods import Combination, OneStep, method


@method("uniform-average", cite="Wortsman et al.: Model Soups, ICML (2022)", control=True)
class UniformAverage(OneStep):
    """The mean of all parents' weights, BatchNorm statistics included (uniform soup).

    Source: Wortsman et al. (2022). Of the ending epochs of one run, with statistics of its own, it
    is SWA: the method `swa`.
    """

    chooses = False

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the mean of `parents` `(k, d)`, summed in float64."""
        total = parents[0].double()
        for parent in parents[1:]:
            total += parent
        return Combination((total / len(parents)).to(parents.dtype)[None])
