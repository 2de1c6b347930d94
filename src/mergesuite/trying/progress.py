"""How far a comparison is: a bar on a terminal, one line for each method where there is none."""

from __future__ import annotations

from mergesuite.core.progress import Count, log
from mergesuite.core.runtime import Meter

FEW = 0.05
"""Share of the evaluations that says too little of how long the rest takes."""


class Watch:
    """Counts the evaluations of all methods together, and tells if anybody wants to know."""

    def __init__(self, evaluations: int, shown: bool) -> None:
        """`evaluations`: of all that will be run; those of one's own methods are not known."""
        self.total, self._done, self._best = evaluations, 0, 0.0
        self._shown = shown
        self._count: Count | None = None  # from the first evaluation on: what is free tells no pace

    def say(self, line: str) -> None:
        """One line on stderr."""
        if self._shown:
            log(line)

    def meter(self) -> Meter:
        """The meter of a method that begins now."""
        return _Watched(self)

    def told(self, evaluations: int) -> None:
        """So many evaluations more."""
        if not self._shown:
            return
        if self._count is None:
            self._count = Count("try", 0, self.total, "evaluations")
        self._count.add(evaluations)
        self._done += evaluations

    def ended(self, name: str, search: float) -> None:
        """A method has ended, and its result gets this share of the search images right."""
        self._best = max(self._best, search)
        best = f"best so far {100 * self._best:.1f} %"
        line = f"{name} has {100 * search:.1f} % on search ({best})"
        if self._count and self._done >= FEW * self.total:
            self._count.say(line)
        else:
            self.say(f"try: {line}")

    def close(self) -> None:
        """Remove the bar."""
        if self._count:
            self._count.close()


class _Watched(Meter):
    """A meter that tells its watch."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def add(self, **counts: int) -> None:
        super().add(**counts)
        if asked := counts.get("evaluations_asked"):
            self._watch.told(asked)
