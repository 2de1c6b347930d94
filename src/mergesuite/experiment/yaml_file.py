"""Reading YAML as strictly as it is checked: no key twice, no tags, and limits on everything.

What is read is looked through as a stream of events first, which takes no more memory than the file
and no recursion: what builds values from it calls itself for each level, in C without a limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mergesuite.errors import UserError, refused

MOST = 100_000
"""Values that a file may unfold to; the longest paper.yaml of this suite has about a thousand."""
MOST_BYTES = 1 << 20
DEEPEST = 50
"""Levels of one value in another, through aliases too."""
LONGEST = 20_000
"""Characters of one text. A number of more digits takes minutes to become one."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What neither a terminal nor HTML, LaTeX or SVG can show: control characters, halves of pairs."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language, eight times as fast where PyYAML was built with libyaml, as its wheels are."""


def read(file: Path) -> Any:
    """What a YAML file holds.

    Raises:
        UserError: it cannot be read, is not YAML, gives a key twice, is beyond one of the limits
            above, or has tags or characters that cannot be shown.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{file} is larger than {MOST_BYTES >> 20} MiB, which no spec needs")
        text = content.decode("utf-8")
    except OSError as error:
        raise refused(
            f"cannot read {file}: {error.strerror}; `mergesuite new-paper` makes one", error
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not YAML in UTF-8: {error}") from None
    try:
        return parsed(text, str(file))
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from None


def parsed(text: str, where: str) -> Any:
    """What YAML text says; `where` begins each error.

    Raises:
        yaml.YAMLError, ValueError: it is not YAML; a ValueError is a date that is none.
        UserError: it is beyond a limit, or has what is not read, as `read`.
    """
    seen = _Seen(where)
    for event in yaml.parse(text, LOADER):
        seen.take(event)
    return yaml.load(text, LOADER)


@dataclass
class _Node:
    """A value of which not all is read yet, or that has an anchor."""

    size: int = 1
    depth: int = 0
    keys: set[str | int] | None = None
    """Of a mapping those read so far."""
    is_key: bool = True
    """Of a mapping, whether a key comes next."""
    name: str = ""
    """Of a text itself, as it may be a key."""
    anchor: str | None = None


@dataclass
class _Seen:
    """What is known of a document at some point of it."""

    where: str
    open: list[_Node] = field(default_factory=list)
    anchors: dict[str, _Node] = field(default_factory=dict)

    def take(self, event: Any) -> None:
        """Count what an event says."""
        at = f"{self.where} line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            self._close(self._aliased(event.anchor, at), at)
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, at)
            node = _Node(name=event.value, anchor=event.anchor)
            self._close(node, at)
        elif isinstance(event, yaml.CollectionStartEvent):
            _check_tag(event, at)
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            self.open.append(_Node(anchor=event.anchor, keys=set() if is_mapping else None))
            if event.anchor:
                self.anchors[event.anchor] = self.open[-1]
            self._check_depth(0, at)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self.open.pop(), at)

    def _aliased(self, name: str, at: str) -> _Node:
        node = self.anchors.get(name)
        if node is None:
            raise UserError(f"{at}: nothing has the anchor {name!r}")
        if node in self.open:
            raise UserError(f"{at}: an alias stands inside what it stands for")
        return _Node(size=node.size, depth=node.depth, name=node.name)

    def _close(self, node: _Node, at: str) -> None:
        """A value is whole: it belongs to the one around it."""
        if node.anchor:
            self.anchors[node.anchor] = node
        self._check_depth(node.depth, at)
        if not self.open:
            return
        around = self.open[-1]
        around.size += node.size
        around.depth = max(around.depth, node.depth + 1)
        if around.size > MOST:
            raise UserError(f"{self.where}: its aliases unfold to more than {MOST:,} values")
        if around.keys is not None:
            if around.is_key:
                key = node.name if node.size == 1 and not node.depth else id(node)
                if key in around.keys:
                    raise UserError(f"{at}: {key} is given twice; the first would be lost")
                around.keys.add(key)
            around.is_key = not around.is_key

    def _check_depth(self, more: int, at: str) -> None:
        if len(self.open) + more > DEEPEST:
            raise UserError(f"{at}: more than {DEEPEST} levels of one value in another")


def _check_scalar(event: Any, at: str) -> None:
    _check_tag(event, at)
    if len(event.value) > LONGEST:
        raise UserError(f"{at}: a text of {len(event.value):,} characters; {LONGEST:,} at most")
    if odd := UNPRINTABLE.search(event.value):
        raise UserError(f"{at}: a character that cannot be shown ({odd[0]!r}): remove it")


def _check_tag(event: Any, at: str) -> None:
    if event.tag is not None:
        raise UserError(f"{at}: a tag ({event.tag[:60]}): write the value without one")
