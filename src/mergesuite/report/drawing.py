"""What is drawn into the axes of a figure: rows of claims, strips of gains, curves of searches.

Every mark has one meaning in all figures: hollow is leaky, small dots are replicates, a line
through a mark is its interval, an arrowhead says that it goes on. Nothing here imports matplotlib;
the axes come from `canvas`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from mergesuite.judge.verdict import COLOURS
from mergesuite.report.frame import GREY, INK, Frame, Interval, around
from mergesuite.report.wording import LEAK, TIMES, there

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
TREATMENTS = {"keep": BLUE, "average": GREEN, "re-estimate": PINK, "-": INK}
"""Of Okabe & Ito's palette, which is told apart without red or green too."""
MARKS = {"keep": "o", "average": "s", "re-estimate": "D", "-": "o"}
ENDS = ("low", "high")

Row = dict[Any, Any]


def label_of(entry: Any, leaky: Any) -> str:
    """A name, with the mark of a leak."""
    return f"{entry} {LEAK}" if leaky else str(entry)


def _interval(row: Row, mean: str, ends: tuple[str, str] = ENDS, scale: float = 100) -> Interval:
    return scale * row[mean], scale * row[ends[0]], scale * row[ends[1]]


def _rows(axis: Axes, names: list[str], frame: Frame) -> None:
    """An axis of rows from top to bottom, with their names."""
    axis.axvline(0, color=INK, lw=1, zorder=1)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(frame.low, frame.high)
    axis.grid(axis="y", visible=False)


def strip(axis: Axes, table: pd.DataFrame, points: pd.DataFrame) -> None:
    """A row per entry, in it one line per BatchNorm treatment."""
    entries = list(dict.fromkeys(table["entry"]))
    treatments = [t for t in MARKS if t in set(table["batchnorm"])]
    rows = table.to_dict("records")
    frame = around([_interval(row, "mean") for row in rows], 100 * points["gain"])
    for row in rows:
        treatment = row["batchnorm"]
        colour, mark = TREATMENTS[treatment], MARKS[treatment]
        place = treatments.index(treatment) - (len(treatments) - 1) / 2
        y = entries.index(row["entry"]) + 0.28 * place
        mine = (points["entry"] == row["entry"]) & (points["batchnorm"] == treatment)
        ends = _interval(row, "mean")
        if frame.holds(ends[0]):
            frame.points(axis, y + 0.12, 100 * points[mine]["gain"], colour)
        frame.interval(axis, y, ends, colour)
        frame.mean(axis, y, ends[0], colour, mark, ms=4.5, mfc="white" if row["leaky"] else colour)
    for treatment in treatments:
        name = "ensemble" if treatment == "-" else f"BatchNorm {treatment}"
        axis.plot([], [], MARKS[treatment], color=TREATMENTS[treatment], ms=4.5, label=name)
    leaky = dict(zip(table["entry"], table["leaky"], strict=True))
    _rows(axis, [label_of(entry, leaky[entry]) for entry in entries], frame)


TWIN = ("twin_difference", "twin_low", "twin_high")
MEASURED = ("difference", "low", "high")


def claim_rows(axis: Axes, kind: str, rows: list[Row]) -> None:
    """A row per claim: reported, of interest, measured, and measured of the held-out twin."""
    found = [_on_axis(row, kind) for row in rows]
    least = {"accuracy": 1.0, "factor": 1.0}.get(kind, 0.02)
    shown = [interval for name in ("measured", "twin") for row in found for interval in row[name]]
    frame = around([*shown, *((x, x, x) for row in found for x in row["reported"])], (), least)
    if kind == "factor":
        frame = Factors(frame.low, frame.high, TIMES)
        frame.scale(axis)
    for y, (row, on_axis) in enumerate(zip(rows, found, strict=True)):
        _claim(axis, frame, y, on_axis, COLOURS[row["verdict"]])
        axis.annotate(
            row["verdict"], (0, y), (-4, -1), ha="right", va="top", fontsize="small",
            xycoords=axis.get_yaxis_transform(), textcoords="offset points",
            color=COLOURS[row["verdict"]],
        )  # fmt: skip
    axis.plot([], [], "o-", color=INK, ms=5, label="measured")
    _rows(axis, [label_of(row["claim"], row["leaky"]) for row in rows], frame)
    for tick in axis.get_yticklabels():
        tick.set_verticalalignment("bottom")
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(_axis_name(kind))


