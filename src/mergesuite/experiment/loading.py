"""From files to experiments: `paper.yaml` under a profile, and `reported.csv`.

All errors of a file are listed at once. A profile is an overlay in the same file, merged into the
base before anything is checked, so a wrong key in a profile is an error as well. The file's
shorthands are written out (`shorthand`), then every value is checked by the models of `spec`, then
whether the parts fit each other (`checks`).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mergesuite.errors import UserError, nearest, refused
from mergesuite.experiment import checks, recipe, settings, spec, statements, yaml_file
from mergesuite.experiment.shorthand import Controls, laid, likes, without_nulls, written_out
from mergesuite.experiment.spec import BASE, OVERLAYS, PROFILES, Paper
from mergesuite.experiment.statements import Reported
from mergesuite.experiment.strict import explain

MODELS = (
    Paper, statements.Cite, settings.Data, spec.Model, recipe.Recipe, spec.Population, spec.Method,
    settings.Fitness, statements.Claim, Controls,
)  # fmt: skip
"""What a paper.yaml is made of: an unknown key in it may be meant for any of them."""
KEYS = {key for model in MODELS for key in model.model_fields} | {
    "profiles", "shared", "controls", "like", "over",
}  # fmt: skip


class SpecError(UserError):
    """A paper.yaml that is no experiment.

    Attributes:
        problems: one phrase for each thing that is wrong.
    """

    def __init__(self, where: str, problems: list[str]) -> None:
        """All problems in one line, after where they are."""
        super().__init__(f"{where}: " + "; ".join(problems))
        self.problems = problems


def paper(folder: Path, profile: str = BASE) -> Paper:
    """The experiment in `folder/paper.yaml` under a profile.

    Raises:
        UserError: the file is missing, is not YAML, has no such profile, or is not a valid
            experiment; all errors are listed in one line.
    """
    file = folder / "paper.yaml"
    base, overlays = _parts(file)
    if profile not in PROFILES:
        raise UserError(
            f"no profile {profile!r}{nearest(profile, PROFILES)}: {', '.join(PROFILES)}"
        )
    if profile != BASE and profile not in overlays:
        raise UserError(f"{file} declares no profile {profile!r}: add profiles.{profile}")
    where = f"{file} (profile {profile})"
    try:
        raw = written_out(laid(base, overlays.get(profile) or {}))
    except UserError as error:
        raise SpecError(where, [str(error)]) from None
    return _checked(without_nulls(raw), where)


def profiles(folder: Path) -> list[str]:
    """The profiles that `folder/paper.yaml` has, in the order of `PROFILES`."""
    overlays = _parts(folder / "paper.yaml")[1]
    return [name for name in PROFILES if name == BASE or name in overlays]


def overlay(base: Any, change: Any) -> Any:
    """`change` laid over `base` as a profile is: mappings merge, null removes a key."""
    return without_nulls(laid(base, change))


def _parts(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The base of a paper.yaml, and the overlays of its profiles."""
    raw = yaml_file.read(file)
    if not isinstance(raw, dict):
        raise UserError(f"{file} must be a mapping with the keys {', '.join(Paper.model_fields)}")
    overlays = raw.get("profiles") or {}
    base = {key: value for key, value in raw.items() if key != "profiles"}
    if not isinstance(overlays, dict):
        raise SpecError(str(file), [f"profiles: expected {', '.join(OVERLAYS)}, each a mapping"])
    problems = [
        *(problem for name, change in overlays.items() for problem in _odd_profile(name, change)),
        *_unused(base, overlays),
    ]
    if problems:
        raise SpecError(str(file), problems)
    return base, overlays


def _odd_profile(name: object, change: object) -> list[str]:
    if name not in OVERLAYS:
        return [
            f"profiles.{name} is none of {', '.join(OVERLAYS)}"
            f"{nearest(str(name), PROFILES)}; {BASE} is the base"
        ]
    if change is not None and not isinstance(change, dict):
        return [f"profiles.{name}: expected a mapping, found {type(change).__name__}"]
    return []


def _unused(base: dict[str, Any], overlays: dict[str, Any]) -> list[str]:
    """Shared values that nothing is like: a slip of the pen would change nothing in silence."""
    parts = {"": base, **{f"profiles.{name}.": change for name, change in overlays.items()}}
    used = {name for part in parts.values() for name in likes(part)}
    return [
        f"{where}shared.{name}: nothing is like it{nearest(str(name), used)}"
        for where, part in parts.items()
        if isinstance(part, dict) and isinstance(part.get("shared"), dict)
        for name in part["shared"]
        if name not in used
    ]


def _checked(raw: dict[str, Any], where: str) -> Paper:
    """The experiment, if every part of it is valid and the parts fit each other."""
    try:
        made = Paper.model_validate(raw)
    except ValidationError as error:
        raise SpecError(where, explain(error, KEYS)) from None
    if problems := checks.problems(made):
        raise SpecError(where, problems)
    return made


def reported(folder: Path) -> dict[str, Reported]:
    """The rows of `folder/reported.csv` by id.

    Raises:
        UserError: the file is missing, or a row has no table, no source, or a bad value.
    """
    file = folder / "reported.csv"
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except OSError as error:
        raise refused(f"cannot read {file}: {error.strerror}; every paper has one", error) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is not CSV in UTF-8: {error}") from None
    found: dict[str, Reported] = {}
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise UserError(f"{file} line {number}: more values than columns; quote commas")
        filled = {k: (None if k in ("spread", "n") and v == "" else v) for k, v in row.items()}
        try:
            entry = Reported.model_validate(filled)
        except ValidationError as error:
            problems = "; ".join(explain(error, Reported.model_fields))
            raise UserError(f"{file} line {number}: {problems}") from None
        if entry.id in found:
            raise UserError(f"{file} line {number}: a second row is called {entry.id!r}")
        found[entry.id] = entry
    return found
