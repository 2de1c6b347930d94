"""A sheet of simple marks that is written as SVG, in a page or on its own, or as PDF.

Marks have roles in place of colours, so that one drawing is readable on light and on dark; the SVG
takes them from the style of the page, or brings its own along. The bytes depend on the marks alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from html import escape

from mergesuite.judge.verdict import COLOURS

LIGHT = {
    "ink": "#1b1b1b",
    "soft": "#565656",
    "faint": "#d9d9d9",
    "band": "#e6e8ec",
    "ground": "#ffffff",
}
DARK = {
    "ink": "#e8e8e8",
    "soft": "#b0b0b0",
    "faint": "#3a3e44",
    "band": "#2c3036",
    "ground": "#16181b",
}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


MARGIN = 10
"""Of a file that stands alone."""


def role(verdict: str) -> str:
    """The role of what is drawn in the colour of a verdict."""
    return "v-" + verdict.replace(" ", "-")


def _lighter(colour: str, share: float = 0.45) -> str:
    """A colour with a share of white in it: what is dark on white is not seen on black."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in parts)


def colours(dark: bool = False) -> dict[str, str]:
    """Role -> colour."""
    verdicts = {role(word): _lighter(c) if dark else c for word, c in COLOURS.items()}
    return {**(DARK if dark else LIGHT), **verdicts}


def style() -> str:
    """CSS rules for the roles, those of dark pages too; `--ground` fills rings."""

    def rules(dark: bool) -> str:
        shown = colours(dark)
        ground = f":root{{--ground:{shown['ground']}}}"
        return ground + "".join(f".{name}{{color:{c}}}" for name, c in shown.items())

    return f"{rules(False)}@media (prefers-color-scheme:dark){{{rules(True)}}}"


@dataclass(frozen=True)
class Mark:
    """One mark; lengths in pixels, y downwards.

    Attributes:
        kind: `rect` (x, y, width, height), `area` (the same, not seen: where a pointer meets the
            group), `line` (x, y, x2, y2, width), `dot` or `diamond` (x, y,
            radius), `text` (x, baseline, size).
        hollow: a ring in place of a dot.
        anchor: of a text: start, middle or end.
    """

    kind: str
    role: str
    at: tuple[float, ...]
    text: str = ""
    hollow: bool = False
    anchor: str = "start"
    bold: bool = False


@dataclass
class Sheet:
    """Marks in the order in which they are drawn.

    Attributes:
        groups: marks that belong together, each group with what it says on hover, and the id of
            the place that it stands for; both may be empty.
    """

    width: float
    height: float = 0.0
    groups: list[tuple[str, str, list[Mark]]] = field(default_factory=list)

    def group(self, title: str = "", target: str = "") -> list[Mark]:
        """A new group to draw into."""
        marks: list[Mark] = []
        self.groups.append((title, target, marks))
        return marks


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return (text[:-2] if text.endswith(".0") else text).replace("-0", "0", text == "-0.0")


def _svg_mark(mark: Mark) -> str:
    a = [_n(value) for value in mark.at]
    fill = f'class="{mark.role}" fill="currentColor"'
    ring = f'class="{mark.role}" fill="var(--ground)" stroke="currentColor" stroke-width="1.5"'
    match mark.kind:
        case "rect":
            return f'<rect {fill} x="{a[0]}" y="{a[1]}" width="{a[2]}" height="{a[3]}"/>'
        case "area":
            return f'<rect x="{a[0]}" y="{a[1]}" width="{a[2]}" height="{a[3]}" class="area"/>'
        case "line":
            path = f'd="M{a[0]} {a[1]}L{a[2]} {a[3]}"'
            return f'<path class="{mark.role}" {path} stroke="currentColor" stroke-width="{a[4]}"/>'
        case "dot":
            return f'<circle {ring if mark.hollow else fill} cx="{a[0]}" cy="{a[1]}" r="{a[2]}"/>'
        case "diamond":
            x, y, r = mark.at
            d = f"M{_n(x - r)} {a[1]}L{a[0]} {_n(y - r)}L{_n(x + r)} {a[1]}L{a[0]} {_n(y + r)}Z"
            return f'<path {ring if mark.hollow else fill} d="{d}"/>'
        case _:
            more = f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else ""
            more += ' font-weight="600"' if mark.bold else ""
            place = f'x="{a[0]}" y="{a[1]}" font-size="{a[2]}"'
            return f"<text {fill} {place}{more}>{escape(mark.text)}</text>"


