"""The ways in which a command ends without success, and how a name that is not known is met."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

BAD_PATH = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EINVAL,
}  # fmt: skip
"""What the system says of a path that somebody can spell better; the rest is the machine's."""
NO_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "alloc_failed",
    "size calculation overflowed",
)  # fmt: skip
"""How torch and what it calls say so, in lower case."""


class UserError(Exception):
    """Something that the user can mend: exit status 2.

    The message is one line: what was expected, what was found, what to change.
    """

    def __str__(self) -> str:
        """The message, in which whatever it repeats of the input is no command to a terminal."""
        said = " ".join(super().__str__().split())
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


class MachineError(UserError):
    """What was asked for is right, and the machine refuses it: exit status 3.

    Disk, memory, permission. The same command goes on where the machine allows it.
    """


class CheckFailed(Exception):
    """A check ran to its end and its answer is no: exit status 1."""


def refused(said: str, error: OSError) -> UserError:
    """The error to raise with the words `said`: whose fault it is, the system's number tells."""
    return UserError(said) if error.errno in BAD_PATH else MachineError(said)


def of_machine(error: BaseException) -> MachineError | None:
    """What to say of an error that nobody foresaw, if it is the machine's."""
    if isinstance(error, OSError) and error.errno and error.errno not in BAD_PATH:
        where = f"{error.filename}: " if error.filename else ""
        return MachineError(
            f"{where}{error.strerror}; make room or give permission, or choose another folder, "
            "then run the same command again: it goes on"
        )
    words = f"{type(error).__name__} {error}".lower()
    no_memory = isinstance(error, RuntimeError) and any(sign in words for sign in NO_MEMORY)
    if not (isinstance(error, MemoryError) or no_memory):
        return None
    reason = str(error).strip().split("\n")[0]
    return MachineError(
        f"not enough memory ({reason or 'no more was given'}): run fewer jobs at once, use smaller "
        "batches or a larger machine, then run the same command again: it goes on"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, map(str, known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
