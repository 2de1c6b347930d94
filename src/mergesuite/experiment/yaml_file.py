"""Reading YAML as strictly as it is checked: no key twice, nothing that unfolds without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mergesuite.errors import UserError, refused

MOST = 100_000
"""Values that a file may unfold to; the longest paper.yaml of this suite has about a thousand."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language, eight times as fast where PyYAML was built with libyaml, as its wheels are."""


def read(file: Path) -> Any:
    """What a YAML file holds.

    Raises:
        UserError: it cannot be read, is not YAML, gives a key twice, or unfolds to too much.
    """
    try:
        loader = LOADER(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise refused(
            f"cannot read {file}: {error.strerror}; `mergesuite new-paper` makes one", error
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} is not YAML in UTF-8: {' '.join(str(error).split())}") from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}, str(file)) > MOST:
            raise UserError(f"{file}: its aliases unfold to more than {MOST:,} values; use fewer")
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], file: str) -> int:
    """How many values a node unfolds to. A node that is aliased is counted once and added often."""
    if id(node) in known:
        if not known[id(node)]:
            raise UserError(f"{file}{_line(node)}: an alias stands inside what it stands for")
        return known[id(node)]
    known[id(node)] = 0  # while its own parts are counted
    if isinstance(node, yaml.MappingNode):
        _refuse_twins(node, file)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
    known[id(node)] = 1 + sum(_size(part, known, file) for part in parts)
    return known[id(node)]


def _refuse_twins(node: yaml.MappingNode, file: str) -> None:
    keys = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
        if name in keys:
            raise UserError(f"{file}{_line(key)}: {name} is given twice; the first would be lost")
        keys.add(name)


def _line(node: yaml.Node) -> str:
    return f" line {node.start_mark.line + 1}"
