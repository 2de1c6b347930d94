"""Weights that timm and torchvision publish: found in a folder, or fetched with a checksum.

What is checked: a file whose name ends in digits of its SHA-256 (torchvision's, and timm's
releases) against these digits; a file of timm's hub against the SHA-256 that the hub itself states
when it is asked, which guards the transfer and not the source.
"""

from __future__ import annotations

from pathlib import Path

from mergesuite.data import download
from mergesuite.errors import UserError
from mergesuite.experiment import foreign


def find(name: str) -> Path:
    """The file with the weights called `name`, downloaded if it is not there.

    Raises:
        UserError: nobody publishes such weights, or they are not there and cannot be fetched.
    """
    if file := foreign.located(name):
        return file
    source = foreign.published(name)
    target = foreign.folder() / source.files[0]
    digits = source.sha256 or _stated(source.url, target.name)
    return download.fetch(
        [source.url], target, {"sha256": digits}, _instead(target.name), variable=foreign.FOLDER
    )


def _instead(file: str) -> str:
    return f"a folder that holds {file}"


def _stated(url: str, file: str) -> str:
    """The SHA-256 that the hub states of a file: the entity tag of what it stores as a large file.

    Raises:
        UserError: it cannot be asked, or states none.
    """
    import requests

    try:
        answer = requests.head(url, timeout=download.TIMEOUT, allow_redirects=False)
        stated = answer.headers.get("X-Linked-Etag", "").strip('"')
        reason = f"HTTP {answer.status_code}, and no SHA-256 of it"
    except requests.RequestException as error:
        stated, reason = "", type(error).__name__
    if len(stated) != 64:
        raise UserError(
            f"could not download {file} ({url}: {reason}). Run again, or set {foreign.FOLDER} to "
            f"{_instead(file)}"
        )
    return stated
