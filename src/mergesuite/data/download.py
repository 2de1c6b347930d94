"""Downloads that resume, try one mirror after the other and accept only the right checksum."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mergesuite.core.writing import alone
from mergesuite.errors import UserError, refused

BLOCK = 1 << 14
"""Bytes written at a time; a cut connection loses less than one block."""
TIMEOUT = (10, 30)
"""Seconds to connect, and to wait for the next bytes."""
LIMIT = 6 * 3600.0
"""Seconds that a file may take in all; what has come is kept for the next time."""
MOST_BYTES = 1 << 34
"""Of one file: sixteen GiB, more than any data set or network that is fetched here."""


class _Refused(Exception):
    """A mirror that will not get better by asking again."""


def digest(file: Path, algorithm: str) -> str:
    """The checksum of a file as lower-case hexadecimal digits; `algorithm`: `md5`, `sha256`."""
    with file.open("rb") as stream:
        make = lambda: hashlib.new(algorithm, usedforsecurity=False)  # noqa: E731
        return hashlib.file_digest(stream, make).hexdigest()


def fetch(
    urls: Sequence[str],
    target: Path,
    checksums: Mapping[str, str],
    instead: str,
    *,
    variable: str = "MERGESUITE_DATA",
    retries: int = 3,
    pause: float = 1.0,
    limit: float = LIMIT,
    most: int = MOST_BYTES,
) -> Path:
    """Download `target` from the first of `urls` that delivers it whole.

    Bytes go to `target.part`; a later attempt, by this or another process, continues there, also
    from another mirror. The file takes its name only when every checksum is right.

    Args:
        urls: mirrors, in the order in which they are tried.
        target: where the file goes; returned at once if it is there with the right checksums.
        checksums: algorithm -> expected digest, or its first digits where no more are published;
            at least one.
        instead: what a user may point `variable` to instead, for the error.
        variable: the environment variable that names the folder of `target`.
        retries: attempts per mirror.
        pause: seconds before the second attempt; doubled before each further one.
        limit: seconds for everything together.
        most: bytes that the file may have.

    Raises:
        UserError: no mirror delivered the file; the last reason of each is given.
    """
    if not checksums:
        raise ValueError("nothing is downloaded without a checksum")
    reasons, failure = [], UserError
    bounds = _Bounds(time.monotonic() + limit, most)
    try:
        with alone(target):
            if target.is_file() and not _mismatch(target, checksums):
                return target
            for url in urls:
                reason = _attempts(url, target, checksums, retries, pause, bounds)
                if reason is None:
                    return target
                reasons.append(f"{url}: {reason}")
    except OSError as error:
        reasons.append(f"cannot write {error.filename or target}: {error.strerror or error}")
        failure = type(refused("", error))
    raise failure(
        f"could not download {target.name} ({'; '.join(reasons)}). "
        f"Run again to resume, or set {variable} to {instead}"
    )


@dataclass(frozen=True)
class _Bounds:
    """When everything must have come, as `time.monotonic` counts, and how many bytes at most."""

    ends: float
    most: int

    def check(self, size: int) -> None:
        """Stop a transfer that brings too much or takes too long."""
        if size > self.most:
            raise _Refused(f"more than {self.most:,} bytes")
        if time.monotonic() > self.ends:
            raise _Refused("it takes too long")


def _attempts(
    url: str,
    target: Path,
    checksums: Mapping[str, str],
    retries: int,
    pause: float,
    bounds: _Bounds,
) -> str | None:
    """None once `target` is there, else why this mirror failed."""
    import requests
    from urllib3.exceptions import HTTPError

    part, reason = target.with_name(target.name + ".part"), "no attempt"
    for attempt in range(retries):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _append(url, part, bounds)
        except (requests.RequestException, HTTPError, ConnectionError) as error:
            reason = _plain(error)
            continue
        except _Refused as error:
            if part.is_file() and part.stat().st_size > bounds.most:
                part.unlink()
            return str(error)
        reason = _mismatch(part, checksums)
        if reason is None:
            part.replace(target)
            return None
        # Damaged bytes cannot be told from good ones: start from nothing.
        part.unlink()
    return reason


def _append(url: str, part: Path, bounds: _Bounds) -> None:
    """Append to `part` what is missing; a server without ranges sends everything again."""
    import requests

    if part.is_symlink():
        part.unlink()  # what it leads to is none of ours
    bounds.check(0)
    have = part.stat().st_size if part.is_file() else 0
    # Compression in transit would make byte ranges meaningless.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            return  # nothing is left to send: the checksum decides
        if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
            raise _Refused(f"HTTP {response.status_code}")
        response.raise_for_status()
        if response.status_code != 206 or not _continues(response, have):
            have = 0
        said = response.headers.get("Content-Length", "0")
        length = int(said) if said.isdecimal() else 0
        bounds.check(have + length)
        received = 0
        with _own(part, have) as file, _progress(part.stem, have, length) as bar:
            # What is there, where urllib3 can: it waits for no whole block.
            take = getattr(response.raw, "read1", response.raw.read)
            while block := take(BLOCK):
                bounds.check(have + received + len(block))
                file.write(block)
                received += len(block)
                bar.update(len(block))
        if received < length:
            raise requests.ConnectionError(f"cut after {have + received} of {have + length} bytes")


def _own(part: Path, have: int) -> BinaryIO:
    """`part`, opened to be written after its first `have` bytes; a link is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if have else os.O_TRUNC)
    return os.fdopen(os.open(part, flags, 0o666), "ab" if have else "wb")


def _continues(response: object, have: int) -> bool:
    """Whether a partial answer starts where our bytes end."""
    headers: Mapping[str, str] = getattr(response, "headers", {})
    return headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _progress(name: str, have: int, length: int) -> Any:
    """A bar on a terminal, nothing in a log."""
    from tqdm import tqdm

    return tqdm(
        desc=name,
        initial=have,
        total=have + length or None,
        unit="B",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    )


def _mismatch(file: Path, checksums: Mapping[str, str]) -> str | None:
    """None if every checksum is right, else which is not."""
    for algorithm, expected in checksums.items():
        found = digest(file, algorithm)
        if not found.startswith(expected):
            return f"wrong checksum ({algorithm} should be {expected}, found {found})"
    return None


def _plain(error: Exception) -> str:
    """An error of the network stack in a few words."""
    text = str(error).split("\n")[0]
    return f"{type(error).__name__}: {text[:120]}"