def to_svg(sheet: Sheet, label: str, alone: bool = False, css: str = "") -> str:
    """The sheet as an SVG element, or as a file that stands alone.

    Args:
        sheet: what is drawn.
        label: what a screen reader says of it.
        alone: it brings its style along, light and dark, and declares its namespace.
        css: the class of the element in a page.
    """
    width, height = _n(sheet.width), _n(sheet.height)
    said = f'role="img" aria-label="{escape(label)}" fill="none"'
    head, body = f'viewBox="0 0 {width} {height}" {said}', []
    if alone:
        width, height = _n(sheet.width + 2 * MARGIN), _n(sheet.height + 2 * MARGIN)
        size = f'width="{width}" height="{height}"'
        box = f'viewBox="{-MARGIN} {-MARGIN} {width} {height}"'
        head = f'xmlns="http://www.w3.org/2000/svg" {size} {box} {said}'
        place = f'x="{-MARGIN}" y="{-MARGIN}" {size}'
        body.append(f"<style>{style()}text{{font-family:{escape(FONT)}}}</style>")
        body.append(f'<rect class="ground" fill="currentColor" {place}/>')
    head += f' class="{css}"' if css else ""
    for title, target, marks in sheet.groups:
        data = f' data-target="{escape(target)}"' if target and not alone else ""
        said = f"<title>{escape(title)}</title>" if title else ""
        drawn = (mark for mark in marks if not (alone and mark.kind == "area"))
        body.append(f"<g{data}>{said}{''.join(map(_svg_mark, drawn))}</g>")
    return f"<svg {head}>\n" + "\n".join(body) + "\n</svg>" + ("\n" if alone else "")


def to_pdf(sheet: Sheet) -> bytes:
    """The sheet as a PDF of one page, in the colours for white paper."""
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Polygon, Rectangle

    shown, out = colours(), io.BytesIO()
    # One pixel of CSS is 0.75 points, 96 of them an inch.
    wide, high = sheet.width + MARGIN, sheet.height + MARGIN
    figure = Figure(figsize=((wide + MARGIN) / 96, (high + MARGIN) / 96))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(-MARGIN, wide), ylim=(high, -MARGIN))
    axis.axis("off")
    drawn = (mark for _, _, marks in sheet.groups for mark in marks if mark.kind != "area")
    for order, mark in enumerate(drawn, start=1):
        colour, a = shown[mark.role], mark.at
        face = shown["ground"] if mark.hollow else colour
        edge = {"fc": face, "ec": colour, "lw": 1.1 if mark.hollow else 0, "zorder": order}
        if mark.kind == "rect":
            axis.add_patch(Rectangle((a[0], a[1]), a[2], a[3], **edge))
        elif mark.kind == "line":
            axis.plot(
                a[0:3:2], a[1:4:2], color=colour, lw=0.75 * a[4], zorder=order,
                solid_capstyle="butt",
            )  # fmt: skip
        elif mark.kind == "dot":
            axis.add_patch(Circle((a[0], a[1]), a[2], **edge))
        elif mark.kind == "diamond":
            x, y, r = a
            axis.add_patch(Polygon([(x - r, y), (x, y - r), (x + r, y), (x, y + r)], **edge))
        else:
            axis.text(
                a[0], a[1], mark.text, color=colour, fontsize=0.72 * a[2], zorder=order,
                ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
                weight="bold" if mark.bold else "normal", parse_math=False,
            )  # fmt: skip
    with mpl.rc_context({"pdf.fonttype": 42, "font.family": ["DejaVu Sans", "sans-serif"]}):
        FigureCanvasPdf(figure).print_pdf(out, metadata={"CreationDate": None})
    return out.getvalue()
