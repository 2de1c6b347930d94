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
PACKAGES = ("mergesuite", "torch", "torchvision", "timm", "spikingjelly", "numpy", "scipy")


@functools.cache
def commit() -> tuple[str, bool]:
    """The commit of the package's repository, or of the current folder's, and whether it differs.

    A file that git does not know yet counts as a difference: a method may lie in it. Ignored files
    do not. Outside a repository: ("unknown", False).
    """
    for folder in (PACKAGE, Path.cwd()):
        try:
            head = _git("rev-parse", "HEAD", folder=folder)
            return head[:12], bool(_git("status", "--porcelain", folder=folder))
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
