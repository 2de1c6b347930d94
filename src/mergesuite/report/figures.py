"""The six figures of a paper, as SVG and PDF. The only module that imports matplotlib.

Every figure shows single seeds, not only their mean, and what a search on test images produced is
marked. A figure whose inputs are not there says which in words. The bytes depend on the data
alone: no dates, a fixed salt for the ids inside the SVG.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mergesuite.core import sealed, store
from mergesuite.experiment import spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare
from mergesuite.judge.calibration import calibration
from mergesuite.judge.gains import gain_points, gains, leakage
from mergesuite.report import claims, drawing, traces
from mergesuite.report.drawing import CYCLE, GREY, INK

NAMES = ("fitness", "segment", "gains", "reported", "leakage", "null")
UNITS = {"accuracy": "accuracy (%)", "cross-entropy": "cross-entropy (nats)"}

STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "mergesuite",
    "pdf.fonttype": 42,
    "axes.unicode_minus": True,
}


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def words(text: str) -> Figure:
    """A figure that says why there is none."""
    figure = _figure(7.2, 1.1)
    figure.text(0.02, 0.5, text, va="center", ha="left", color=GREY, fontsize=10, wrap=True)
    return figure


def _panels(count: int, height: float = 3.1, width: float = 7.2) -> tuple[Figure, list[Axes]]:
    """Up to two panels in a row, the y axis of each its own."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = _figure(width, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _legend_below(figure: Figure, axes: list[Axes]) -> None:
    """One legend for all panels, each label once."""
    found: dict[str, Any] = {}
    for axis in axes:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    if found:
        columns = min(len(found), 4)
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def fitness(jobs: Jobs, runs: pd.DataFrame) -> Figure:
    """Best fitness so far over evaluations: a panel per population, a line per method."""
    paper, found = jobs.paper, traces.read(jobs)
    keys = list(dict.fromkeys((t.population, t.metric) for t in found))
    if not keys:
        return words("No search has left a trace yet: run `mergesuite merge` first.")
    colour = dict(zip(dict.fromkeys(t.entry for t in found), CYCLE * 9, strict=False))
    figure, axes = _panels(len(keys))
    for axis, (population, metric) in zip(axes, keys, strict=True):
        here = [t for t in found if (t.population, t.metric) == (population, metric)]
        for entry in dict.fromkeys(t.entry for t in here):
            leaky = paper.methods[entry].leaky
            seeds = [t for t in here if t.entry == entry]
            drawing.curves(axis, seeds, colour[entry], drawing.label_of(entry, leaky), leaky)
        if metric == "accuracy":
            drawing.parent_lines(axis, paper, runs, here)
        axis.set(title=population, xlabel="fitness evaluations")
        axis.set_ylabel(f"best fitness: {UNITS[metric]}")
    _legend_below(figure, axes)
    return figure


def segment(jobs: Jobs) -> Figure:
    """Accuracy and cross-entropy on the straight line between two parents, per treatment."""
    found = [t for t in traces.read(jobs, segment=True) if "alpha" in t.frame]
    populations = list(dict.fromkeys(t.population for t in found))
    there = {(t.population, t.metric) for t in found}
    keys = [(p, metric) for p in populations for metric in UNITS if (p, metric) in there]
    if not keys:
        return words("No interpolation grid was run for these populations.")
    figure, axes = _panels(len(keys))
    for axis, (population, metric) in zip(axes, keys, strict=True):
        here = [t for t in found if (t.population, t.metric) == (population, metric)]
        for treatment, split in dict.fromkeys((t.batchnorm, t.split) for t in here):
            seeds = [t for t in here if (t.batchnorm, t.split) == (treatment, split)]
            drawing.segments(axis, seeds, treatment, f"BatchNorm {treatment}, {split}")
        axis.set(title=population, ylabel=UNITS[metric], xlim=(-0.03, 1.03))
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["parent A", "¼", "½", "¾", "parent B"])
    _legend_below(figure, axes)
    return figure


def gains_strip(paper: spec.Paper, runs: pd.DataFrame) -> Figure:
    """Gain on test over the best parent: all replicates, mean and interval."""
    table, points = gains(paper, runs), gain_points(paper, runs)
    table, points = (
        t[(t["against"] == "best-parent") & (t["split"] == "test")] for t in (table, points)
    )
    populations = list(dict.fromkeys(table["population"]))
    if not populations:
        return words("No merged network has been measured next to its best parent yet.")
    most = max(int((table["population"] == p).sum()) for p in populations)
    figure, axes = _panels(len(populations), height=1.1 + 0.17 * most)
    for axis, population in zip(axes, populations, strict=True):
        drawing.strip(
            axis,
            table[table["population"] == population],
            points[points["population"] == population],
        )
        axis.set(title=population, xlabel="gain over best parent (points)")
    _legend_below(figure, axes)
    return figure


