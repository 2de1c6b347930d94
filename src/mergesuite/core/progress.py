"""How far a run is, on stderr: a bar on a terminal, whole lines in a pipe or a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

from mergesuite.core import ranks

_quiet = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is shown that begins now: somebody else tells how far things are."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def log(message: str) -> None:
    """One line, above any bar."""
    if ranks.first() and not _quiet:
        tqdm.write(message, file=sys.stderr)


def steps(each: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
    """`each`, with a bar where there is a terminal and nothing elsewhere."""
    yield from tqdm(each, desc=label, total=total, leave=False, unit="step", disable=not _bars())


class Clock:
    """What time the rest of some steps takes, by the pace of this process."""

    def __init__(self, done: int, total: int | None) -> None:
        """`done` were done before; a total of None is not known."""
        self._begun, self._total, self._start = done, total, time.monotonic()

    def left(self, done: int) -> str:
        """`, 00:12 left`; nothing at the end, or where it is not known."""
        here, rest = done - self._begun, (self._total or 0) - done
        if here <= 0 or rest <= 0:
            return ""
        seconds = (time.monotonic() - self._start) / here * rest
        return f", {tqdm.format_interval(seconds)} left"


class Count:
    """Counts to a total, and says what is best so far."""

    def __init__(self, label: str, done: int, total: int | None, unit: str) -> None:
        """`done` were counted before this process began; a total of None is not known."""
        self._label, self._total, self._unit, self._done = label, total, unit, done
        self._clock = Clock(done, total)
        self._bar = tqdm(
            desc=label, total=total, initial=done, leave=False, unit=f" {unit}",
            disable=not _bars(),
        )  # fmt: skip

    def add(self, count: int) -> None:
        """Go on by so many."""
        self._done += count
        self._bar.update(count)

    def say(self, what: str) -> None:
        """Show `what` beside the bar, or as a line of the log."""
        if _bars():
            self._bar.set_postfix_str(what)
            return
        total = "" if self._total is None else f" of {self._total:,}"
        left = self._clock.left(self._done)
        log(f"{self._label}: {self._done:,}{total} {self._unit}, {what}{left}")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def _bars() -> bool:
    return sys.stderr.isatty() and ranks.first() and not _quiet
