"""Curves of searches: best fitness over evaluations, and scores on the way between two parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.gains import baseline
from mergesuite.judge.samples import Where, samples
from mergesuite.report import traces
from mergesuite.report.drawing import TREATMENTS, label_of
from mergesuite.report.frame import INK, apart, edge
from mergesuite.report.traces import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARENT = "best parent, same images"
SCALES = {"accuracy": 100.0, "cross-entropy": 1.0}
LEAST = {"accuracy": 2.0, "cross-entropy": 0.02}
"""The shortest axis: what is less is not blown up to look like much."""
POINTS = 100
LINES = (
    ("#0072B2", "-"), ("#D55E00", (0, (5, 1.5))), ("#009E73", (0, (1.2, 1.2))),
    ("#CC79A7", (0, (5, 1.5, 1.2, 1.5))), ("#A07A00", (0, (8, 2))), (INK, (0, (2.5, 1))),
)  # fmt: skip
"""A colour and a dash for each line of an axis, told apart by either alone."""


class Search:
    """What is drawn of the searches of one entry: their curves, the mean, the best parent."""

    def __init__(self, paper: spec.Paper, runs: pd.DataFrame, seeds: list[Trace]):
        """Of its traces, which are of one population."""
        first = seeds[0]
        self.metric, scale = first.metric, SCALES[first.metric]
        self.steps, values = traces.curves(seeds, POINTS)
        self.values = scale * values
        self.mean = self.values.mean(axis=0)  # of all searches, or not there
        self.leaky = paper.methods[first.entry].leaky
        self.colour = TREATMENTS[first.batchnorm]
        self.title = label_of(first.entry, self.leaky)
        self.place = f"on {first.split}, {first.batchnorm}"
        self.parent = self._parent(paper, runs, first) * scale
        last = [known[-1] for row in self.values if len(known := row[np.isfinite(row)])]
        shown = [*last, *([self.parent] if np.isfinite(self.parent) else [])] or [0.0]
        self.low, self.high = min(shown), max(shown)

    @staticmethod
    def _parent(paper: spec.Paper, runs: pd.DataFrame, first: Trace) -> float:
        """The best parent on the images and under the treatment of the search; NaN: unknown."""
        if paper.methods[first.entry].fitness.labels != "true":
            return np.nan  # what the parents score on the true ones is another thing
        best = baseline(paper, "best-parent", first.population, first.batchnorm)
        where = Where(first.metric.replace("-", "_"), first.split, first.batchnorm)
        values = list(samples(runs, best, where).values()) if best else []
        return float(np.mean(values)) if values else np.nan

    def draw(self, axis: Axes, height: float, of: str = "") -> None:
        """Seeds thin, their mean thick as far as all of them go, on an axis of that height.

        `of` stands before its name.
        """
        if len(self.values) > 1:
            axis.plot(self.steps, self.values.T, color=self.colour, lw=0.5, alpha=0.45)
        axis.plot(self.steps, self.mean, color=self.colour, ls="--" if self.leaky else "-", lw=1.8)
        middle = (self.low + self.high) / 2
        axis.set_ylim(middle - height / 2, middle + height / 2)
        ends = [(self.mean[np.isfinite(self.mean)], self.colour)]
        if np.isfinite(self.parent):
            axis.axhline(self.parent, color=INK, ls=":", lw=1.2, label=PARENT)
            ends.append((np.array([self.parent]), INK))
        known = [(values[-1], colour) for values, colour in ends if len(values)]
        places = apart([value for value, _ in known], 0.2 * height)
        for (value, colour), place in zip(known, places, strict=True):
            digits = 1 if self.metric == "accuracy" else 3
            axis.annotate(
                f"{value:.{digits}f}", (1, place), (3, 0), textcoords="offset points",
                xycoords=axis.get_yaxis_transform(), va="center", color=colour,
                fontsize="small",
            )  # fmt: skip
        if len(start := ends[0][0]) and start[0] < middle - height / 2:
            axis.plot([0.02], [0.04], "v", color=self.colour, ms=4, transform=axis.transAxes)
        axis.set_title(f"{of}{self.title}\n{self.place}", fontsize="small")


def heights(searches: Sequence[Search]) -> list[float]:
    """The heights of their axes: one for all of a metric, so that the same gain looks the same.

    A search that is far more spread than the others has its own.
    """
    found = []
    for search in searches:
        spreads = [other.high - other.low for other in searches if other.metric == search.metric]
        usual = edge(spreads, LEAST[search.metric])
        found.append(1.35 * max(usual, search.high - search.low))
    return found


def segments(axis: Axes, entries: dict[str, list[Trace]]) -> None:
    """Accuracy or cross-entropy along the segment; the parents are its ends."""
    middles, labels = [], []
    for (entry, seeds), (colour, dash) in zip(entries.items(), LINES * 3, strict=False):
        scale = SCALES[seeds[0].metric]
        table = pd.concat([t.frame[["alpha", "score"]] for t in seeds])
        for trace in seeds:
            x, y = trace.frame["alpha"], scale * trace.frame["score"]
            axis.plot(x, y, color=colour, lw=0.5, alpha=0.45)
            axis.plot(x.iloc[[0, -1]], y.iloc[[0, -1]], "o", color=colour, ms=3, clip_on=False)
        mean = scale * table.groupby("alpha")["score"].mean()
        axis.plot(mean.index.to_numpy(), mean.to_numpy(), color=colour, ls=dash, lw=1.8)
        tops = scale * table.groupby("alpha")["score"].max()
        middles.append(float(np.interp(0.5, tops.index, tops)))
        labels.append((f"{entry} (BatchNorm {seeds[0].batchnorm})", colour))
    low, high = axis.get_ylim()
    tall = 0.075 * (high - low)
    for (text, colour), place in zip(labels, apart(middles, tall), strict=True):
        axis.annotate(
            text, (0.5, place), (0, 3), textcoords="offset points", ha="center", va="bottom",
            color=colour, fontsize="small",
            bbox={"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip
    axis.set_ylim(low, max(high, max(middles) + 2 * tall))
    axis.set_xlim(-0.03, 1.03)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["parent A", "¼", "½", "¾", "parent B"])