def reported(verdicts: pd.DataFrame) -> Figure:
    """What the paper reports, what is of interest, what we measure, and the held-out twin."""
    kinds: dict[str, list[dict[Any, Any]]] = {}
    for row in claims.tested(verdicts):
        kind = "factor" if row["effect"] == "ratio" else str(row["metric"])
        kinds.setdefault(kind, []).append(row)
    if not kinds:
        return words("This replication states no claims that are tested.")
    heights = [0.55 + 0.42 * len(rows) for rows in kinds.values()]
    figure = _figure(7.2, sum(heights) + 0.7)
    grid = figure.subplots(len(kinds), 1, squeeze=False, height_ratios=heights)
    axes = list(grid.flat)
    for axis, (kind, rows) in zip(axes, kinds.items(), strict=True):
        drawing.claim_rows(axis, kind, pd.DataFrame(rows))
    _legend_below(figure, axes)
    return figure


def leaks(paper: spec.Paper, runs: pd.DataFrame) -> Figure:
    """Each leaky search beside its twin, under the treatment that it optimised."""
    table = [
        row
        for row in leakage(paper, runs).to_dict("records")
        if row["batchnorm"] in (paper.methods[str(row["entry"])].fitness.batchnorm, "-")
    ]
    if not table:
        return words("No leaky search was run beside a held-out twin.")
    points = gain_points(paper, runs)
    points = points[(points["against"] == "best-parent") & (points["split"] == "test")]
    rows = [table[i : i + 4] for i in range(0, len(table), 4)]  # more names would run together
    figure = _figure(7.2, 0.7 + 2.7 * len(rows))
    axes = list(figure.subplots(len(rows), 1, squeeze=False, sharey=True).flat)
    for axis, some in zip(axes, rows, strict=True):
        _leak_row(axis, some, points)
    _legend_below(figure, axes)
    return figure


def _leak_row(axis: Axes, rows: list[dict[Any, Any]], points: pd.DataFrame) -> None:
    """One waterfall for each leaky subject."""
    axis.axhline(0, color=INK, lw=1)
    for x, row in enumerate(rows):
        at = points[points["batchnorm"] == row["batchnorm"]]
        twin, leaky = (at[at["subject"] == row[name]]["gain"] for name in ("twin", "subject"))
        drawing.waterfall(axis, row, x, twin, leaky)
    names = [f"{row['entry']}\n{row['population']}" for row in rows]
    axis.set_xticks(range(len(rows)), names)
    axis.set_xlim(-0.6, len(rows) - 0.4)
    axis.set_ylabel("gain over best parent\non test (points)")
    axis.grid(axis="x", visible=False)


def null(paper: spec.Paper, runs: pd.DataFrame) -> Figure:
    """What searches report as their gain, those with nothing to gain first, and what is left."""
    table = calibration(paper, runs)
    table = table[table["metric"] == "accuracy"]
    if table.empty:
        return words("No search for accuracy was run.")
    table = table.sort_values("null", ascending=False, kind="stable")
    populations = list(dict.fromkeys(table["population"]))
    heights = [0.6 + 0.32 * int((table["population"] == name).sum()) for name in populations]
    figure = _figure(7.2, sum(heights) + 0.8)
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    axes = list(grid.flat)
    for axis, population in zip(axes, populations, strict=True):
        drawing.calibration_rows(axis, table[table["population"] == population])
        axis.set(title=population, xlabel="gain over best parent (points)")
    _legend_below(figure, axes)
    return figure


def make(jobs: Jobs, runs: pd.DataFrame, verdicts: pd.DataFrame) -> dict[str, Figure]:
    """All figures of a paper, by the names of `NAMES`."""
    paper = jobs.paper
    drawn: dict[str, Callable[[], Figure]] = {
        "fitness": lambda: fitness(jobs, runs),
        "segment": lambda: segment(jobs),
        "gains": lambda: gains_strip(paper, runs),
        "reported": lambda: reported(verdicts),
        "leakage": lambda: leaks(paper, runs),
        "null": lambda: null(paper, runs),
    }
    with mpl.rc_context(STYLE):
        return {name: draw() for name, draw in drawn.items()}


def save(figure: Figure, path: Path) -> None:
    """Write one figure as `path`, SVG or PDF by its suffix, without dates."""
    kind = path.suffix.removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    drawn = io.BytesIO()  # over a full disk matplotlib's PDF stumbles before it can say so
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format=kind, metadata=undated)
    with store.whole(path) as temporary:
        temporary.write_bytes(drawn.getbuffer())


def write(paper_folder: Path, profile: str, results: Path) -> None:
    """Write `figures/{fitness,segment,gains,reported,leakage,null}.{svg,pdf}`."""
    jobs = Jobs(paper_folder.name, profile, str(results))
    drawn = make(jobs, collect.measured(jobs), compare.read(Path(jobs.folder)))
    folder = Path(jobs.folder) / "figures"
    with sealed.describing(sealed.beside(folder)) as to_write:
        for name, figure in drawn.items():
            for kind in ("svg", "pdf"):
                save(figure, to_write(folder / f"{name}.{kind}"))
