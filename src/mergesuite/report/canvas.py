"""What figures are drawn on: widths, fonts, panels, and how one is saved.

No other module but `sheet` imports matplotlib. Bytes depend on the data alone: no dates, a fixed
salt for the ids inside the SVG. Layout is worked out once, not again for each kind of file.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mergesuite.core import store
from mergesuite.report.frame import GREY, INK

WIDTHS = {"page": (5.0, 10.0), "double": (6.8, 8.5), "single": (3.3, 8.0)}
"""Inches and points of type: the page, which a phone makes narrower, and one or two columns."""
FONTS = {False: ["DejaVu Sans", "sans-serif"], True: ["STIXGeneral", "serif"]}
"""Both come with matplotlib; STIX is a Times, as most journals are set in."""
LEGEND = 0.3
"""Inches for it below the axes."""
TALLEST = 7.2
"""Inches that LaTeX's article has for a figure above its caption."""

STYLE: Any = {
    "mathtext.fontset": "stix",
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelpad": 3,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": "small",
    "legend.frameon": False,
    "legend.fontsize": "small",
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "mergesuite",
    "pdf.fonttype": 42,  # whole outlines: journals refuse Type 3
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Canvas:
    """A width out of `WIDTHS`, and whether letters have serifs."""

    width: str = "page"
    serif: bool = False

    @property
    def inches(self) -> float:
        """How wide a figure is."""
        return WIDTHS[self.width][0]

    @property
    def letters(self) -> int:
        """How many letters of the size of a tick's label fit in the width, about."""
        inches, points = WIDTHS[self.width]
        return int(inches * 72 / (0.5 * points))

    def style(self) -> AbstractContextManager[None]:
        """Draw and save in the house style, at this size and in this type."""
        points = WIDTHS[self.width][1]
        own: Any = {"font.size": points, "font.family": FONTS[self.serif]}
        if self != PAGE:
            own["svg.fonttype"] = "path"  # the same letters wherever it is put
        own |= dict.fromkeys(("axes.titlesize", "axes.labelsize", "ytick.labelsize"), points)
        return mpl.rc_context({**STYLE, **own})

    def panels(self, heights: Sequence[float], columns: int = 1) -> tuple[Figure, list[Axes]]:
        """Axes below each other, or in `columns`, with the height of each row.

        Heights are in inches of the page; smaller type makes them smaller, and so does a sheet of
        paper.
        """
        tall = (sum(heights) + LEGEND) * WIDTHS[self.width][1] / WIDTHS["page"][1]
        if self.width != "page":
            tall = min(tall, TALLEST)
        figure = Figure(figsize=(self.inches, tall), layout="constrained")
        FigureCanvasSVG(figure)
        grid = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
        return figure, list(grid.flat)

    def words(self, text: str) -> Figure:
        """A figure that says why there is none."""
        lines = textwrap.wrap(text, self.letters)
        figure = Figure(figsize=(self.inches, 0.4 + 0.18 * len(lines)))
        FigureCanvasSVG(figure)
        figure.text(0.02, 0.5, "\n".join(lines), va="center", ha="left", color=GREY)
        return figure


PAGE = Canvas()


def finish(figure: Figure, columns: int = 3, words: str | None = None) -> Figure:
    """One legend for all panels, each label once, below `words`; then the layout, once for all."""
    found: dict[str, Any] = {}
    for axis in figure.axes:
        found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    if found:
        figure.legend(
            found.values(), found.keys(), ncols=min(len(found), columns), title=words,
            loc="outside lower center", title_fontproperties={"size": "small"},
        )  # fmt: skip
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
        # The solver's last digits depend on addresses in memory, and the names in an SVG on them.
        for axis in figure.axes:
            ends = axis.get_position(original=True).extents
            axis.set_position(Bbox.from_extents(*(round(float(end), 6) for end in ends)))
    return figure


def save(figure: Figure, path: Path, canvas: Canvas = PAGE) -> None:
    """Write one figure as `path`, SVG or PDF by its suffix."""
    content = drawn(figure, path.suffix, canvas)  # before: over a full disk PDF's writer stumbles
    with store.whole(path) as temporary:
        temporary.write_bytes(content)


def drawn(figure: Figure, suffix: str, canvas: Canvas = PAGE) -> bytes:
    """What a file of the figure holds, `.svg` or `.pdf`, without dates."""
    out = io.BytesIO()
    with canvas.style():
        if suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
        else:
            FigureCanvasPdf(figure).print_pdf(out, metadata={"CreationDate": None})
    return out.getvalue()
