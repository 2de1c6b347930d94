"""How a file comes into being, and how processes wait for each other.

`whole` is the one place where a file is made: it is written into a folder of its own beside its
place, read back by its writer where that says something, flushed, and renamed. A kill at any moment
leaves the old file or the new one, and that folder, which the next writer of the same file removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mergesuite.errors import refused

DAY = 86400.0


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` if the block ends well, and disappears if not.

    Raises:
        MachineError: the disk is full, or the folder cannot be written.
        UserError: there can be no such folder.
    """
    # A folder: libraries have temporary files of their own beside what they write.
    try:
        with beside(path) as part:
            temporary = part / path.name
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise refused(
            f"cannot write {path}: {error.strerror or error}; nothing was replaced. "
            "Free some space or choose another folder, then run the same command again",
            error,
        ) from error


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A folder of this process beside `path`, for the time of the block.

    What killed processes have left of theirs is removed first.

    Raises:
        OSError: it cannot be made.
    """
    part = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    sweep(path)
    try:
        part.mkdir(parents=True, exist_ok=True)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it."""
    with contextlib.suppress(OSError, OverflowError):
        for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            if _is_left(part, path.name):
                part.unlink() if part.is_file() else shutil.rmtree(part)


def _is_left(part: Path, name: str) -> bool:
    """Whether nobody writes here any more.

    Processes of this machine can be asked for; none of another writes one file for a day.
    """
    node, _, pid = part.name.removeprefix(f".{name}.").removesuffix(".part").rpartition(".")
    if node not in (platform.node(), "") or not pid.isdecimal():  # "": of earlier versions
        return time.time() - part.stat().st_mtime > DAY
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Only one process at a time is in here for `path`; the others wait, and find the file.

    Where nothing may be written there is nothing to wait for.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            # A link in its place is not followed: what it leads to would be emptied.
            opened = os.fdopen(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w")
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            yield
            return
        with opened as file:
            _wait_for(file, path)
            # Who held the lock before may have removed the file that we waited for.
            if not _is_open_at(lock, file.fileno()):
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    lock.unlink()
            return


def _wait_for(file: IO[str], path: Path) -> None:
    """Lock an open file; where the file system knows no locks, go on without."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process, which makes {path}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _is_open_at(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the file that is open as `descriptor`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
