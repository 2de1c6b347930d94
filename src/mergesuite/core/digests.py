"""Digests of the code that a stage executes: what decides whether a result is still up to date.

The digest of a stage covers its entry point and every module of this package that it imports,
directly or not, with the network's file, the method's file and the reader of the data, which are
imported by name (`experiment.declared.modules`). It covers the versions of the libraries that
compute. It does not cover what no number depends on: comments, docstrings, layout, citations, help,
the words of errors and logs, and the modules in `APART`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

APART = {
    "": "names the package and its version",
    "__main__": "calls the command line",
    "cli": "turns words into the call of a stage; what it hands over is in the spec of the result",
    "core.digests": "this file: a change here would call every result stale and mend none",
    "core.scratch": "temporary folders",
    "core.progress": "says how far a run is",
    "core.provenance": "writes down where a number comes from",
    "errors": "words for what went wrong",
}
"""Modules that are loaded in a stage and change no number, with all that they hold, and why."""

LIBRARIES = {
    "torch": "torch", "torchvision": "torchvision", "timm": "timm",
    "spikingjelly": "spikingjelly", "numpy": "numpy", "scipy": "scipy", "cma": "cma",
    "PIL": "pillow", "sklearn": "scikit-learn", "pandas": "pandas", "matplotlib": "matplotlib",
}  # fmt: skip
"""Import name -> distribution of the libraries whose version counts where they are imported."""

WORDS = {
    "Field": {"description"},
    "method": {"cite", "control"},
    "family": {"cite", "names"},
    "dataset": {"cite", "origin"},
    "test_set": {"cite", "origin"},
}
"""Function -> its arguments that are shown and never computed with."""


@dataclass(frozen=True)
class Module:
    """What counts of one file.

    Attributes:
        imports: modules of ours that it imports, in functions too.
        libraries: libraries that compute, of those that it imports.
        syntax: its syntax tree without what only people read.
    """

    imports: tuple[str, ...]
    libraries: frozenset[str]
    syntax: str


def code(*modules: str) -> str:
    """Twelve hex digits for the code of `modules` and of everything that they import.

    `modules` are names inside the package such as "stages.train" or "methods.mega".
    """
    return _code(frozenset(modules))


@functools.cache
def _code(modules: frozenset[str]) -> str:
    digest = hashlib.sha256()
    libraries: set[str] = set()
    for name in sorted(closure(*modules)):
        module = _read(name)
        digest.update(f"{name}\0{module.syntax}\0".encode())
        libraries |= module.libraries
    for library in sorted(libraries):
        digest.update(f"{library}=={_version(library)}\0".encode())
    return digest.hexdigest()[:12]


def prepare() -> None:
    """Read every module of the package now, for processes that are forked from this one."""
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        _read(".".join(part for part in parts if part != "__init__"))


def contents(path: str) -> str:
    """Twelve hex digits over a folder of the package with what is no module, such as templates."""
    files = sorted(file for file in (PACKAGE / path).iterdir() if file.is_file())
    whole = b"".join(file.name.encode() + b"\0" + file.read_bytes() + b"\0" for file in files)
    return hashlib.sha256(whole).hexdigest()[:12]


def closure(*modules: str) -> frozenset[str]:
    """`modules` and everything of ours that they import, packages included, but for `APART`."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or is_apart(name) or not _file(name).is_file():
            continue
        found.add(name)
        waiting += _read(name).imports
        waiting.append(name.rpartition(".")[0])  # importing a module runs its package
    return frozenset(found)


def is_apart(module: str) -> bool:
    """Whether no number depends on a module."""
    return any(module == name or module.startswith(f"{name}.") for name in APART)


def libraries(*modules: str) -> frozenset[str]:
    """The libraries whose version counts for `modules`."""
    return frozenset().union(*(_read(name).libraries for name in closure(*modules)))


@functools.cache
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(LIBRARIES[library])
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _read(name: str) -> Module:
    """A module, parsed once in the life of a process."""
    tree = ast.parse(_file(name).read_text(encoding="utf-8"))
    imported = [one for node in _executed(tree) for one in _imported(node)]
    ours = [rest for first, _, rest in (one.partition(".") for one in imported) if rest
            and first == PACKAGE.name]  # fmt: skip
    libraries = {one.partition(".")[0] for one in imported} & LIBRARIES.keys()
    return Module(tuple(ours), frozenset(libraries), ast.dump(_WithoutWords().visit(tree)))


def _imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports; of `from a import b` both a and a.b, if it is one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"line {node.lineno}: relative imports are not followed")
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _executed(tree: ast.AST) -> list[ast.AST]:
    """The statements of a tree but for what stands under `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        found.append(node)
        waiting += [one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.expr)]
    return found


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, lines of the log, the words of errors and help, and trials of tests."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a docstring (of a constant too) and a line of the log."""
        value = node.value
        is_words = isinstance(value, ast.Constant) and isinstance(value.value, str)
        if is_words or (isinstance(value, ast.Call) and _name(value.func) == "log"):
            return None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Drop `trials`, which the tests of methods run."""
        node.body = [line for line in node.body if not _assigns(line, "trials")]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep which error is raised, not what it says."""
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Keep what is asserted, not what it says."""
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Drop the arguments that are shown and never computed with."""
        shown = WORDS.get(_name(node.func), set())
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in shown]
        return self.generic_visit(node)


def _name(function: ast.expr) -> str:
    """`f` of `f` and of `a.f`."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _assigns(line: ast.stmt, name: str) -> bool:
    return isinstance(line, ast.Assign) and [getattr(t, "id", "") for t in line.targets] == [name]
