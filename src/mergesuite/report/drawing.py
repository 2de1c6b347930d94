"""What is drawn into the axes of a figure: rows of claims, strips of gains, curves of searches.

Every mark has one meaning in all figures: hollow is leaky, small dots are replicates, a line
through a mark is its interval. Nothing here imports matplotlib; the axes come from `figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mergesuite.experiment import spec
from mergesuite.judge.gains import baseline
from mergesuite.judge.samples import Where, samples
from mergesuite.judge.verdict import COLOURS
from mergesuite.report import traces
from mergesuite.report.wording import LEAK, MINUS, there

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, INK, GREY = "#CC79A7", "#56B4E9", "#222222", "#767676"
CYCLE = (BLUE, RED, GREEN, PINK, ORANGE, SKY, INK, "#A07A00")
"""Okabe & Ito's palette without its yellow, which is too light on white, and one ochre."""
TREATMENTS = {"keep": BLUE, "average": GREEN, "re-estimate": PINK, "-": INK}
MARKS = {"keep": "o", "average": "s", "re-estimate": "D", "-": "o"}


def label_of(entry: str, leaky: bool) -> str:
    """A name, with the mark of a leak."""
    return f"{entry} {LEAK}" if leaky else entry


def curves(axis: Axes, seeds: list[traces.Trace], colour: str, label: str, leaky: bool) -> None:
    """Seeds thin, their mean thick as far as all of them go."""
    steps, values = traces.curves(seeds)
    values = values * (100 if seeds[0].metric == "accuracy" else 1)
    style = "--" if leaky else "-"
    if len(values) > 1:
        for row in values:
            axis.plot(steps, row, color=colour, lw=0.6, alpha=0.45)
    axis.plot(steps, values.mean(axis=0), color=colour, ls=style, label=label)


def parent_lines(
    axis: Axes, paper: spec.Paper, runs: pd.DataFrame, here: list[traces.Trace]
) -> None:
    """The best parent, on each split that a search of this panel used."""
    best = baseline(paper, "best-parent", here[0].population, "keep")
    for split in sorted({t.split for t in here}):
        where = Where("accuracy", split, "keep")
        values = list(samples(runs, best, where).values()) if best else []
        if values:
            style = ":" if split == "test" else "-."
            height = 100 * float(np.mean(values))
            axis.axhline(height, color=INK, ls=style, lw=1.2, label=f"best parent, {split}")


def segments(axis: Axes, seeds: list[traces.Trace], treatment: str, label: str) -> None:
    """Accuracy or cross-entropy along the segment; the parents are its ends."""
    colour, scale = TREATMENTS[treatment], 100 if seeds[0].metric == "accuracy" else 1
    table = pd.concat([t.frame[["alpha", "score"]] for t in seeds])
    for trace in seeds:
        x, y = trace.frame["alpha"], scale * trace.frame["score"]
        axis.plot(x, y, color=colour, lw=0.6, alpha=0.45)
        axis.plot(x.iloc[[0, -1]], y.iloc[[0, -1]], "o", color=colour, ms=3.5, clip_on=False)
    mean = scale * table.groupby("alpha")["score"].mean()
    axis.plot(mean.index.to_numpy(), mean.to_numpy(), color=colour, label=label)


def strip(axis: Axes, table: pd.DataFrame, points: pd.DataFrame) -> None:
    """A row per entry, in it one line per BatchNorm treatment."""
    entries = list(dict.fromkeys(table["entry"]))
    treatments = [t for t in MARKS if t in set(table["batchnorm"])]
    low, high = _range(100 * points["gain"])
    axis.axvline(0, color=INK, lw=1)
    for row in table.to_dict("records"):
        place = treatments.index(row["batchnorm"]) - (len(treatments) - 1) / 2
        y = entries.index(row["entry"]) + 0.24 * place
        mine = (points["entry"] == row["entry"]) & (points["batchnorm"] == row["batchnorm"])
        values = 100 * points[mine]["gain"].to_numpy(dtype=float)
        _interval(axis, row, values, y, (low, high))
    leaky = dict(zip(table["entry"], table["leaky"], strict=True))
    axis.set_yticks(range(len(entries)), [label_of(e, leaky[e]) for e in entries])
    axis.set_ylim(len(entries) - 0.4, -0.6)
    axis.set_xlim(low, high)
    axis.grid(axis="y", visible=False)


