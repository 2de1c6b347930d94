"""The files of an image folder: which there are, whether they changed, what they hold.

Hashing a large folder takes minutes, so checksums are kept from run to run in the user's cache, and
a file is hashed again only when its size or its time of modification is another. None of this needs
torch: the planner asks for `listing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mergesuite.core import sealed, store
from mergesuite.errors import UserError, refused

PREFIX = "folder:"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
SETTLED = 2_000_000_000
"""Nanoseconds after which a file that is written again surely has another time of modification."""

Entry = list[int | str]
"""Size in bytes, time of modification in nanoseconds, SHA-256."""


def parse(name: str) -> tuple[Path, int | None]:
    """The folder and the image side that `folder:PATH` or `folder:PATH@SIDE` names."""
    match = re.fullmatch(r"(.*?)(?:@(\d+))?", name.removeprefix(PREFIX), re.DOTALL)
    assert match is not None  # the pattern matches every string
    return Path(match[1]).expanduser(), int(match[2]) if match[2] else None


def is_folder(name: str) -> bool:
    """Whether the name of a data set means a folder of images."""
    return name.startswith(PREFIX) or parse(name)[0].is_dir()


def listing(name: str) -> str:
    """Twelve hex digits over name, size and time of modification of every image in a folder.

    Empty for a data set that is no image folder, and for a folder that is not there.
    """
    if not name.startswith(PREFIX):
        return ""
    folder, _ = parse(name)
    rows = sorted((file, *_state(folder / file)) for file in images(folder))
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12] if rows else ""


def checksums(
    folder: Path, files: Iterable[str], check: Callable[[Path], None] = lambda file: None
) -> dict[str, str]:
    """Of `files`, relative to `folder`: `sha256:...`; hashed only where it is not known already.

    `check` is called with each file before it is hashed. A file that is replaced by one of the same
    size and the same time of modification is taken for the old one; delete the folder `folders` of
    the cache to have everything hashed anew.

    Raises:
        UserError: a file cannot be read.
    """
    kept = cache() / "folders" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()}.json"
    known, now = _known(kept), time.time_ns()
    found: dict[str, Entry] = {}
    for name in files:
        file = folder / name
        try:
            state = list(_state(file))
            entry = known.get(name)
            if not entry or entry[:2] != state:
                check(file)
                entry = [*state, store.sha256(file)]
        except OSError as error:
            raise refused(
                f"cannot read {file} ({error.strerror}): replace or remove it", error
            ) from None
        found[name] = entry
    # What was written just now may be written again within the same tick of the clock.
    settled = {name: entry for name, entry in found.items() if now - int(entry[1]) > SETTLED}
    if settled != known:
        # Two processes at once write the same; one that may not write hashes each time.
        with contextlib.suppress(UserError):
            sealed.write(kept, {"files": settled}, indent=None)
    return {name: f"sha256:{entry[2]}" for name, entry in found.items()}


def images(folder: Path) -> Iterator[str]:
    """The image files below a folder, relative to it; folders that are links are followed."""
    for parent, _, names in os.walk(folder, followlinks=True):
        below = Path(parent).relative_to(folder)
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield (below / name).as_posix()


def cache() -> Path:
    """The folder for what can be fetched or computed again: MERGESUITE_CACHE, or the user's own."""
    if named := os.environ.get("MERGESUITE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mergesuite"


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _known(kept: Path) -> dict[str, Entry]:
    """What an earlier run kept; a damaged file counts as none."""
    return (sealed.found(kept) or {"files": {}})["files"]
