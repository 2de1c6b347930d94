"""Stochastic weight averaging of the ending epochs of one run."""

from torch import Tensor
from torch.optim.swa_utils import get_swa_avg_fn

from mergesuite.methods import Combination, OneStep, method


@method(
    "swa",
    cite="Izmailov et al.: Averaging Weights Leads to Wider Optima and Better Generalization, UAI "
    "(2018)",
    control=True,
)
class SWA(OneStep):
    """The mean of the parents' weights, with BatchNorm statistics estimated on the fit split.

    Source: Izmailov et al. (2018), algorithm 1, as `torch.optim.swa_utils` has it: the running mean
    of `AveragedModel`, then one pass of `update_bn` over the fit images, which here are augmented
    in one draw, if at all (`batchnorm_augment` of the data). On a CPU the result is that of these
    two, to the last bit. A recipe with `swa_start` also changes the learning rate for it; this
    takes whatever epochs there are.
    """

    chooses = False
    estimates = True

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the running mean of `parents` `(k, d)`, in their order and in float32."""
        average, running_mean = parents[0], get_swa_avg_fn()
        for count, parent in enumerate(parents[1:], start=1):
            average = running_mean(average, parent, count)
        return Combination(average[None])