def _on_axis(row: Row, kind: str) -> dict[str, list[Any]]:
    """What of a claim is drawn, in the unit of its axis: points, orders of magnitude, or its own.

    Each is a list of one, or of none where it is missing.
    """

    def unit(value: Any) -> float:
        if not there(value) or (kind == "factor" and value <= 0):
            return math.nan
        return math.log10(value) if kind == "factor" else value * (100 if kind == "accuracy" else 1)

    favoured = kind == "factor" or row["direction"] == "higher"
    interest = unit(row["interest"]) * (1 if favoured else -1)
    reported = unit(row["reported_difference"])
    intervals = {
        name: tuple(unit(row[k]) for k in of)
        for name, of in (("measured", MEASURED), ("twin", TWIN))
    }
    return {
        "interest": [interest] if there(interest) else [],
        "reported": [reported] if there(reported) else [],
        **{name: [ends] if there(ends[0]) else [] for name, ends in intervals.items()},
    }


def _claim(axis: Axes, frame: Frame, y: int, on_axis: dict[str, list[Any]], colour: str) -> None:
    """A claim: from no effect to the smallest of interest a band, then the marks."""
    band = {"color": "#dddddd", "lw": 9, "solid_capstyle": "butt", "zorder": 1}
    for end in on_axis["interest"]:
        axis.plot([0, end], [y, y], label="less than of interest", **band)
    for target in on_axis["reported"]:
        if frame.holds(target):
            axis.plot([], [], "d", color=INK, mfc="white", ms=6, label="reported")
        frame.mean(axis, y, target, INK, "d", "reported", mfc="white", ms=6.5, zorder=3)
    above = -0.14 if on_axis["twin"] else 0
    for name, at, paint, mark in (("measured", above, colour, "o"), ("twin", 0.2, BLUE, "s")):
        for ends in on_axis[name]:
            frame.interval(axis, y + at, ends, paint, 2)
            frame.mean(axis, y + at, ends[0], paint, mark)
    if on_axis["twin"]:
        axis.plot([], [], "s-", color=BLUE, ms=5, label="held-out twin")


