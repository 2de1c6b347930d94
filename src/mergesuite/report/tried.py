"""The page and the figure of one comparison: see `mergesuite.trying`.

The page is one file without script that needs no network. Names come from paths and options, so the
template escapes everything but our own SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from mergesuite import __version__
from mergesuite.report import svg
from mergesuite.report.canvas import PAGE, drawn, finish
from mergesuite.report.drawing import BLUE, GREEN, RED
from mergesuite.report.frame import INK, around
from mergesuite.report.page import environment
from mergesuite.report.wording import NOTHING, interval, number, there

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT = 40
"""Letters of a name in the figure and in the terminal's table."""
COLUMNS = ["result", "search %", "test %", "vs best parent", "vs average", "evaluations", "images"]
CAPTION = (
    "Accuracy on the test images minus that of the best parent, in points, with its interval; an "
    "arrowhead: beyond the frame"
)


def shown(table: pd.DataFrame) -> list[list[str]]:
    """The rows of `Comparison.table` for a reader, under `COLUMNS`."""
    return [_shown(row) for row in table.to_dict("records")]


def _shown(row: dict[Any, Any]) -> list[str]:
    marks = "*" * bool(row["best_parent"]) + "+" * bool(row["chosen"])
    average = ("against_average", "against_average_low", "against_average_high")
    return [
        f"{short(row['result'])} {marks}".rstrip(),
        number(row["search"]),
        number(row["test"]),
        interval(row["difference"], row["low"], row["high"]),
        interval(*(row[key] for key in average)),
        f"{row['evaluations']:,}" if row["kind"] != "parent" else NOTHING,
        f"{row['forward_images']:,}" if row["kind"] != "parent" else NOTHING,
    ]


def legend(table: pd.DataFrame) -> str:
    """What the marks and columns of `shown` mean."""
    level = 100 * table["level"].iloc[0]
    return (
        "* best parent, + chosen: both by the search images. In square brackets: intervals over "
        f"the {table['images'].iloc[0]:,} test images, each of {level:.1f} %, so that all hold at "
        "once in 95 % of cases. evaluations: candidates asked for; images: forward passes of the "
        "search."
    )


def short(name: str) -> str:
    """A name that fits; of a long path the end tells."""
    return name if len(name) <= SHORT else f"\u2026{name[1 - SHORT :]}"


def figure(table: pd.DataFrame) -> Figure:
    """The difference to the best parent of every merge and ensemble, with its interval."""
    rows = [row for row in table.to_dict("records") if there(row["difference"])]
    ends = [tuple(100 * row[key] for key in ("difference", "low", "high")) for row in rows]
    if not rows:
        return PAGE.words("Nothing was made of the parents.")
    # One level for all, so most intervals are about as wide: as far is always shown.
    frame = around(ends, (), max(1, median((high - low) / 2 for _, low, high in ends)))
    with PAGE.style():
        made, (axis,) = PAGE.panels([0.6 + 0.24 * len(rows)])
        axis.axvline(0, color=INK, lw=1)
        for y, (row, interval_) in enumerate(zip(rows, ends, strict=True)):
            colour = GREEN if row["low"] > 0 else RED if row["high"] < 0 else BLUE
            face = {} if row["networks"] == 1 else {"mfc": "white"}
            frame.interval(axis, y, interval_, colour)
            frame.mean(axis, y, interval_[0], colour, "o", **face)
        axis.set_yticks(range(len(rows)), [short(str(row["result"])) for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(frame.low, frame.high)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("difference to the best parent (points)")
        return finish(made)


def page(
    table: pd.DataFrame,
    *,
    sentence: str,
    scope: str,
    warnings: Sequence[str],
    skipped: Sequence[tuple[str, str]],
    chosen: str,
    command: str,
) -> str:
    """The page as HTML."""
    notes = table[table["note"] != ""]
    template = environment().get_template("tried.html")
    return template.render(
        columns=COLUMNS,
        rows=shown(table),
        legend=legend(table),
        figure=svg.embed(drawn(figure(table), ".svg").decode(), "tried", CAPTION),
        caption=CAPTION,
        notes=list(zip(notes["result"], notes["note"], strict=True)),
        sentence=sentence,
        scope=scope,
        warnings=warnings,
        skipped=skipped,
        chosen=chosen,
        command=command,
        version=__version__,
    )
