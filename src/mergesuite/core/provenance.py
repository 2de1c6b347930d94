"""Where a number comes from: commit, code, packages, machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("mergesuite", "torch", "torchvision", "timm", "spikingjelly", "numpy", "scipy")


@functools.cache
def code_digest(*modules: str) -> str:
    """Twelve hex digits for the syntax of `modules` and all of the package that they import.

    Comments, docstrings and layout do not count: only an edit that can change a result does.
    `modules` are names inside the package such as "train" or "methods.mega".
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules)):
        digest.update(name.encode() + _syntax(_file(name)).encode())
    return digest.hexdigest()[:12]


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _closure(modules: tuple[str, ...]) -> set[str]:
    """The modules and everything of ours that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and _file(name).is_file():
            found.add(name)
            waiting += _imports(_file(name))
    return found


@functools.cache
def _imports(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mergesuite"):
            base = (node.module or "").removeprefix("mergesuite").removeprefix(".")
            names.append(base)
            names += [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
    return [name for name in names if name]


@functools.cache
def _syntax(file: Path) -> str:
    """The syntax tree of a file without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit of the current folder's or the package's repository, and whether it is changed.

    Outside a repository: ("unknown", False).
    """
    for folder in (Path.cwd(), PACKAGE):
        try:
            head = _git("rev-parse", "HEAD", folder=folder)
            return head[:12], bool(_git("status", "--porcelain", "-uno", folder=folder))
        except (OSError, subprocess.CalledProcessError):
            continue
    return "unknown", False


def _git(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@functools.cache
def processor() -> str:
    """The processor's own name for itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def stamp(device: str) -> dict[str, Any]:
    """What every run.json says of its origin."""
    head, dirty = commit()
    return {
        "commit": head,
        "dirty": dirty,
        "device": device,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
        "versions": versions(),
    }
