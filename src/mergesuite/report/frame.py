"""The frame of an axis: what it shows, and what is said at its border of what lies beyond.

A collapse by fifty points beside gains of half a point would leave nothing of the gains to be seen.
An axis therefore ends where the values near no effect end. An interval that leaves it has an
arrowhead at the border, and a mean beyond it stands there as a number. Numbers are in the unit of
the axis; its zero is no effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mergesuite.report.wording import MINUS, there

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GREY = "#222222", "#767676"
GAP = 3.0
"""A value is beyond the frame where it is this many times as far from zero as the next nearer."""
FEW = 0.4
"""The most of all values that may lie beyond: of more it is they that the figure is about."""
ROOM = 2.0
"""How much farther than the farthest mean in it a frame follows an interval."""

Interval = tuple[float, float, float]
"""A mean, and the ends of its interval, which may be missing (NaN)."""


@dataclass(frozen=True)
class Frame:
    """The ends of an axis."""

    low: float
    high: float
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value is inside."""
        return self.low <= value <= self.high

    def interval(self, axis: Axes, y: float, ends: Interval, colour: str, lw: float = 1.6) -> None:
        """A line from end to end as far as the frame goes, an arrowhead where it leaves it."""
        _, low, high = ends
        if not (there(low) and there(high)):
            return
        inside = np.clip([low, high], self.low, self.high)
        if inside[0] < inside[1]:
            axis.plot(inside, [y, y], color=colour, lw=lw, solid_capstyle="butt", zorder=2)
        if low < self.low:
            self._arrow(axis, y, "<", self.low, colour)
        if high > self.high:
            self._arrow(axis, y, ">", self.high, colour)

    @staticmethod
    def _arrow(axis: Axes, y: float, arrow: str, border: float, colour: str) -> None:
        axis.plot([border], [y], arrow, color=colour, ms=4.5, mew=0, clip_on=False, zorder=5)

    def mean(
        self, axis: Axes, y: float, mean: float, colour: str, mark: str, name: str = "", **style
    ) -> None:
        """A mark; at the border, an arrowhead and the number, after a name if it has one.

        Nothing for a mean that is missing (NaN): what it would be a gain over was not measured.
        """
        if not there(mean):
            return
        if self.holds(mean):
            axis.plot([mean], [y], mark, color=colour, **{"ms": 5, "zorder": 4, **style})
            return
        arrow, border, inward = ("<", self.low, 1) if mean < self.low else (">", self.high, -1)
        self._arrow(axis, y, arrow, border, colour)
        axis.annotate(
            f"{name} {self._number(mean)}".strip(), (border, y), (6 * inward, 0),
            textcoords="offset points", ha="left" if inward > 0 else "right",
            va="center_baseline", color=colour, fontsize="small", zorder=5,
            bbox={"fc": "white", "ec": "none", "pad": 0.6},
        )  # fmt: skip

    def points(self, axis: Axes, y: float, values: Iterable[float], colour: str) -> None:
        """Single replicates, those inside."""
        inside = [value for value in values if self.holds(value)]
        axis.plot(inside, [y] * len(inside), ".", color=colour, alpha=0.6, ms=4, mew=0)

    def _number(self, value: float) -> str:
        digits = 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 3
        return f"{value:+.{digits}f}{self.unit}".replace("-", MINUS)


def around(intervals: Sequence[Interval], points: Iterable[float] = (), least: float = 1) -> Frame:
    """The frame that shows no effect and all that is not far beyond the rest.

    `least` is a distance that is always near; `points` are followed as far as intervals are.
    """
    far = edge([interval[0] for interval in intervals], least)
    near = [value for value in points if abs(value) <= ROOM * far]
    for mean, *ends in intervals:
        if there(mean) and abs(mean) <= far:
            near += [mean, *(max(-ROOM * far, min(ROOM * far, end)) for end in ends if there(end))]
    low, high = min([-least / 2, *near]), max([least / 2, *near])
    pad = 0.05 * (high - low)
    return Frame(low - pad, high + pad)


def edge(values: Iterable[float], least: float) -> float:
    """The distance from zero of the farthest value before a gap; without one, of the farthest."""
    distances = sorted(abs(value) for value in values if there(value))
    near = least
    for i, distance in enumerate(distances):
        if distance > GAP * near and len(distances) - i <= FEW * len(distances):
            break
        near = max(near, distance)
    return near


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Places of labels, each as near as can be to where it belongs, none nearer than `gap`.

    Least squares under the order of the places: neighbours that collide share their mean.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[float]] = []  # of places less the gaps before them: those may not decrease
    for rank, i in enumerate(order):
        groups.append([places[i] - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    settled = [float(np.mean(group)) for group in groups for _ in group]
    found = [math.nan] * len(places)
    for rank, i in enumerate(order):
        found[i] = settled[rank] + rank * gap
    return found
