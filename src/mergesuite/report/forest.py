"""All claims in one forest plot: reported, measured, what was free, and what a size cannot see.

Everything is turned so that right is what the paper claims; each unit has a panel of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergesuite.core import store
from mergesuite.errors import UserError
from mergesuite.report import answers, claims
from mergesuite.report.answers import BEST_PARENT, free_controls
from mergesuite.report.axis import FACTOR, NONE, POINTS, Axis, holding
from mergesuite.report.names import Names
from mergesuite.report.sheet import Mark, Sheet, role, to_pdf, to_svg
from mergesuite.report.wording import LEAK, MINUS, there

LABEL = (
    "Forest plot of all claims that were measured: reported, measured with interval, and verdict. "
    "The table of claims has the same numbers."
)
NOTE = (
    "Colours are the verdicts'; the intervals of a paper's claims hold at once in 95 % of studies. "
    "The axis of points is even up to about half a point and logarithmic beyond."
)
KEY = (
    ("reported", "reported"),
    ("measured", "measured, with interval"),
    ("leaky", f"the search saw test images {LEAK}"),
    ("free", "controls that are free"),
    ("unseen", "too small for this size to see"),
)
"""What each kind of mark is."""


@dataclass(frozen=True)
class Row:
    """One claim; effects turned so that more is better, factors as they are.

    Attributes:
        unit: `points`, `factor`, or the unit of another metric.
        seen: the smallest effect that this size shows, either way.
        free: where free controls stand on the axis of this row.
    """

    paper: str
    label: str
    title: str
    target: str
    verdict: str
    unit: str
    leaky: bool
    mean: float
    low: float
    high: float
    reported: float
    seen: float
    free: tuple[float, ...] = ()

    def values(self) -> list[float]:
        """Everything that is drawn of it."""
        none = NONE.get(self.unit, 0.0)
        seen = self.unseen()
        return [v for v in (none, self.mean, self.low, self.high, self.reported, *seen, *self.free)
                if there(v)]  # fmt: skip

    def unseen(self) -> tuple[float, ...]:
        """Both ends of what this size cannot see."""
        if not there(self.seen) or (self.unit == FACTOR and self.seen <= 0):
            return ()
        return (1 / self.seen, self.seen) if self.unit == FACTOR else (-self.seen, self.seen)


def rows(
    names: Names, verdicts: pd.DataFrame, beside: pd.DataFrame, paper: str, key: str
) -> list[Row]:
    """The rows of a paper: its claims that have an interval, in their order.

    `beside` is its controls.csv; those that are free are shown where a gain is over a best parent.
    """
    found = []
    for row in claims.tested(verdicts):
        is_gain = names.use(str(row["against"])) == BEST_PARENT and not row["leaky"]
        free = free_controls(beside, row) if is_gain else []
        label = f"{names.short(row['subject'])} vs {names.short(row['against'])}"
        if row["effect"] == "ratio":  # the axis does not say of what
            label += f": {str(row['metric']).replace('_', ' ')}"
        elif row["split"] not in ("test", "-"):
            label += f": {row['split']}"
        if made := _row_of(row, free, paper, label, f"{key}/{row['claim']}"):
            found.append(made)
    return found


def of_paper(paper_folder: Path, profile: str, results: Path) -> list[Row]:
    """The rows of a paper from its tables on disk."""
    name = paper_folder.name
    judged = answers.read(name, profile, results)
    return rows(judged.names, judged.verdicts, judged.beside, judged.names.brief(name), name)


def write(papers: list[Path], profile: str, results: Path, out: Path) -> None:
    """Write the plot of all `papers` (folders of replications) as a figure of its own.

    Raises:
        UserError: `out` is neither .svg nor .pdf, or nothing is measured.
    """
    if out.suffix not in (".svg", ".pdf"):
        raise UserError(f"--forest {out}: expected a file that ends in .svg or .pdf")
    found = [row for folder in papers for row in of_paper(folder, profile, results)]
    if not found:
        raise UserError(f"no claim is measured in {results} at profile {profile}: nothing to draw")
    sheet = draw(found)
    if out.suffix == ".svg":
        store.write_text(out, to_svg(sheet, LABEL, alone=True))
    else:
        with store.whole(out) as temporary:
            temporary.write_bytes(to_pdf(sheet))


def _row_of(row: Any, free: Iterable[Any], paper: str, label: str, target: str) -> Row | None:
    """The row of a claim that has an interval, and the free controls beside its subject."""
    if not (there(row["low"]) and there(row["high"])):
        return None
    ratio = row["effect"] == "ratio"
    sign = 1 if ratio or row["direction"] == "higher" else -1
    scale = 100 * sign if row["metric"] == "accuracy" and not ratio else sign
    low, high = sorted((scale * row["low"], scale * row["high"]))
    unit = FACTOR if ratio else POINTS if row["metric"] == "accuracy" else str(row["metric"])
    # A control of the same pairs: both are compared with one thing, so the differences subtract.
    beside = [c for c in free if int(c["n"]) == int(row["n"]) and unit == POINTS]
    return Row(
        paper=paper,
        label=f"{label} {LEAK}" if row["leaky"] else label,
        title=str(row["text"]),
        target=target,
        verdict=str(row["verdict"]),
        unit=unit,
        leaky=bool(row["leaky"]),
        mean=scale * row["difference"],
        low=low,
        high=high,
        reported=scale * row["reported_difference"],
        seen=abs(scale) * row["detectable"],
        free=tuple(scale * (row["difference"] - c["difference"]) for c in beside),
    )


NAMES = {POINTS: "points of accuracy", FACTOR: "factor (above 1: in favour)",
         "cross_entropy": "cross-entropy (nats)"}  # fmt: skip
SMALL, BOLD = 10.0, 11.5
LETTER = 0.53
"""How wide a letter is, in parts of the size of its text."""


@dataclass(frozen=True)
class Layout:
    """Measures in pixels; on a phone a label stands above its row."""

    width: float
    label: float
    word: float
    pitch: float
    above: float
    text: float

    @property
    def ends(self) -> tuple[float, float]:
        """Left and right of the axes."""
        return self.label + 6, self.width - self.word - 8


WIDE = Layout(width=920, label=236, word=126, pitch=13, above=0, text=10.5)
NARROW = Layout(width=356, label=0, word=0, pitch=33, above=17, text=12)


def draw(rows: list[Row], layout: Layout = WIDE) -> Sheet:
    """All rows, a panel per unit, in each the papers one below the other."""
    sheet = Sheet(layout.width)
    y = _key(sheet.group(), layout)
    units = sorted({row.unit for row in rows}, key=lambda u: (u != POINTS, u != FACTOR, u))
    for unit in units:
        y = _panel(sheet, [row for row in rows if row.unit == unit], layout, y)
    sheet.height = y + 4
    return sheet


def _key(marks: list[Mark], layout: Layout) -> float:
    """What the marks mean, in as many lines as it takes; the place below."""
    x, y = 4.0, 12.0
    for kind, text in KEY:
        wide = 22 + 5.7 * len(text)
        if x + wide > layout.width and x > 4:
            x, y = 4.0, y + 16
        _sample(marks, kind, x + 8, y - 3.5)
        marks.append(Mark("text", "soft", (x + 20, y, SMALL), text))
        x += wide + 8
    return y + 8


def _sample(marks: list[Mark], kind: str, x: float, y: float) -> None:
    if kind == "unseen":
        marks.append(Mark("rect", "band", (x - 8, y - 5, 16, 10)))
    elif kind == "reported":
        marks.append(Mark("diamond", "ink", (x, y, 4.2), hollow=True))
    elif kind == "free":
        marks += [Mark("line", "soft", (x + d, y - 5, x + d, y + 5, 1.4)) for d in (-3, 2)]
    else:
        marks.append(Mark("line", "ink", (x - 8, y, x + 8, y, 2)))
        marks.append(Mark("dot", "ink", (x, y, 3.4), hollow=kind == "leaky"))


def _panel(sheet: Sheet, rows: list[Row], layout: Layout, y: float) -> float:
    """The rows of one unit with their axis; the place below."""
    axis = holding(rows[0].unit, [v for row in rows for v in row.values()], *layout.ends)
    ground = sheet.group()
    top = y + 26
    place = top
    for paper in dict.fromkeys(row.paper for row in rows):
        sheet.group().append(Mark("text", "ink", (2, place + 12, BOLD), paper, bold=True))
        place += 16
        for row in (row for row in rows if row.paper == paper):
            _row(sheet.group(row.title, row.target), row, axis, layout, place)
            place += layout.pitch
        place += 2
    _scale(ground, axis, y, top, place)
    return place + 10


def _scale(marks: list[Mark], axis: Axis, y: float, top: float, bottom: float) -> None:
    """The name of an axis, its ticks, and the line of no effect."""
    name = NAMES.get(axis.unit, axis.unit.replace("_", " "))
    marks.append(Mark("text", "soft", ((axis.left + axis.right) / 2, y + 9, SMALL), name,
                      anchor="middle"))  # fmt: skip
    marks.append(Mark("text", "soft", (axis.left, y + 9, SMALL), "\u2190 the other way"))
    marks.append(
        Mark("text", "soft", (axis.right, y + 9, SMALL), "as claimed \u2192", anchor="end")
    )
    for value in axis.ticks(apart=26):
        x, is_none = axis.at(value), value == axis.none
        marks.append(Mark("line", "soft" if is_none else "faint", (x, top, x, bottom, 1.0)))
        text = f"{value:g}".replace("-", MINUS)
        sign = "+" if value > 0 and axis.unit != FACTOR else ""
        marks.append(Mark("text", "soft", (x, top - 3, SMALL), sign + text, anchor="middle"))


def _row(marks: list[Mark], row: Row, axis: Axis, layout: Layout, y: float) -> None:
    """One claim: its name, the band, the free controls, reported, measured, and the verdict."""
    middle, colour = y + layout.above + (layout.pitch - layout.above) / 2, role(row.verdict)
    base = y + 13 if layout.above else middle + 3.7
    marks.append(Mark("area", "", (0, y, layout.width, layout.pitch)))
    wide = LETTER * layout.text
    room = layout.label or layout.width - wide * len(row.verdict) - 14
    name = _cut(row.label, int((room - 10) / wide))
    marks.append(Mark("text", "ink", (10, base, layout.text), name))
    word = (layout.width - 2, base, layout.text)
    marks.append(Mark("text", colour, word, row.verdict, anchor="end"))
    if unseen := row.unseen():
        left, right = (axis.at(value) for value in unseen)
        marks.append(Mark("rect", "band", (left, middle - 5.5, right - left, 11)))
        none = axis.at(axis.none)
        marks.append(Mark("line", "soft", (none, middle - 5.5, none, middle + 5.5, 1.0)))
    for value in row.free:
        x = axis.at(value)
        marks.append(Mark("line", "soft", (x, middle - 5, x, middle + 5, 1.4)))
    if there(row.reported):
        marks.append(Mark("diamond", "ink", (axis.at(row.reported), middle, 4.2), hollow=True))
    marks.append(Mark("line", colour, (axis.at(row.low), middle, axis.at(row.high), middle, 2.2)))
    marks.append(Mark("dot", colour, (axis.at(row.mean), middle, 3.4), hollow=row.leaky))


def _cut(text: str, most: int) -> str:
    """A label that fits."""
    return text if len(text) <= most else text[: most - 1].rstrip(" ,(") + "\u2026"
