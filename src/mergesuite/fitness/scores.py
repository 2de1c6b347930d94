"""What is known of candidates: `Record` of one, and `Scores` of several, the answer to a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass
class Record:
    """What is known of one vector.

    Attributes:
        correct: images that it got right.
        images: images computed for it.
        fitness: the exact fitness, or an upper bound where not complete.
        complete: whether all images were taken.
        calibrated: images computed to re-estimate statistics.
        margins: `(n,)` per image, how far it is from wrong; where all were taken.
    """

    correct: int
    images: int
    fitness: float
    complete: bool
    calibrated: int = 0
    margins: Tensor | None = None

    def numbers(self) -> list[float]:
        """All but the margins."""
        known = (self.correct, self.images, self.fitness, self.complete, self.calibrated)
        return [float(value) for value in known]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Record:
        """The record that has these `numbers`."""
        correct, images, fitness, complete, calibrated = numbers
        return cls(int(correct), int(images), fitness, bool(complete), int(calibrated))


@dataclass
class Scores:
    """The answer for `n` candidates.

    Attributes:
        correct: `(n,)` int64, images whose label has the highest logit; for a rejected candidate
            those counted so far.
        images: `(n,)` int64, images computed for it (0 where its score was known).
        exact: `(n,)` bool, True where the candidate was counted to the end or rejected by proof.
        exceeded: `(n,)` bool, True where its fitness is above its threshold.
        fitness: `(n,)` float64, what the search maximises: images correct, or minus the mean
            cross-entropy in nats, or minus infinity where a logit is not finite.
    """

    correct: Tensor
    images: Tensor
    exact: Tensor
    exceeded: Tensor
    fitness: Tensor

    @classmethod
    def of(cls, records: Sequence[Record], thresholds: Sequence[float]) -> Self:
        """The answer that `records` are to `thresholds`."""
        exceeded = [
            r.complete and r.fitness > bar for r, bar in zip(records, thresholds, strict=True)
        ]
        return cls(
            correct=torch.tensor([r.correct for r in records], dtype=torch.int64),
            images=torch.tensor([r.images for r in records], dtype=torch.int64),
            exact=torch.ones(len(records), dtype=torch.bool),
            exceeded=torch.tensor(exceeded, dtype=torch.bool),
            fitness=torch.tensor([r.fitness for r in records], dtype=torch.float64),
        )