def _range(values: pd.Series) -> tuple[float, float]:
    """Limits in points; a collapse far below is cut, or nothing else could be seen."""
    top = max(float(values.max()), 0.5)
    floor = -max(3.0, 3 * top)
    bottom = min(max(float(values.min()), floor), -0.5)
    pad = 0.08 * (top - bottom)
    return bottom - pad, top + pad


def _interval(
    axis: Axes, row: dict[Any, Any], values: np.ndarray, y: float, limits: tuple[float, float]
) -> None:
    """Single pairs, their mean and interval; off the scale, an arrow with the mean."""
    colour, mark = TREATMENTS[row["batchnorm"]], MARKS[row["batchnorm"]]
    label = f"BatchNorm {row['batchnorm']}" if row["batchnorm"] != "-" else "ensemble"
    axis.plot([], [], mark, color=colour, ms=4.5, label=label)
    if 100 * row["mean"] < limits[0]:
        text = f"  ◄ {100 * row['mean']:.0f}".replace("-", MINUS)
        axis.text(limits[0], y, text, color=colour, fontsize=7, va="center")
        return
    axis.plot(values, np.full(len(values), y + 0.1), ".", color=colour, alpha=0.6, ms=4, mew=0)
    if there(row["low"]):
        ends = [100 * row["low"], 100 * row["high"]]
        axis.plot(ends, [y, y], color=colour, lw=1.6, solid_capstyle="butt")
    face = "white" if row["leaky"] else colour
    axis.plot([100 * row["mean"]], [y], mark, ms=4.5, mfc=face, mec=colour, mew=1.2)


def claim_rows(axis: Axes, kind: str, rows: pd.DataFrame) -> None:
    """A row per claim: reported, of interest, measured, and measured of the held-out twin."""
    scale = 100.0 if kind == "accuracy" else 1.0
    axis.axvline(1 if kind == "factor" else 0, color=INK, lw=1)
    for y, row in enumerate(rows.to_dict("records")):
        colour, has_twin = COLOURS[row["verdict"]], there(row["twin_difference"])
        _of_interest(axis, row, y, scale)
        if there(row["reported_difference"]):
            target = [scale * row["reported_difference"]]
            axis.plot(target, [y], "d", color=INK, mfc="white", ms=7, label="reported", zorder=3)
        _whisker(axis, row, ("difference", "low", "high"), y - 0.12 * has_twin, colour, scale)
        if has_twin:
            _whisker(axis, row, TWIN, y + 0.2, BLUE, scale)
            axis.plot([], [], "s-", color=BLUE, ms=5, label="held-out twin")
        if not there(row["difference"]):
            axis.text(0.01, y, row["verdict"], color=GREY, va="center",
                      transform=axis.get_yaxis_transform())  # fmt: skip
    axis.plot([], [], "o-", color=INK, ms=5, label="measured")
    names = [label_of(r["claim"], r["leaky"]) for r in rows.to_dict("records")]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.45, -0.55)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(_axis_name(kind))
    if kind == "factor":
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axis.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")


TWIN = ("twin_difference", "twin_low", "twin_high")


def _of_interest(axis: Axes, row: dict[Any, Any], y: float, scale: float) -> None:
    """A band from no effect to the smallest one of interest, on the side of the claim."""
    if not there(row["interest"]):
        return
    none = 1.0 if row["effect"] == "ratio" else 0.0
    favoured = row["effect"] == "ratio" or row["direction"] == "higher"
    end = scale * row["interest"] * (1 if favoured else -1)
    band = {"color": "#dddddd", "lw": 9, "solid_capstyle": "butt", "zorder": 1}
    axis.plot([none, end], [y, y], label="less than of interest", **band)


