"""Running a method that calls the fitness itself: a function of somebody's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mergesuite.core.runtime import Meter
from mergesuite.errors import UserError
from mergesuite.fitness import Evaluator
from mergesuite.methods import Calling


def found_by(
    method: Calling, evaluator: Evaluator, parents: Tensor, *, meter: Meter, lift: Any
) -> tuple[Tensor, float]:
    """The vector `(d,)` that a method returns for parents `(k, d)`, and its score.

    `lift` clamps what is scored, and what is returned. The last score is not counted as asked for.

    Raises:
        UserError: it returns anything else, or a vector without a finite score.
    """

    def fitness(candidates: Tensor) -> Tensor:
        given = torch.as_tensor(candidates).reshape(-1, parents.shape[1]).to(parents)
        calibrated = evaluator.calibration_images
        answer = evaluator.scores(lift(given.clone()))
        meter.add(
            forward_images=int(answer.images.sum()) + evaluator.calibration_images - calibrated,
            images_asked=len(given) * evaluator.images_each,
            evaluations_asked=len(given),
            evaluations_computed=int((answer.images > 0).sum()),
        )
        return answer.fitness

    found = method.find(parents.clone(), fitness)
    if not isinstance(found, Tensor) or found.shape != parents.shape[1:]:
        shape = f"one of shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
        raise UserError(
            f"method {method.name} should return a vector {tuple(parents.shape[1:])}, found "
            f"{shape[:80]}: return one row of weights"
        )
    vector = lift(found.detach().to(parents).clone())
    score = float(evaluator.scores(vector[None]).fitness[0])
    if not torch.isfinite(vector).all() or not math.isfinite(score):
        raise UserError(
            f"method {method.name} returned weights without a finite score: return others"
        )
    return vector, score
