"""Reading this package's own files without running them.

What is registered is declared where it is written: by a decorator above a class or a function, and
by `Field`s in class bodies. Importing these files costs the seconds that torch takes; their syntax
trees cost milliseconds. `Source` resolves names as Python would: module-level constants, imports
from other files of the package, and inheritance across files.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergesuite.errors import UserError

PACKAGE = Path(__file__).parents[1]
LIGHT = {"builtins", "collections", "collections.abc", "math", "pydantic", "typing"}
"""Modules whose names may stand in a declaration; importing them costs nothing more."""
BUILTINS = {
    kind.__name__: kind
    for kind in (bool, bytes, dict, float, frozenset, int, list, object, range, set, str, tuple)
}


@dataclass(frozen=True)
class Line:
    """What one line of a class body says of a name."""

    source: Source
    annotation: ast.expr | None = None
    value: ast.AST | None = None
    is_field: bool = False


@dataclass(frozen=True)
class Declaration:
    """One decorated class or function."""

    source: Source
    node: ast.ClassDef | ast.FunctionDef
    call: ast.Call

    @property
    def module(self) -> str:
        """The name of its file, without the ending."""
        return self.source.file.stem

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (ast.get_docstring(self.node) or "").partition("\n")[0]

    @property
    def paragraphs(self) -> list[str]:
        """Those of its docstring."""
        return _paragraphs(self.node)

    @property
    def above(self) -> list[str]:
        """Those of its file's docstring."""
        return _paragraphs(self.source.tree)

    @property
    def name(self) -> Any:
        """The first argument of the decorator."""
        if not self.call.args:
            raise self.source.unreadable(self.call, "a first argument is missing")
        return self.source.value(self.call.args[0])

    def argument(self, name: str, default: Any = None) -> Any:
        """A keyword argument of the decorator."""
        for keyword in self.call.keywords:
            if keyword.arg == name:
                return self.source.value(keyword.value)
        return default

    def parameters(self) -> list[str]:
        """The names of a function's parameters."""
        assert isinstance(self.node, ast.FunctionDef)
        arguments = self.node.args
        return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def declarations(folder: str, decorator: str) -> Iterator[Declaration]:
    """What the files of a sub-package declare with a decorator, file after file.

    Raises:
        UserError: a file is not Python, or the decorator stands there without arguments.
    """
    for file in sorted((PACKAGE / folder).glob("[!_]*.py")):
        source = read(file)
        for node in source.tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if _last_name(call) != decorator:
                    continue
                if not isinstance(call, ast.Call):
                    raise source.unreadable(call, f"@{decorator} needs arguments")
                yield Declaration(source, node, call)


def _paragraphs(node: ast.ClassDef | ast.FunctionDef | ast.Module) -> list[str]:
    return (ast.get_docstring(node) or "").split("\n\n")


@functools.cache
def read(file: Path) -> Source:
    """The source in a file, parsed once."""
    return Source(file)


