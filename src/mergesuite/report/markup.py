"""A table, and how it is written for readers: Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mergesuite.report.wording import LEAK, MINUS, NOTHING, TIMES


@dataclass(frozen=True)
class Table:
    """One table: `numbers` for machines, `shown` for readers (strings only)."""

    name: str
    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    nothing: str = "no subject of this kind was measured"
    """Why there are no rows."""


def markdown(table: Table) -> str:
    """The table with caption and notes; columns of numbers are flush right."""
    if table.shown.empty:
        return f"{table.caption}\n\nNothing to show: {table.nothing}.\n"
    from tabulate import tabulate

    escaped = table.shown.map(plain)
    body = tabulate(
        escaped.to_numpy().tolist(),
        headers=[plain(column) for column in escaped.columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if c in TEXT else "right" for c in escaped.columns],
    )
    return "\n\n".join([table.caption, body, *table.notes]) + "\n"


_MARKDOWN = {
    "\\": r"\\", "|": r"\|", "&": "&amp;", "<": "&lt;", "`": r"\`", "[": r"\[",
}  # fmt: skip
"""What ends a cell, begins HTML or code, or a link; what only stresses words does no harm."""


def plain(text: object) -> str:
    """Text for a cell of a Markdown table, which is one line."""
    said = " ".join(str(text).split())
    # Intervals are read as they stand: without a `(` or `:` behind it no bracket is a link.
    marks = _MARKDOWN if re.search(r"\]\s*[(:\[]", said) else {**_MARKDOWN, "[": "["}
    return "".join(marks.get(character, character) for character in said)


TEXT = {
    "subject", "claim", "family", "verdict", "metric", "protocol", "BatchNorm", "held-out twin",
    "picked under BatchNorm", "control", "best",
}  # fmt: skip
"""Columns that are words: flush left."""

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    MINUS: "$-$", "±": r"$\pm$", TIMES: r"$\times$", LEAK: r"$\dagger$", NOTHING: "--", "<": "$<$",
    ">": "$>$",
}  # fmt: skip


def escape(text: object) -> str:
    """Text for LaTeX, character by character, so that nothing is escaped twice.

    An empty line would end the paragraph, and with it the argument it stands in.
    """
    said = " ".join(str(text).split())
    return "".join(LATEX.get(character, character) for character in said)


LETTERS = 74
"""How many of footnote size a line of LaTeX's article holds, with a little room for the gaps."""


def _size(shown: pd.DataFrame) -> str:
    """The size of type in which a table fits a page's width, as far as there is one."""
    wide = sum(max(len(str(cell)) for cell in (name, *shown[name])) for name in shown)
    return r"\footnotesize" if wide <= LETTERS else r"\scriptsize"


def latex(table: Table, label: str) -> str:
    r"""A `table` environment that needs the package `booktabs`; \label is `tab:LABEL`.

    Cells are in braces: a `[` after a line break would be read as its argument.
    """
    columns = list(table.shown.columns)
    if not columns:
        return f"% {table.caption} Nothing to show: {table.nothing}.\n"
    line: Callable[[list[Any]], str] = lambda cells: (  # noqa: E731
        "  " + " & ".join("{" + escape(cell) + "}" for cell in cells) + r" \\"
    )
    align = "".join("l" if column in TEXT else "r" for column in columns)
    rows = [line(list(row)) for row in table.shown.itertuples(index=False)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            rf"\centering{_size(table.shown)}\setlength{{\tabcolsep}}{{2.5pt}}",
            rf"\caption{{{escape(table.caption)}}}\smallskip",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"  \toprule",
            line(columns),
            r"  \midrule",
            *rows,
            r"  \bottomrule",
            r"\end{tabular}",
            r"\par\medskip\scriptsize " + " ".join(escape(note) for note in table.notes),
            r"\end{table}",
            "",
        ]
    )
