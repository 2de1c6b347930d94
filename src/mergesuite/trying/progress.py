"""How far a comparison is: a bar on a terminal, one line for each method where there is none."""

from __future__ import annotations

from mergesuite.core.progress import Count, log
from mergesuite.core.runtime import Meter


class Watch:
    """Counts the evaluations of all methods together, and tells if anybody wants to know."""

    def __init__(self, evaluations: int, shown: bool) -> None:
        """`evaluations`: of all that will be run; those of one's own methods are not known."""
        self.total, self._best = evaluations, 0.0
        self._count = Count("try", 0, evaluations, "evaluations") if shown else None

    def say(self, line: str) -> None:
        """One line on stderr."""
        if self._count:
            log(line)

    def meter(self) -> Meter:
        """The meter of a method that begins now."""
        return _Watched(self)

    def told(self, evaluations: int) -> None:
        """So many evaluations more."""
        if self._count:
            self._count.add(evaluations)

    def ended(self, name: str, search: float) -> None:
        """A method has ended, and its result gets this share of the search images right."""
        self._best = max(self._best, search)
        if self._count:
            best = f"best so far {100 * self._best:.1f} %"
            self._count.say(f"{name} has {100 * search:.1f} % on search ({best})")

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
