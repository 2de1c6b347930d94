"""How good a candidate is: `Evaluator` counts exactly, and as little as it can."""

from mergesuite.fitness.evaluator import Evaluator
from mergesuite.fitness.scores import Scores

__all__ = ["Evaluator", "Scores"]
