"""BibTeX of what a page rests on: the papers, and the methods that were run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mergesuite.experiment import declared, spec
from mergesuite.report.markup import escape

CITED = re.compile(r"(?:(?P<authors>[^:]+): )?(?P<title>.+?), (?P<where>.+?) \((?P<year>\d{4})\)$")
"""How everything is cited here: `authors: title, where (year)`."""


def entries(papers: Iterable[spec.Paper]) -> str:
    """One entry for each work that is cited, papers first; the same work once."""
    found: dict[str, tuple[str, str]] = {}
    for paper in papers:
        found.setdefault(paper.cite.text, (paper.title, paper.cite.arxiv))
    known = declared.methods()
    for paper in papers:
        for entry in paper.methods.values():
            cite = known[entry.use].cite
            if cite != declared.OURS:
                found.setdefault(cite, ("", ""))
    keys: dict[str, int] = {}
    return "\n".join(_entry(text, title, arxiv, keys) for text, (title, arxiv) in found.items())


def _entry(text: str, title: str, arxiv: str, keys: dict[str, int]) -> str:
    """One entry; what is not in the usual order is kept whole, as a note."""
    said = CITED.match(text)
    parts = said.groupdict() if said else {}
    authors, year = parts.get("authors") or "", parts.get("year") or ""
    key = _key(authors or title or text, year, keys)
    fields = {
        "title": f"{{{escape(title or parts.get('title') or text)}}}",
        "author": escape(_authors(authors)),
        "key": "" if authors else key,  # what has no author is sorted by
        "howpublished": escape(parts.get("where") or ""),
        "year": year,
        "eprint": escape(arxiv),
        "archiveprefix": "arXiv" if arxiv else "",
        "note": "" if said else escape(text),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value.strip("{}")]
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def _authors(text: str) -> str:
    """`Qin, Huang & Suganthan` and `Du et al.` as BibTeX separates authors."""
    text = re.sub(r",? et al\.?$", " and others", text.strip())
    return re.sub(r"\s*(?:, | & )\s*", " and ", text)


def _key(text: str, year: str, keys: dict[str, int]) -> str:
    """A key of the first word and the year, with a letter where that is taken."""
    word = re.search(r"[A-Za-z]{2,}", text)
    key = f"{word[0].lower() if word else 'work'}{year}"
    keys[key] = keys.get(key, 0) + 1
    return (
        key
        if keys[key] == 1
        else f"{key}{chr(95 + keys[key])}"
        if keys[key] < 28
        else f"{key}x{keys[key]}"
    )
