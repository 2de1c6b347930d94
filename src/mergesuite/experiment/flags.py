"""Settings as options of a command line, and back: both made from the fields of `settings`.

A field is an option of its own name, or of the `flag` that it declares. Mappings and nested
settings are written as KEY=VALUE words, whose values are YAML.
"""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from mergesuite.errors import UserError
from mergesuite.experiment import yaml_file
from mergesuite.experiment.strict import Strict, checked

Settings = TypeVar("Settings", bound=Strict)


def _flags(model: type[Strict]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Name, field and flag of every setting."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        flag = extra.get("flag") if isinstance(extra, Mapping) else None
        yield name, field, str(flag or "--" + name.replace("_", "-"))


def _is_mapping(field: FieldInfo) -> bool:
    kind = field.annotation
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Strict))


def add(parser: argparse.ArgumentParser, model: type[Strict]) -> None:
    """An option for each setting of `model`."""
    for _, field, flag in _flags(model):
        text = (field.description or "").replace("%", "%%")
        if _is_mapping(field):
            parser.add_argument(flag, nargs="+", default=[], metavar="K=V", help=text)
        elif field.annotation is bool:
            parser.add_argument(flag, action="store_true", help=text)
        elif get_origin(field.annotation) is Literal:
            choices = get_args(field.annotation)
            parser.add_argument(
                flag,
                default=field.default,
                choices=choices,
                help=f"{text} (default: {field.default})",
            )
        else:
            parser.add_argument(flag, required=field.is_required(), help=text)


def described(model: type[Strict]) -> str:
    """Every key that `KEY=VALUE` words may set, with its default, its values and what it is."""
    lines = []
    for name, field in model.model_fields.items():
        default = _plain(field.default if not field.is_required() else None)
        text = f"{_values(field.annotation)}; {field.description or ''}".rstrip("; ")
        lines.append(f"  {name}={default}")
        lines.append(textwrap.indent(textwrap.fill(text, 73, break_on_hyphens=False), " " * 6))
    return "\n".join(lines)


def _values(kind: Any) -> str:
    """What may be given for a setting of this type."""
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return "[..., ...]"
    return {bool: "true | false", int: "a whole number", float: "a number"}.get(kind, "text")


def read(model: type[Settings], options: argparse.Namespace) -> Settings:
    """The settings that parsed `options` say.

    Raises:
        UserError: an unknown key or a bad value.
    """
    given: dict[str, Any] = {}
    for name, field, flag in _flags(model):
        value = getattr(options, flag.removeprefix("--").replace("-", "_"))
        if not _is_mapping(field):
            given[name] = value
            continue
        given[name] = pairs(value, flag)
        if isinstance(field.annotation, type):  # settings of their own: named by their flag
            given[name] = checked(field.annotation, given[name], flag)
    return checked(model, given, next(_flags(model))[2])


def words(settings: Strict) -> list[str]:
    """The arguments that say `settings`; defaults are left out."""
    found: list[str] = []
    said = settings.model_dump(exclude_defaults=True)
    for name, field, flag in _flags(type(settings)):
        if name not in said:
            continue
        value = said[name]
        if _is_mapping(field):
            found += mapping(flag, value)
        elif value is True:
            found.append(flag)
        else:
            found += [flag, str(value)]
    return found


def mapping(flag: str, values: Mapping[str, Any]) -> list[str]:
    """`flag key=value ...`, or nothing where there are no values."""
    return [flag, *(f"{k}={_plain(v)}" for k, v in sorted(values.items()))] if values else []


def _plain(value: Any) -> str:
    plain = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return plain.removesuffix("\n...\n").strip()


def pairs(words: list[str], flag: str) -> dict[str, Any]:
    """`key=value` words as a mapping; values are read as YAML.

    Raises:
        UserError: a word without "=", a key given twice, or a value beyond the limits of
            `yaml_file`.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"{flag}: expected key=value, found {word!r}")
        if key in found:
            raise UserError(f"{flag}: {key} is given twice")
        try:
            found[key] = yaml_file.parsed(value, f"{flag} {key}")
        except (yaml.YAMLError, ValueError):  # ValueError: a date that is none
            found[key] = value
    # YAML 1.1 reads 1e-9 as a string; a number is meant.
    return {k: _number(v) if isinstance(v, str) else v for k, v in found.items()}


def _number(text: str) -> str | float:
    return float(text) if re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", text) else text
