"""The parents themselves as controls: what a user has without any merging."""

from torch import Tensor

from mergesuite.methods import Combination, OneStep, method


@method("best-parent", cite="control")
class BestParent(OneStep):
    """The parent with the highest score on the search split, as it is; of equals the first."""

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """`(1, d)`: the best of `parents` `(k, d)`."""
        return Combination(parents[int(fitness.argmax())][None])


@method("mean-parent", cite="control")
class MeanParent(OneStep):
    """The mean of the parents' scores, not of their weights: what picking one blindly gives."""

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """All of `parents` `(k, d)`; each is scored and the scores are averaged."""
        return Combination(parents, "mean")