class Factors(Frame):
    """A frame in orders of magnitude, whose numbers are factors."""

    def _number(self, value: float) -> str:
        return f"{10**value:.3g}{self.unit}"

    def scale(self, axis: Axes) -> None:
        """Ticks at the decades, and between few of them at 2 and 5 times."""
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        ticks = [10.0**power * step for power in powers for step in steps]
        ticks = [tick for tick in ticks if self.holds(math.log10(tick))]
        axis.set_xticks([math.log10(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])


def _axis_name(kind: str) -> str:
    if kind == "factor":
        return "factor in favour of the claim (log scale)"
    of = "accuracy (points)" if kind == "accuracy" else kind.replace("_", " ")
    return f"difference in {of}"


def leak_bars(axis: Axes, row: Row, twin: pd.Series, leaky: pd.Series) -> None:
    """From the twin's gain over what the leak adds to the leaky gain: three bars, top to bottom.

    `twin` and `leaky` are the gains of single replicates.
    """
    start = 100 * row["twin_gain"]
    bars = (
        ("held-out twin", BLUE, 0.0, _interval(row, "twin_gain", ("twin_low", "twin_high")), twin),
        ("the leak adds", ORANGE, start,
         _interval(row, "excess", ("excess_low", "excess_high")), None),
        (label_of("leaky search", True), RED, 0.0, _interval(row, "gain"), leaky),
    )  # fmt: skip
    moved: list[Interval] = [
        (left + mean, left + low, left + high) for _, _, left, (mean, low, high), _ in bars
    ]
    frame = around(moved, 100 * pd.concat([twin, leaky]))
    for y, ((_, colour, left, ends, points), at) in enumerate(zip(bars, moved, strict=True)):
        face = "white" if points is leaky else colour
        axis.barh(y, ends[0], 0.5, left=left, facecolor=face, edgecolor=colour, lw=1.2, alpha=0.75)
        frame.interval(axis, y, at, INK, 1.3)
        if points is not None:
            frame.points(axis, y + 0.36, 100 * points, colour)
    axis.plot([start] * 2, [0, 1], color=GREY, lw=0.8)
    axis.plot([100 * row["gain"]] * 2, [1, 2], color=GREY, lw=0.8)
    _rows(axis, [name for name, *_ in bars], frame)


def waterfall(axis: Axes, table: pd.DataFrame) -> None:
    """The way from the start as hanging bars, then what is beside it as dots, over one zero."""
    rows = table.iloc[1:].to_dict("records")
    moved: list[Interval] = []
    for row in rows:
        mean, low, high = _interval(row, "difference")
        before = 100 * row["gain"] - mean
        moved.append((before + mean, before + low, before + high))
    frame = around(moved)
    for y, (row, at) in enumerate(zip(rows, moved, strict=True)):
        if row["beside"]:
            frame.interval(axis, y, at, GREEN, 1.3)
            frame.mean(axis, y, at[0], GREEN, "o")
            continue
        colour = RED if row["leaky"] else BLUE if row["difference"] > 0 else ORANGE
        mean = 100 * row["difference"]
        axis.barh(
            y, mean, 0.55, left=at[0] - mean, facecolor="white" if row["leaky"] else colour,
            edgecolor=colour, lw=1.2, alpha=0.75,
        )  # fmt: skip
        frame.interval(axis, y, at, INK, 1.3)
        if y + 1 < len(rows) and not rows[y + 1]["beside"]:
            axis.plot([at[0]] * 2, [y - 0.28, y + 1.28], color=GREY, lw=0.8)
    _rows(axis, [label_of(row["text"], row["leaky"]) for row in rows], frame)


def trend(axis: Axes, table: pd.DataFrame, points: list[list[float]]) -> None:
    """A group of rows per line: what it is, then each population; `points`: of each, replicates."""
    rows = table.to_dict("records")
    shown = [100 * value for values in points for value in values]
    frame = around([_interval(row, "difference") for row in rows], shown)
    # Where the network is the same, it is not what the populations differ by.
    named = "population" if table["network"].nunique() == 1 else "network"
    names: list[str] = []
    for i, (row, values) in enumerate(zip(rows, points, strict=True)):
        if i == 0 or row["line"] != rows[i - 1]["line"]:
            axis.text(
                0.01, len(names), label_of(row["text"], row["leaky"]), fontsize="small",
                transform=axis.get_yaxis_transform(), va="center", zorder=6,
                bbox={"fc": "white", "ec": "none", "pad": 0.6},
            )  # fmt: skip
            names.append("")
        y, ends = len(names), _interval(row, "difference")
        names.append(str(row[named]))
        colour = RED if row["leaky"] else BLUE
        if frame.holds(ends[0]):
            frame.points(axis, y + 0.3, [100 * value for value in values], colour)
        frame.interval(axis, y, ends, colour)
        frame.mean(axis, y, ends[0], colour, "o", mfc="white" if row["leaky"] else colour)
    _rows(axis, names, frame)
    axis.tick_params(axis="y", length=0)


def calibration_rows(axis: Axes, table: pd.DataFrame) -> None:
    """Searches from top to bottom: the gain that each reports, and what is left of it on test."""
    rows = table.to_dict("records")
    told = [(_interval(r, "reported", ("reported_low", "reported_high")), _interval(r, "gain"))
            for r in rows]  # fmt: skip
    frame = around([interval for pair in told for interval in pair])
    for y, (row, (reported, gain)) in enumerate(zip(rows, told, strict=True)):
        colour = ORANGE if row["null"] else BLUE
        for at, ends, mark, face in ((-0.15, reported, "D", "white"), (0.15, gain, "o", colour)):
            frame.interval(axis, y + at, ends, colour, 1.2)
            frame.mean(axis, y + at, ends[0], colour, mark, mfc=face)
    for mark, face, label in (("D", "white", "as the search reports"), ("o", BLUE, "on test")):
        axis.plot([], [], mark, color=BLUE, mfc=face, ms=5, label=label)
    if any(row["null"] for row in rows):
        axis.plot([], [], "o", color=ORANGE, ms=5, label="nothing to gain")
    _rows(axis, [label_of(row["entry"], row["leaky"]) for row in rows], frame)
