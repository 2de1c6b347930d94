"""The ways in which a command ends without success, and how a name that is not known is met."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend: exit status 2.

    The message is one line: what was expected, what was found, what to change.
    """

    def __str__(self) -> str:
        """The message, in which whatever it repeats of the input is no command to a terminal."""
        said = " ".join(super().__str__().split())
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


class CheckFailed(Exception):
    """A check ran to its end and its answer is no: exit status 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, map(str, known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
