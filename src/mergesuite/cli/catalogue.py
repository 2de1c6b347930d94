"""`mergesuite list` for a reader: a name and a line on what it is for, in groups.

What is left out (citations, parameters) is in `--json`; `listing` has the rows of both.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from mergesuite.cli import listing
from mergesuite.experiment import declared

Entry = tuple[str, str]
LEAST = 40
"""Columns that a terminal is taken to have."""
NAMES = 22
"""Columns that names may take; longer ones have lines of their own."""


def lines(wanted: Iterable[str], width: int) -> Iterator[str]:
    """The lists that are `wanted`, as lines of at most `width` columns."""
    for what in wanted:
        for title, entries in GROUPS[what]():
            yield title
            yield from _table(entries, max(width, LEAST))
            yield ""
        if what in listing.OTHERS:
            yield from _wrapped(listing.OTHERS[what], max(width, LEAST), "", "")
            yield ""
    yield "--json has citations and parameters"


def _table(entries: list[Entry], width: int) -> Iterator[str]:
    column = max((len(name) for name, _ in entries if len(name) <= NAMES), default=0)
    for name, text in entries:
        if len(name) > NAMES:
            yield from _wrapped(name, width, "  ", "  ")
            yield from _wrapped(text, width, "      ", "      ")
        else:
            yield from _wrapped(text, width, f"  {name:<{column}}  ", " " * (column + 4))


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


Groups = list[tuple[str, list[Entry]]]


def _papers() -> Groups:
    return [("papers", [(row["name"], row["title"]) for row in listing.papers()])]


def _methods() -> Groups:
    return [("methods", _summaries(listing.methods(), control=False)), *_controls()]


def _controls() -> Groups:
    return [("controls: what a method has to beat", _summaries(listing.methods(), control=True))]


def _summaries(rows: listing.Rows, control: bool) -> list[Entry]:
    known = declared.methods()
    return [(r["name"], r["summary"]) for r in rows if known[r["name"]].control == control]


def _models() -> Groups:
    return [("models", [(", ".join(one.names), one.summary) for one in declared.families()])]


def _datasets() -> Groups:
    return [("datasets", [(row["name"], _dataset(row)) for row in listing.datasets()])]


def _dataset(row: dict[str, Any]) -> str:
    counts = " / ".join(f"{count:,}" for count in row["splits"].values())
    splits = "/".join(row["splits"])
    return f"{row['classes']} classes, side {row['size']}, {splits} {counts}; {row['origin']}"


def _test_sets() -> Groups:
    rows = listing.test_sets()
    return [("test-sets", [(row["name"], f"for {row['of']}; {row['origin']}") for row in rows])]


GROUPS = {
    "papers": _papers,
    "methods": _methods,
    "controls": _controls,
    "models": _models,
    "datasets": _datasets,
    "test-sets": _test_sets,
}
