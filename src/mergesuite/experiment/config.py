"""What to run here (config/config.yaml), and where the replications are."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from mergesuite.core import store
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import loading
from mergesuite.experiment.spec import PROFILES, Paper
from mergesuite.experiment.strict import Strict, checked

NAME = r"[a-z0-9][a-z0-9-]{0,23}"
"""What a paper's folder may be called."""
RESERVED = {
    "all", "default", "data", "train", "merge", "evaluate", "collect", "compare", "tables",
    "figures", "report", "check", "published", "index", "logs", "doctor", "list", "accept",
    "plan-study", "new-paper", "verify", "try", "findings", "rocrate",
}  # fmt: skip
"""Names that mean something else to Snakemake, on the command line or in the results folder."""
FOLDER = "MERGESUITE_REPLICATIONS"
"""Environment variable that names the folder of replications."""
PACKAGED = Path(__file__).parents[1] / "replications"
INSTALLED = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[3] / "replications"
"""The replications that a wheel brings along, or those of the checkout that is installed."""


DEVICE = r"^(auto|cpu|cuda(:[0-9]{1,2})?)$"
Folder = Annotated[str, StringConstraints(pattern=r"^([^{}\x00-\x1f-][^{}\x00-\x1f]*)?$")]
"""A workflow reads braces as wildcards, and a program a leading dash as an option."""


class Config(Strict):
    """config/config.yaml: what to run here."""

    profile: str = Field("laptop", description="smoke, laptop, cifar-cpu, full or imagenet")
    papers: list[str] = Field(default_factory=list, description="default: all")
    results: Folder = Field("results", description="folder for everything that is produced")
    replications: Folder = Field("", description="folder of the papers; default: this workflow's")
    device: str = Field("auto", pattern=DEVICE, description="cpu, cuda or auto")
    container: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:/@+~-]*$",
        description="image of Dockerfile, for --sdm apptainer",
    )


def read_config(raw: dict[str, Any]) -> Config:
    """The checked configuration; `papers` may also be one string with commas, or "all".

    Raises:
        UserError: an unknown key or profile.
    """
    papers = raw.get("papers")
    if isinstance(papers, str):
        raw = {**raw, "papers": [name for name in papers.split(",") if name not in ("", "all")]}
    config = checked(Config, raw, "config/config.yaml or --config")
    if config.profile not in PROFILES:
        raise UserError(
            f"profile {config.profile!r} is none of {', '.join(PROFILES)}"
            f"{nearest(config.profile, PROFILES)}"
        )
    for name in config.papers:
        folder_of(name)
    return config


def own_replications() -> Path:
    """Where a user's papers are: the folder of `MERGESUITE_REPLICATIONS`, or ./replications."""
    return Path(os.environ.get(FOLDER) or "replications")


def container(config: Config) -> str:
    """What a run in the configured image says of it: its digest, or its name where that has none.

    Raises:
        UserError: none is configured.
    """
    if not config.container:
        raise UserError(
            "--sdm apptainer needs an image: build one from Dockerfile and name it, "
            "--config container=PATH.sif"
        )
    image = Path(config.container)
    return f"sha256:{store.sha256(image)}" if image.is_file() else config.container


def replications() -> Path:
    """The folder of the replications: the user's own if there is one, else the installed ones."""
    own = own_replications()
    is_named = bool(os.environ.get(FOLDER))
    return own if is_named or own.is_dir() or not INSTALLED.is_dir() else INSTALLED


def template() -> Path:
    """What a new paper begins as: the user's own template, else the installed one."""
    own = own_replications() / "_template"
    return own if own.is_dir() or not INSTALLED.is_dir() else INSTALLED / "_template"


def _folders() -> list[str]:
    """The names of the folders with a paper.yaml."""
    return sorted(file.parent.name for file in replications().glob("*/paper.yaml"))


def papers_there() -> list[str]:
    """The replications that exist, by name; folders with other names are none."""
    names = _folders()
    return [name for name in names if not no_name(name)]


def no_name(name: str) -> str | None:
    """Why no paper may be called `name`; None where one may."""
    if not re.fullmatch(NAME, name):
        return f"{name!r} is no paper name: use lower case, digits and dashes, at most 24"
    if name in RESERVED:
        return f"{name!r} is a target of the workflow: choose another name"
    return None


def folder_of(name: str) -> Path:
    """The folder of one replication.

    Raises:
        UserError: there is none.
    """
    known = papers_there()
    if name not in known:
        raise UserError(
            f"there is no {replications() / name}{nearest(name, known)}: run from the folder that "
            f"holds replications/, or name it in {FOLDER}"
        )
    return replications() / name


def paper(name: str, profile: str) -> Paper:
    """The loaded spec of one replication."""
    return _paper(folder_of(name), profile)


@functools.cache
def _paper(folder: Path, profile: str) -> Paper:
    return loading.paper(folder, profile)


def usable(profile: str) -> tuple[list[str], dict[str, str]]:
    """The papers that load at a profile, and what is wrong with the others.

    A folder that begins with `_` or `.` is meant for none.
    """
    good: list[str] = []
    names = (name for name in _folders() if name[0] not in "_.")
    bad = {ascii(name): reason for name in names if (reason := no_name(name))}
    for name in papers_there():
        try:
            paper(name, profile)
            good.append(name)
        except UserError as error:
            bad[name] = str(error)
    return good, bad
