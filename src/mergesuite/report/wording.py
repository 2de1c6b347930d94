"""Numbers as a reader sees them: in tables, figures and the report alike."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mergesuite.stages.columns import COSTS

MINUS, TIMES = "\u2212", "\u00d7"
NOTHING = "\u2013"
LEAK = "\u2020"
"""The mark on everything whose search may have seen test images."""
LEAK_NOTE = f"{LEAK} The search saw test images: its test accuracy is not a held-out estimate."


def there(value: Any) -> bool:
    """Whether there is a finite number."""
    return value is not None and not isinstance(value, str) and math.isfinite(value)


def number(value: Any, metric: str = "accuracy", sign: bool = False) -> str:
    """A measured value for a reader; accuracies in per cent. Nothing measured: a dash."""
    if not there(value):
        return NOTHING
    plus = "+" if sign else ""
    if metric == "accuracy":
        text = f"{100 * value:{plus}.2f}"
    elif metric in COSTS:
        digits = 1 if metric in ("seconds", "peak_mb") and abs(value) < 100 else 0
        text = f"{value:{plus},.{digits}f}"
    else:
        text = f"{value:{plus}.3f}"
    return text.replace("-", MINUS)


def spread(values: list[float], metric: str = "accuracy") -> str:
    """Mean ± sd; the mean alone where there is one value."""
    if not values:
        return NOTHING
    column = pd.Series(values, dtype=float)
    if len(column) == 1:
        return number(float(column.mean()), metric)
    return f"{number(float(column.mean()), metric)} ± {number(float(column.std()), metric)}"


def interval(mean: Any, low: Any, high: Any, metric: str = "accuracy") -> str:
    """A difference with its interval: `+0.42 [+0.10, +0.74]`."""
    if not (there(low) and there(high)):
        return number(mean, metric, sign=True)
    ends = f"[{number(low, metric, sign=True)}, {number(high, metric, sign=True)}]"
    return f"{number(mean, metric, sign=True)} {ends}"


def factor(mean: Any, low: Any, high: Any) -> str:
    """A ratio with its interval: 12 [10, 14] times."""
    if not there(mean):
        return NOTHING
    if not (there(low) and there(high)):
        return f"{mean:.3g} {TIMES}"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}] {TIMES}"


def share(value: Any) -> str:
    """A fraction in whole per cent."""
    return f"{100 * value:.0f} %".replace("-", MINUS) if there(value) else NOTHING
