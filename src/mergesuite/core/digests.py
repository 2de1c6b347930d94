"""Digests of the code that a stage executes: what decides whether a result is still up to date.

The digest of a stage covers its entry point and every module of this package that it imports,
directly or not, with the network's file, the method's file and the reader of the data, which are
imported by name. It covers the versions of the libraries that compute. It does not cover what no
number depends on: comments, docstrings, layout, citations, help, the words of errors and logs, and
the modules in `APART`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

APART = {
    "": "names the package and its version",
    "errors": "words for what went wrong",
    "core.digests": "this file: a change here would call every result stale and mend none",
    "core.provenance": "writes down where a number comes from",
    "core.progress": "what is seen while a stage runs",
}
"""Modules that are imported by stages and change no number, each with the reason."""

LIBRARIES = {
    "torch": "torch", "torchvision": "torchvision", "timm": "timm",
    "spikingjelly": "spikingjelly", "numpy": "numpy", "scipy": "scipy", "cma": "cma",
    "PIL": "pillow", "sklearn": "scikit-learn", "pandas": "pandas", "matplotlib": "matplotlib",
}  # fmt: skip
"""Import name -> distribution of the libraries whose version counts where they are imported."""

WORDS = {"description", "help", "cite", "summary", "doc"}
"""Keyword arguments that are read by people only."""


@functools.cache
def code(*modules: str) -> str:
    """Twelve hex digits for the code of `modules` and of everything that they import.

    `modules` are names inside the package such as "stages.train" or "methods.mega".
    """
    digest = hashlib.sha256()
    libraries: set[str] = set()
    for name in sorted(closure(*modules)):
        digest.update(f"{name}\0{_syntax(_file(name))}\0".encode())
        libraries |= _imports(_file(name))[1]
    for library in sorted(libraries):
        digest.update(f"{library}=={_version(library)}\0".encode())
    return digest.hexdigest()[:12]


@functools.cache
def closure(*modules: str) -> frozenset[str]:
    """`modules` and everything of ours that they import, packages included, but for `APART`."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in APART or not _file(name).is_file():
            continue
        found.add(name)
        waiting += _imports(_file(name))[0]
        if "." in name:
            waiting.append(name.rpartition(".")[0])  # importing a module runs its package
    return frozenset(found)


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
def _imports(file: Path) -> tuple[list[str], set[str]]:
    """Modules of ours, and libraries that compute, that a file imports when it runs."""
    ours: list[str] = []
    libraries: set[str] = set()
    for node in _executed(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            first, _, base = (node.module or "").partition(".")
            if first == "mergesuite":
                ours += [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
            libraries.add(first)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, _, base = alias.name.partition(".")
                libraries.add(first)
                ours += [base] if first == "mergesuite" else []
    return [name for name in ours if name], libraries & LIBRARIES.keys()


def _executed(tree: ast.AST) -> list[ast.AST]:
    """The nodes of a tree but for what stands under `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


@functools.cache
def _syntax(file: Path) -> str:
    """The syntax tree of a file without what only people read."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return ast.dump(_WithoutWords().visit(tree))


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, the words of errors and logs, and help."""

    def _without_docstrings(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = [statement for statement in node.body if not _is_words(statement)]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = _without_docstrings

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep which error is raised, not what it says."""
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Drop the keywords that are help."""
        self.generic_visit(node)
        node.keywords = [k for k in node.keywords if k.arg not in WORDS]
        return node


def _is_words(statement: ast.stmt) -> bool:
    """A docstring (of a constant too), or a line of the log."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    is_log = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "log"
    return is_log or (isinstance(value, ast.Constant) and isinstance(value.value, str))
