"""Numbers as a reader sees them: in tables, figures and the report alike."""

from __future__ import annotations

import math
import re
import statistics
from typing import Any

from mergesuite.stages.columns import CLOCK, COSTS

BEGIN, END = "<!-- verdicts:begin -->", "<!-- verdicts:end -->"
"""Between them stand the verdicts in a paper's README."""
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
        digits = 1 if metric in CLOCK and abs(value) < 100 else 0
        text = f"{value:{plus},.{digits}f}"
    else:
        text = f"{value:{plus}.3f}"
    return text.replace("-", MINUS)


def spread(values: list[float], metric: str = "accuracy") -> str:
    """Mean ± sd; the mean alone where there is one value."""
    if not values:
        return NOTHING
    mean = statistics.fmean(values)
    if len(values) == 1:
        return number(mean, metric)
    return f"{number(mean, metric)} ± {number(statistics.stdev(values), metric)}"


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


def effect(ratio: bool, metric: str, mean: Any, low: Any = None, high: Any = None) -> str:
    """What was compared, as a factor or as a difference, with its interval if there is one."""
    return factor(mean, low, high) if ratio else interval(mean, low, high, metric)


def unit(ratio: bool, metric: str) -> str:
    """What a difference in a metric is counted in; a factor has no unit."""
    if ratio:
        return ""
    return {"accuracy": "points", "cross_entropy": "nats"}.get(metric, metric.replace("_", " "))


def size(ratio: bool, metric: str, value: Any) -> str:
    """How large an effect is, in either direction: a number, or a factor."""
    return factor(value, None, None) if ratio else number(value, metric)


def percent(level: Any) -> str:
    """The coverage of an interval: `98.3 %`."""
    return f"{100 * level:.3g} %" if there(level) else NOTHING


def counted(n: int, what: str = "pair") -> str:
    """A number of things: `1 pair`, `5 pairs`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def needed(value: Any, n: int) -> str:
    """Pairs that would tell; with two or more measured, no number means that none would."""
    if there(value):
        return f"{int(value):,}"
    return "no number" if n > 1 else NOTHING


def rounded(value: Any) -> str:
    """A number to two digits, written out: `0.054`, `4.4`, `210,000`."""
    return f"{float(f'{value:.2g}'):,.10g}" if there(value) else NOTHING


def tight(text: str) -> str:
    """A sentence whose intervals no line break comes into."""
    return re.sub(r"\[[^\[\]]*\]", lambda found: found[0].replace(" ", "\u00a0"), text)