def _last_name(node: ast.expr) -> str:
    """`f` of `f`, `a.f`, `f(...)` and `a.f(...)`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


class Source:
    """One file: its constants, classes and imports."""

    def __init__(self, file: Path) -> None:
        """Parse `file`.

        Raises:
            UserError: it is not Python.
        """
        self.file = file
        try:
            self.tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            reason = getattr(error, "msg", None) or error
            raise UserError(f"{file} line {line}: not Python ({reason}): correct it") from None
        self._constants: dict[str, ast.expr] = {}
        self._classes: dict[str, ast.ClassDef] = {}
        self._imports: dict[str, tuple[str, str]] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef):
                self._classes[node.name] = node
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._imports[alias.asname or alias.name] = (node.module or "", alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._imports[alias.asname or bound] = (bound, "")
            else:
                self._constants |= {
                    name: value for name, _, value in _assigned(node) if isinstance(value, ast.expr)
                }

    def unreadable(self, node: ast.AST, reason: object) -> UserError:
        """The error that names this file and the line of `node`."""
        return UserError(
            f"{self.file} line {getattr(node, 'lineno', 1)}: this is read without running the file "
            f"and cannot be: {reason}; use literals, constants of literals and Field(...)"
        )

    def value(self, node: ast.expr, local: Mapping[str, ast.expr] | None = None) -> Any:
        """What an expression means; `local` are assignments that hide those of the file.

        Raises:
            UserError: it uses something that is known only when the file runs.
        """
        code = compile(ast.Expression(node), str(self.file), "eval")
        try:
            return eval(code, {"__builtins__": {}}, _Scope(self, local or {}))
        except UserError:
            raise
        except Exception as error:
            raise self.unreadable(node, error) from None

    def constant(self, name: str) -> Any:
        """What a name at the level of the file means.

        Raises:
            NameError: it is not known without running files.
        """
        if name in self._constants:
            return self.value(self._constants[name])
        module, original = self._imports.get(name, ("builtins", name))
        if other := _ours(module):
            return other.constant(original)
        if module == "builtins" and name in BUILTINS:
            return BUILTINS[name]
        if module in LIGHT and module != "builtins":
            found = importlib.import_module(module)
            return getattr(found, original) if original else found
        raise NameError(f"{name} is not known")

    def stand_in(self, name: str) -> type | None:
        """A class with the bases and the name of class `name`, so that Python orders them.

        Its attribute `lines` is what its body says of each name. None for a class from elsewhere.

        Raises:
            UserError: a base class cannot be found, or the bases cannot be ordered.
        """
        if name in self._classes:
            return self._stand_in(name)
        module, original = self._imports.get(name, ("", ""))
        if not module and not hasattr(importlib.import_module("builtins"), name):
            raise NameError(f"class {name} is not known")
        other = _ours(module)
        return other.stand_in(original) if other else None

    @functools.cache  # noqa: B019 - a source lives as long as the process
    def _stand_in(self, name: str) -> type:
        node = self._classes[name]
        try:
            bases = [self._base(base) for base in node.bases]
            ordered = tuple(base for base in bases if base is not None)
            return type(name, ordered, {"lines": self._lines(node), "__module__": str(self.file)})
        except (NameError, TypeError) as error:
            raise self.unreadable(node, error) from None

    def _base(self, node: ast.expr) -> type | None:
        """The stand-in of a base class, written `Name`, `module.Name` or with `[...]` behind."""
        if isinstance(node, ast.Subscript):
            node = node.value
        if isinstance(node, ast.Name):
            return self.stand_in(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, original = self._imports.get(node.value.id, ("", ""))
            other = _ours(f"{module}.{original}".strip("."))
            return other.stand_in(node.attr) if other else None
        raise NameError(f"the base class {ast.unparse(node)} is computed")

    def _lines(self, node: ast.ClassDef) -> dict[str, Line]:
        found: dict[str, Line] = {}
        for statement in node.body:
            for name, annotation, value in _assigned(statement):
                before = found.get(name, Line(self))
                value = value or before.value
                annotation = annotation or before.annotation
                is_field = value is not None and self._is_field(value)
                found[name] = Line(self, annotation, value, is_field)
        return found

    def _is_field(self, value: ast.AST) -> bool:
        if isinstance(value, ast.Name):
            value = self._constants.get(value.id, value)
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name | ast.Attribute):
            return False
        if isinstance(value.func, ast.Attribute):
            return value.func.attr == "Field"
        return self._imports.get(value.func.id, ("", ""))[1] == "Field"

    def attribute(self, name: str, key: str) -> Any:
        """What a class or the nearest of its bases gives `key`; None where none does."""
        for cls in self._stand_in(name).__mro__[:-1]:
            line: Line | None = vars(cls)["lines"].get(key)
            if line and isinstance(line.value, ast.expr):
                return line.source.value(line.value)
        return None

    def fields(self, name: str) -> dict[str, Any]:
        """`{name: (type, FieldInfo)}` of the `Field`s of a class and of its bases.

        As in Python the nearest class wins, and a plain value takes the place of a `Field`.
        """
        types: dict[str, Line] = {}
        values: dict[str, tuple[Line, Mapping[str, Line]]] = {}
        for cls in reversed(self._stand_in(name).__mro__[:-1]):
            body: dict[str, Line] = vars(cls)["lines"]
            for key, line in body.items():
                if line.annotation is not None:
                    types[key] = line
                if line.value is not None:
                    values[key] = (line, body)
        return {
            key: (_type(key, line, types.get(key)), _field(line, body))
            for key, (line, body) in values.items()
            if line.is_field
        }


class _Scope(dict[str, Any]):
    """The names that an expression of a file may use."""

    def __init__(self, source: Source, local: Mapping[str, ast.expr]) -> None:
        super().__init__()
        self._source, self._local = source, local

    def __missing__(self, name: str) -> Any:
        if name in self._local:
            others = {key: value for key, value in self._local.items() if key != name}
            return self._source.value(self._local[name], others)
        return self._source.constant(name)


def _type(key: str, line: Line, annotated: Line | None) -> Any:
    if annotated is None or annotated.annotation is None:
        raise line.source.unreadable(line.value or ast.Pass(), f"the Field {key} has no type")
    return annotated.source.value(annotated.annotation)


def _field(line: Line, body: Mapping[str, Line]) -> Any:
    assert isinstance(line.value, ast.expr)
    local = {name: other.value for name, other in body.items() if isinstance(other.value, ast.expr)}
    return line.source.value(line.value, local)


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr | None, ast.AST | None]]:
    """Name, annotation and value of what a statement gives a meaning to."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [(node.target.id, node.annotation, node.value)]
    if isinstance(node, ast.Assign):
        return [(t.id, None, node.value) for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [(node.name, None, node)]
    return []


def _ours(module: str) -> Source | None:
    """The source of a module of this package."""
    first, _, rest = module.partition(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return read(file) if file.is_file() else None
