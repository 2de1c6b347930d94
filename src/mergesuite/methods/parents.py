"""The parents themselves as controls: what a user has without any merging."""

from torch import Tensor

from mergesuite.methods import Combination, OneStep, method
from mergesuite.methods.pool import counted


@method("best-parent", control=True)
class BestParent(OneStep):
    """The parent with the highest score on the search split, as it is; of equals the first.

    A parent whose score is NaN or infinite is taken only where no parent has a finite one.
    """

    mixes = False

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the best of `parents` `(k, d)`."""
        # argmax alone takes NaN for the largest number.
        return Combination(parents[int(counted(fitness).argmax())][None])


@method("mean-parent", control=True)
class MeanParent(OneStep):
    """The mean of the parents' scores, not of their weights: what picking one blindly gives."""

    chooses = False

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """All of `parents` `(k, d)`; each is scored and the scores are averaged."""
        return Combination(parents, "mean")
