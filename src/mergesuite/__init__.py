"""mergesuite: a benchmark and replication harness for merging and evolving network weights.

Read `spec` (what an experiment is), then `methods/mega` (what a method looks like), then
`fitness` (how candidates are scored), then `compare` (how a claim gets its verdict).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mergesuite.trying.compare import compare

__all__ = ["compare"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`compare`, imported when it is asked for: it brings torch along."""
    if name != "compare":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("mergesuite.trying.compare").compare
