"""Ensembles of outputs: k forward passes instead of one, and nothing to search."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from mergesuite.methods import Combination, OneStep, method


@method("ensemble", cite="Huang et al.: Snapshot Ensembles, ICLR (2017)", control=True)
class Ensemble(OneStep):
    """All parents vote: by mean logits, by mean softmax probabilities, or one vote each.

    Of classes with equally many votes the one with the larger mean probability wins. Over the
    cycle ends of a cyclic schedule this is a snapshot ensemble (Huang et al. 2017).
    """

    chooses = False

    rule: Literal["logits", "probabilities", "votes"] = Field(
        "logits", description="what is averaged"
    )

    def combine(self, parents: Tensor, fitness: Tensor) -> Combination:
        """All of `parents` `(k, d)` with the rule."""
        return Combination(parents, self.rule)
