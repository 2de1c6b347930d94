"""Uniform averaging of weights."""

from torch import Tensor

from mergesuite.methods import Combination, OneStep, method


@method("uniform-average", cite="Wortsman et al.: Model Soups, ICML (2022)", control=True)
class UniformAverage(OneStep):
    """The mean of all parents' weights (uniform soup); over ending epochs of one run this is SWA.

    Source: Izmailov et al. (2018), algorithm 1: w <- (w n + w') / (n + 1), which is the mean. Its
    BatchNorm re-estimation is the `re-estimate` treatment of every row.
    """

    chooses = False

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the mean of `parents` `(k, d)`, summed in float64."""
        total = parents[0].double()
        for parent in parents[1:]:
            total += parent
        return Combination((total / len(parents)).to(parents.dtype)[None])