def _axis_name(kind: str) -> str:
    if kind == "factor":
        return "claimed and measured factor (log scale; above 1 is in favour)"
    if kind == "accuracy":
        return f"difference in accuracy (points), subject {MINUS} against"
    return f"difference in {kind.replace('_', ' ')}, subject {MINUS} against"


def _whisker(
    axis: Axes,
    row: dict[Any, Any],
    names: tuple[str, str, str],
    y: float,
    colour: str,
    scale: float,
) -> None:
    mean, low, high = (row[name] for name in names)
    if not there(mean):
        return
    if there(low) and there(high):
        axis.plot([scale * low, scale * high], [y, y], color=colour, lw=2)
    mark, big = ("s", 5) if names == TWIN else ("o", 6)
    axis.plot([scale * mean], [y], mark, color=colour, ms=big, zorder=4)


def waterfall(axis: Axes, row: dict[Any, Any], x: float, twin: pd.Series, leaky: pd.Series) -> None:
    """From the twin's gain over what the leak adds to the leaky gain: three bars, left to right.

    `twin` and `leaky` are the gains of single replicates.
    """
    steps = (
        ("held-out twin", BLUE, 0.0, ("twin_gain", "twin_low", "twin_high"), twin),
        ("the leak adds", ORANGE, row["twin_gain"], ("excess", "excess_low", "excess_high"), None),
        (label_of("leaky search", True), RED, 0.0, ("gain", "low", "high"), leaky),
    )
    for place, (label, colour, bottom, names, points) in zip((-0.26, 0, 0.26), steps, strict=True):
        mean, low, high = (100 * row[name] for name in names)
        face = "white" if points is leaky else colour
        axis.bar(x + place, mean, 0.22, bottom=100 * bottom, facecolor=face, edgecolor=colour,
                 lw=1.4, alpha=0.75, label=label)  # fmt: skip
        if there(low):
            ends = [100 * bottom + low, 100 * bottom + high]
            axis.plot([x + place] * 2, ends, color=INK, lw=1.4)
        if points is not None:
            values = 100 * points.to_numpy(dtype=float)
            at = np.full(len(values), x + place + 0.07)
            axis.plot(at, values, ".", color=colour, ms=6, mec="white", mew=0.4)
    level = 100 * row["twin_gain"]
    axis.plot([x - 0.37, x + 0.11], [level, level], color=GREY, lw=0.8)
    axis.plot([x - 0.11, x + 0.37], [100 * row["gain"]] * 2, color=GREY, lw=0.8)


def calibration_rows(axis: Axes, table: pd.DataFrame) -> None:
    """Searches from top to bottom: the gain that each reports, and what is left of it on test."""
    axis.axvline(0, color=INK, lw=1)
    for y, row in enumerate(table.to_dict("records")):
        colour = ORANGE if row["null"] else BLUE
        axis.plot(
            [100 * row["reported"], 100 * row["gain"]], [y, y], color="#bbbbbb", lw=1.2, zorder=1
        )
        for name, mark, face in (("reported", "D", "none"), ("gain", "o", colour)):
            low, high = (f"{name}_low", f"{name}_high") if name == "reported" else ("low", "high")
            if there(row[low]):
                axis.plot([100 * row[low], 100 * row[high]], [y, y], color=colour, lw=1.2)
            axis.plot(100 * row[name], y, mark, ms=5.5, mec=colour, mfc=face, color=colour)
    named = [label_of(str(row["entry"]), bool(row["leaky"])) for row in table.to_dict("records")]
    axis.set_yticks(range(len(named)), named)
    axis.set_ylim(len(named) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    for mark, face, label in (("D", "none", "as the search reports"), ("o", BLUE, "on test")):
        axis.plot([], [], mark, color=BLUE, mec=BLUE, mfc=face, label=label)
    axis.plot([], [], "o", color=ORANGE, label="nothing to gain")
