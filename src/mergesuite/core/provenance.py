"""Where a number comes from: commit, packages, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
IMAGE = "MERGESUITE_IMAGE"
"""Environment variable with the digest of the container image that this is: none knows its own."""
PACKAGES = ("mergesuite", "torch", "torchvision", "timm", "spikingjelly", "numpy", "scipy")


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit of the package's repository, and whether files differ from it.

    A file that git does not know yet counts as a difference: a method may lie in it. Ignored files
    do not. An installed package belongs to no repository, even where its `.venv` lies inside one,
    for that one ignores it; then the repository of the current folder counts, whose specs and
    scripts say what was run. Outside a repository: ("unknown", False).
    """
    if _git("ls-files", "--error-unmatch", PACKAGE / "__init__.py", folder=PACKAGE) is not None:
        return _state(PACKAGE)
    return _state(Path.cwd())


def _state(folder: Path) -> tuple[str, bool]:
    head = _git("rev-parse", "HEAD", folder=folder)
    if head is None:
        return "unknown", False
    changes = _git("status", "--porcelain", "--untracked-files=normal", folder=folder)
    return head[:12], changes != ""


def _git(*arguments: str | Path, folder: Path) -> str | None:
    """What git answers in a folder; None where there is no git, or it says no."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@functools.cache
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
        "container": os.environ.get(IMAGE) or None,
        "device": device,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
        "versions": versions(),
    }
