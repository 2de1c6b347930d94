"""Networks and weights of timm and torchvision, by name, and the files that hold weights.

| | network, untrained | its weights |
| --- | --- | --- |
| torchvision | `torchvision:NETWORK` | `torchvision:NETWORK@WEIGHTS` |
| timm | `timm:NETWORK` | `timm:NETWORK.TAG` |

Weights are files in the folder that `MERGESUITE_WEIGHTS` names; `models.pretrained` fetches them
where they may be fetched. A result depends on what such a file holds, and never on its name.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mergesuite.core import imagefiles
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared

LIBRARIES = ("timm", "torchvision")
FOLDER = "MERGESUITE_WEIGHTS"
"""Environment variable that names the folder with published weights."""
HUB = "https://huggingface.co/{}/resolve/main/model.safetensors"
"""Where timm's weights are that no release holds; `{}` is the repository."""


class Name(NamedTuple):
    """A name with the prefix of its library; `weights` is empty for the untrained network."""

    library: str
    network: str
    weights: str = ""

    @property
    def untrained(self) -> str:
        """The name of the network without its weights."""
        return f"{self.library}:{self.network}"


@dataclass(frozen=True)
class Published:
    """Weights as their library publishes them.

    Attributes:
        files: names that the file may have; the first is that of the download.
        url: where it is.
        sha256: the first digits of its SHA-256, which its name ends in; none on timm's hub.
    """

    files: tuple[str, ...]
    url: str
    sha256: str


def parsed(name: str) -> Name | None:
    """The parts of a name with a prefix; None for any other."""
    match = re.fullmatch(r"torchvision:(\w+)(?:@(\w+))?", name)
    if match:
        return Name("torchvision", match[1], match[2] or "")
    match = re.fullmatch(r"timm:(\w+)(?:\.([\w.-]+))?", name)
    return Name("timm", match[1], match[2] or "") if match else None


def is_weights(name: str) -> bool:
    """Whether a name is meant for weights of a library, and for no file of the user."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def not_a_network(name: str) -> str | None:
    """Why `name` is no network that a spec may ask for, as far as that is known without torch."""
    if declared.family(name):
        return None
    found = parsed(name)
    if found and found.weights:
        return (
            f"{name} names weights: say build: {found.untrained}, and where training begins, "
            f"start: {name}"
        )
    if found:
        return None
    known = [own for family in declared.families() for own in family.names]
    return (
        f"no model of ours is called {name!r}{nearest(name, known)}; `mergesuite list models` "
        f"shows them, those of other libraries have a prefix: {', '.join(_prefixed(name))}"
    )


def _prefixed(name: str) -> list[str]:
    bare = name.rpartition(":")[2]
    return [f"{library}:{bare}" for library in LIBRARIES]


def folder() -> Path:
    """Where published weights are looked for: `MERGESUITE_WEIGHTS`, else a cache.

    Raises:
        UserError: `MERGESUITE_WEIGHTS` names no folder.
    """
    named = os.environ.get(FOLDER)
    if not named:
        return imagefiles.cache() / "weights"
    if not Path(named).expanduser().is_dir():
        raise UserError(
            f"{FOLDER} should name a folder with weights, found none at {named}: correct it"
        )
    return Path(named).expanduser()


def located(name: str) -> Path | None:
    """The file with the weights called `name`, if it is in the folder.

    Raises:
        UserError: nobody publishes such weights, or the file is not the one that its name says.
    """
    source = published(name)
    found = [folder() / file for file in source.files if (folder() / file).is_file()]
    if not found:
        return None
    if source.sha256 and found[0].name == source.files[0]:
        with found[0].open("rb") as file:
            digits = hashlib.file_digest(file, "sha256").hexdigest()
        if not digits.startswith(source.sha256):
            raise UserError(
                f"{found[0]} is not what its name says (SHA-256 {digits[:8]}): delete it and fetch "
                "it again"
            )
    return found[0]


def there(name: str) -> Path:
    """The same.

    Raises:
        UserError: it is not there either.
    """
    if file := located(name):
        return file
    source = published(name)
    raise UserError(
        f"there are no weights {name} in {folder()}: put {' or '.join(source.files)} there, "
        f"from {source.url}, or name the folder that has it in {FOLDER}"
    )


def published(name: str) -> Published:
    """What the library called in `name` publishes under it.

    Raises:
        UserError: no weights are called so.
    """
    found = parsed(name)
    if found is None:
        raise UserError(
            f"{name!r} names no weights: expected torchvision:NETWORK@WEIGHTS or timm:NETWORK.TAG"
        )
    return READERS[found.library](found, name)


def _library(name: str) -> Any:
    """A library, imported by name: its version decides where a file is, not what is in it."""
    return importlib.import_module(name)


def _of_torchvision(name: Name, said: str) -> Published:
    models = _library("torchvision.models")
    try:
        known = {one.name: one.url for one in models.get_model_weights(name.network)}
    except ValueError:
        near = nearest(name.network, models.list_models())
        raise UserError(f"{said}: torchvision has no network {name.network!r}{near}") from None
    if name.weights not in known:
        raise UserError(
            f"{said}: say which weights, {' or '.join(f'{name.untrained}@{one}' for one in known)}"
        )
    return _released(known[name.weights])


def _of_timm(name: Name, said: str) -> Published:
    timm = _library("timm")
    known = timm.list_models(f"{name.network}.*", pretrained=True)
    full = f"{name.network}.{name.weights}"
    if not known:
        near = nearest(name.network, timm.list_models())
        raise UserError(f"{said}: timm has no weights of a network {name.network!r}{near}")
    if full not in known:
        names = [f"timm:{one}" for one in known]
        raise UserError(
            f"{said}: say which weights{nearest(said, names)}, {' or '.join(names[:4])}"
            f"{', ...' if names[4:] else ''}"
        )
    source = timm.get_pretrained_cfg(full)
    own = (f"{full}.safetensors", f"{full}.pth")
    if re.search(r"-[0-9a-f]{8,}\.pth$", source.url or ""):
        return _released(source.url, *own)
    if not source.hf_hub_id or source.hf_hub_filename:
        raise UserError(f"{said}: timm publishes these weights in no file that is known here")
    return Published(own, HUB.format(source.hf_hub_id), "")


def _released(url: str, *more: str) -> Published:
    """Weights whose address ends in digits of their SHA-256, as torch.hub has it."""
    file = url.rpartition("/")[2]
    digits = re.search(r"-([0-9a-f]{8,})\.", file)
    if not digits:
        raise UserError(f"{url} carries no checksum: nothing is downloaded without one")
    return Published((file, *more), url, digits[1])


READERS: dict[str, Callable[[Name, str], Published]] = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
}
