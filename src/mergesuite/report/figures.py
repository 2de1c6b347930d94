"""The figures of a paper, as SVG and PDF.

Every figure shows single seeds, not only their mean, and what a search on test images produced is
marked. A figure whose inputs are not there says which in words.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mergesuite.core import sealed
from mergesuite.experiment import spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare, trends, waterfall
from mergesuite.judge.calibration import calibration
from mergesuite.judge.gains import gain_points, gains, leakage
from mergesuite.judge.study import Study
from mergesuite.report import claims, curves, drawing, traces
from mergesuite.report.canvas import PAGE, Canvas, finish, save
from mergesuite.report.drawing import label_of
from mergesuite.report.wording import there

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("fitness", "segment", "gains", "reported", "waterfall", "trends", "leakage", "null")
UNITS = {"accuracy": "accuracy (%)", "cross-entropy": "cross-entropy (nats)"}
GAIN = "gain over best parent (points)"


def fitness(jobs: Jobs, runs: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """Best fitness so far over evaluations: an axis per search, as high for all of a metric."""
    found: dict[tuple[str, str, str], list[traces.Trace]] = {}
    for trace in traces.read(jobs):
        found.setdefault((trace.population, trace.metric, trace.entry), []).append(trace)
    if not found:
        return canvas.words("No search has left a trace yet: run `mergesuite merge` first.")
    searches = {key: curves.Search(jobs.paper, runs, seeds) for key, seeds in found.items()}
    columns = 3 if canvas.width == "double" else 2
    rows = math.ceil(len(searches) / columns)
    figure, axes = canvas.panels([1.45] * rows, columns)
    several = len({population for population, _, _ in searches}) > 1
    metrics = [metric for _, metric, _ in searches]
    tall = curves.heights([*searches.values()])
    for i, ((population, metric, _), search) in enumerate(searches.items()):
        search.draw(axes[i], tall[i], f"{population}: " if several else "")
        axes[i].locator_params(axis="x", nbins=3)
        axes[i].locator_params(axis="y", nbins=4)
        if i % columns == 0 or metric != metrics[i - 1]:
            axes[i].set_ylabel(UNITS[metric].replace(" ", "\n"))
    for axis in axes[len(searches) :]:
        axis.remove()
    for axis in axes[len(searches) - columns : len(searches)]:
        axis.set_xlabel("fitness evaluations")
    return finish(figure)


def segment(jobs: Jobs, canvas: Canvas = PAGE) -> Figure:
    """Accuracy and cross-entropy on the straight line between two parents: a line per grid."""
    found: dict[tuple[str, str], dict[str, list[traces.Trace]]] = {}
    for trace in traces.read(jobs, segment=True):
        axis = found.setdefault((trace.population, trace.metric), {})
        axis.setdefault(trace.entry, []).append(trace)
    populations = list(dict.fromkeys(population for population, _ in found))
    keys = [(p, metric) for p in populations for metric in UNITS if (p, metric) in found]
    if not keys:
        return canvas.words("No interpolation grid was run for these populations.")
    columns = 1 if canvas.width == "single" or len(keys) == 1 else 2
    figure, axes = canvas.panels(
        [2.4 if len(keys) < 3 else 2.0] * math.ceil(len(keys) / columns), columns
    )
    for axis, (population, metric) in zip(axes, keys, strict=False):
        curves.segments(axis, found[population, metric])
        axis.set(title=population, ylabel=UNITS[metric])
    for axis in axes[len(keys) :]:
        axis.remove()
    return finish(figure)


def on_test(runs: pd.DataFrame) -> pd.DataFrame:
    """The accuracies on test: of these alone are gains and leaks."""
    return runs[(runs["metric"] == "accuracy") & runs["split"].isin(["test", "-"])]


def gains_strip(paper: spec.Paper, runs: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """Gain on test over the best parent: all replicates, mean and interval."""
    runs = on_test(runs)
    table, points = (
        t[t["against"] == "best-parent"] for t in (gains(paper, runs), gain_points(paper, runs))
    )
    parts = {name: part for name, part in table.groupby("population", sort=False)}
    if not parts:
        return canvas.words("No merged network has been measured next to its best parent yet.")
    heights = [0.7 + 0.37 * part["entry"].nunique() for part in parts.values()]
    figure, axes = canvas.panels(heights)
    for axis, (population, part) in zip(axes, parts.items(), strict=True):
        drawing.strip(axis, part, points[points["population"] == population])
        axis.set(title=population, xlabel=GAIN)
    return finish(figure)


def reported(verdicts: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """What the paper reports, what is of interest, what we measure, and the held-out twin."""
    rows = claims.tested(verdicts)
    kinds: dict[str, list[dict[Any, Any]]] = {}
    without: dict[str, list[str]] = {}
    for row in rows:
        kind = "factor" if row["effect"] == "ratio" else str(row["metric"])
        if there(row["difference"]):
            kinds.setdefault(kind, []).append(row)
        else:
            without.setdefault(row["verdict"], []).append(_unbroken(row))
    if not rows:
        return canvas.words("This replication states no claims that are tested.")
    words = " ".join(f"{word.capitalize()}: {', '.join(names)}." for word, names in without.items())
    if not kinds:
        return canvas.words(words)
    figure, axes = canvas.panels([0.55 + 0.42 * len(rows) for rows in kinds.values()])
    for axis, (kind, some) in zip(axes, kinds.items(), strict=True):
        drawing.claim_rows(axis, kind, some)
    below = "\n".join(textwrap.wrap(words, canvas.letters, break_on_hyphens=False))
    return finish(figure, 2 if canvas.width == "single" else 4, below)


def _unbroken(row: dict[Any, Any]) -> str:
    """The name of a claim, which no line may end in."""
    return label_of(row["claim"], row["leaky"]).replace(" ", "\u00a0")


def steps(table: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """Where the gain comes from, from a parent to the leaky search: a bar per step."""
    if table.empty:
        return canvas.words("Too few steps from a parent to the leaky search were measured.")
    figure, axes = canvas.panels([0.9 + 0.32 * len(table)])
    drawing.waterfall(axes[0], table)
    axes[0].set_xlabel(GAIN)
    return finish(figure)


def trend_panels(study: Study, table: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """Differences in populations that differ by one thing: an axis per trend."""
    if table.empty:
        return canvas.words("No difference was measured in several populations.")
    parts = {slug: part for slug, part in table.groupby("trend", sort=False)}
    figure, axes = canvas.panels(
        [0.7 + 0.21 * (len(part) + part["line"].nunique()) for part in parts.values()]
    )
    for axis, (slug, part) in zip(axes, parts.items(), strict=True):
        trend = study.paper.trends[str(slug)]
        points = [
            trends.pairs(study, trend.lines[row["line"]], row["population"])
            for row in part.to_dict("records")
        ]
        drawing.trend(axis, part, [list(values.values()) for values in points])
        axis.set(title=trend.text, xlabel="difference in accuracy (points)")
    return finish(figure)


def leaks(paper: spec.Paper, runs: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """Each leaky search beside its twin, under the treatment that it optimised."""
    runs = on_test(runs)
    table = [
        row
        for row in leakage(paper, runs, gains(paper, runs)).to_dict("records")
        if row["batchnorm"] in (paper.methods[str(row["entry"])].fitness.batchnorm, "-")
    ]
    if not table:
        return canvas.words("No leaky search was run beside a held-out twin.")
    points = gain_points(paper, runs)
    points = points[points["against"] == "best-parent"]
    figure, axes = canvas.panels([1.55] * len(table))
    for axis, row in zip(axes, table, strict=True):
        at = points[points["batchnorm"] == row["batchnorm"]]
        twin, leaky = (at[at["subject"] == row[name]]["gain"] for name in ("twin", "subject"))
        drawing.leak_bars(axis, row, twin, leaky)
        axis.set(title=f"{row['entry']}, {row['population']}", xlabel=GAIN)
    return finish(figure)


def null(paper: spec.Paper, runs: pd.DataFrame, canvas: Canvas = PAGE) -> Figure:
    """What searches report as their gain, those with nothing to gain first, and what is left."""
    table = calibration(paper, runs)
    table = table[table["metric"] == "accuracy"]
    if table.empty:
        return canvas.words("No search for accuracy was run.")
    table = table.sort_values("null", ascending=False, kind="stable")
    parts = {name: part for name, part in table.groupby("population", sort=False)}
    figure, axes = canvas.panels([0.7 + 0.34 * len(part) for part in parts.values()])
    for axis, (population, part) in zip(axes, parts.items(), strict=True):
        drawing.calibration_rows(axis, part)
        axis.set(title=population, xlabel=GAIN)
    return finish(figure)


def make(
    jobs: Jobs, runs: pd.DataFrame, verdicts: pd.DataFrame, canvas: Canvas = PAGE
) -> dict[str, Figure]:
    """All figures of a paper, by the names of `NAMES`."""
    paper = jobs.paper
    drawn: dict[str, Callable[[], Figure]] = {
        "fitness": lambda: fitness(jobs, runs, canvas),
        "segment": lambda: segment(jobs, canvas),
        "gains": lambda: gains_strip(paper, runs, canvas),
        "reported": lambda: reported(verdicts, canvas),
        "waterfall": lambda: steps(waterfall.read(Path(jobs.folder)), canvas),
        "trends": lambda: trend_panels(Study(paper, runs), trends.read(Path(jobs.folder)), canvas),
        "leakage": lambda: leaks(paper, runs, canvas),
        "null": lambda: null(paper, runs, canvas),
    }
    with canvas.style():
        return {name: draw() for name, draw in drawn.items()}


def write(paper_folder: Path, profile: str, results: Path, canvas: Canvas = PAGE) -> Path:
    """Write each of `NAMES` as SVG and PDF to `figures/`; of another canvas to `for-paper/WIDTH/`.

    Returns the folder. What has nothing to show is in words on the page, and in no paper.
    """
    jobs = Jobs(paper_folder.name, profile, str(results))
    drawn = make(jobs, collect.measured(jobs), compare.read(Path(jobs.folder)), canvas)
    if canvas != PAGE:
        drawn = {name: figure for name, figure in drawn.items() if figure.axes}
    folder = Path(jobs.folder) / ("figures" if canvas == PAGE else f"for-paper/{canvas.width}")
    with sealed.describing(sealed.beside(folder)) as to_write:
        for name, figure in drawn.items():
            for kind in ("svg", "pdf"):
                save(figure, to_write(folder / f"{name}.{kind}"), canvas)
    return folder
