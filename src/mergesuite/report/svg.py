"""A figure's SVG file as an element of the page: nothing passes but what our figures hold."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from mergesuite.errors import UserError

MOST_BYTES = 1 << 26
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ELEMENTS = {"svg", "g", "path", "defs", "use", "clipPath", "rect", "style", "text", "tspan"}
ATTRIBUTES = {
    "id", "d", "style", "clip-path", "height", "width", "x", "y", "transform", "type", "version",
    "viewBox", "xlink:href",
}  # fmt: skip
STYLED = re.compile(r"[^@\\<]*")
"""What CSS may be: neither rules that fetch, nor characters in disguise."""
OUTSIDE = re.compile(r"url\((?!#)", re.IGNORECASE)


def read(file: Path, prefix: str, title: str) -> str:
    """An SVG file as an inline element whose ids cannot meet those of another one.

    The prolog and the metadata (which names external vocabularies) go, the size follows the page,
    and `title` is what a screen reader says.

    Raises:
        UserError: it cannot be read, or holds anything that figures of ours do not hold.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
        return embed(file.read_text(encoding="utf-8"), prefix, title)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; run `mergesuite figures`") from None
    except (ValueError, ElementTree.ParseError, RecursionError) as error:
        raise UserError(
            f"{file} is no figure of ours ({error}): delete it, run `mergesuite figures` again"
        ) from None


def embed(svg: str, prefix: str, title: str) -> str:
    """The same of its text.

    Raises:
        ValueError, ElementTree.ParseError: it is no SVG, or holds what no figure of ours holds.
    """
    start = svg.find("<svg")
    if start < 0:
        raise ValueError("no element <svg>")
    # Without its prolog a document can declare no entities. Written anew from the tree, it says the
    # same to a parser of HTML: comments and CDATA would not.
    root = ElementTree.fromstring(svg[start:])
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == f"{SVG}metadata"]:
            parent.remove(child)
    for element in root.iter():
        _make_plain(element, prefix)
    width = re.fullmatch(r"(\d+(?:\.\d+)?)pt", root.attrib.pop("width", ""))
    root.attrib.pop("height", None)
    root.attrib |= {"id": prefix, "role": "img", "aria-label": title}
    if width:
        root.set("style", f"max-width:{float(width[1]) * 4 / 3:.0f}px")
    said = ElementTree.Element("title")
    said.text = title
    root.insert(0, said)
    root.tail = None
    return ElementTree.tostring(root, encoding="unicode")


def _make_plain(element: ElementTree.Element, prefix: str) -> None:
    """Check an element and write it without namespaces, its ids with a prefix."""
    name = str(element.tag).removeprefix(SVG)
    if name not in ELEMENTS:
        raise ValueError(f"an element <{name}>")
    element.tag = name
    found = {key.replace(XLINK, "xlink:"): value for key, value in element.attrib.items()}
    element.attrib.clear()
    for key, value in found.items():
        if key not in ATTRIBUTES:
            raise ValueError(f"an attribute {key}")
        if key == "xlink:href" and not value.startswith("#"):
            raise ValueError(f"a link to {value[:40]!r}")
        element.set(key, _prefixed(key, _harmless(value), prefix))
    if name == "style":
        element.text = _harmless(element.text or "").replace("*{", f"#{prefix} *{{")


def _harmless(css: str) -> str:
    if not STYLED.fullmatch(css) or OUTSIDE.search(css):
        raise ValueError(f"a style {css[:40]!r}")
    return css


def _prefixed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "xlink:href":
        return f"#{prefix}-{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}-")
