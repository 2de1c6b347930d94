"""The axes of the forest plot: where a value stands, and which values are named.

Accuracies share one axis in points, even around no effect and logarithmic further out (the inverse
hyperbolic sine), because gains of a tenth and losses of sixty points are both in it. Factors have a
logarithmic axis, any other unit an even one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

POINTS, FACTOR = "points", "factor"
LINEAR = 0.5
"""Up to about as many points the axis is even: the smallest gain of interest."""
NONE = {FACTOR: 1.0}
"""Where there is no effect, if not at 0."""


@dataclass(frozen=True)
class Axis:
    """Where values of one unit stand between `left` and `right`."""

    unit: str
    low: float
    high: float
    left: float
    right: float

    @property
    def none(self) -> float:
        """No effect."""
        return NONE.get(self.unit, 0.0)

    def at(self, value: float) -> float:
        """The place of a value."""
        ends = _bent(self.low, self.unit), _bent(self.high, self.unit)
        part = (_bent(value, self.unit) - ends[0]) / (ends[1] - ends[0])
        return self.left + (self.right - self.left) * part

    def ticks(self, apart: float) -> list[float]:
        """Round values at least `apart` pixels from each other, no effect always one of them."""
        found = [self.none]
        for value in _round_values(self):
            inside = self.left + 6 <= self.at(value) <= self.right - 6
            if inside and all(abs(self.at(value) - self.at(other)) >= apart for other in found):
                found.append(value)
        return sorted(found)


def _bent(value: float, unit: str) -> float:
    if unit == FACTOR:
        return math.log(max(value, 1e-9))
    return math.asinh(value / LINEAR) if unit == POINTS else value


def _round_values(axis: Axis) -> list[float]:
    """Candidates for ticks, the most telling first."""
    if axis.unit == FACTOR:
        powers = [10.0**k for k in range(-4, 5)]
        return [*powers, *(m * p for m in (3, 2, 5) for p in powers)]
    if axis.unit == POINTS:
        return [s * v for v in (1, 10, 50, 5, 2, 0.5, 20, 100) for s in (1.0, -1.0)]
    most = max(abs(axis.low), abs(axis.high))
    step = 10 ** math.floor(math.log10(most)) if most > 0 else 1.0
    return [s * k * step for k in (1, 2, 5, 0.5, 0.2) for s in (1.0, -1.0)]


def holding(unit: str, values: Collection[float], left: float, right: float) -> Axis:
    """An axis that holds all `values`, with some air."""
    low, high = min(values), max(values)
    if unit == FACTOR:
        return Axis(unit, low / 1.15, high * 1.15, left, right)
    if unit == POINTS:
        return Axis(unit, 1.15 * min(low, -LINEAR), 1.15 * max(high, LINEAR), left, right)
    pad = 0.05 * (high - low or 1.0)
    return Axis(unit, low - pad, high + pad, left, right)
