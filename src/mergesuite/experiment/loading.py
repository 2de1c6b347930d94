"""From files to experiments: `paper.yaml` under a profile, and `reported.csv`.

All errors of a file are listed at once. A profile is an overlay in the same file, merged into the
base before anything is checked, so a wrong key in a profile is an error as well.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import settings, spec
from mergesuite.experiment.spec import PROFILES, Paper, Reported
from mergesuite.experiment.strict import explain

MODELS = (
    Paper, spec.Cite, settings.Data, spec.Model, settings.Recipe, spec.Population, spec.Method,
    settings.Fitness, spec.Claim,
)  # fmt: skip
"""What a paper.yaml is made of: an unknown key in it may be meant for any of them."""


def paper(folder: Path, profile: str = "full") -> Paper:
    """The experiment in `folder/paper.yaml` under a profile.

    Raises:
        UserError: the file is missing, is not YAML, has no such profile, or is not a valid
            experiment; all errors are listed in one line.
    """
    file = folder / "paper.yaml"
    raw = _mapping(file)
    profiles = raw.pop("profiles", None) or {}
    for name in profiles:
        if name not in PROFILES or name == "full":
            raise UserError(
                f"{file}: profiles.{name} is none of {', '.join(PROFILES[:-1])}"
                f"{nearest(str(name), PROFILES)}; full is the base"
            )
    if profile not in PROFILES:
        raise UserError(
            f"no profile {profile!r}{nearest(profile, PROFILES)}: {', '.join(PROFILES)}"
        )
    if profile != "full" and profile not in profiles:
        raise UserError(f"{file} declares no profile {profile!r}: add profiles.{profile}")
    return _checked(overlay(raw, profiles.get(profile) or {}), f"{file} (profile {profile})")


def _mapping(file: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror}; `mergesuite new-paper` makes one"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{file} must be a mapping with the keys {', '.join(Paper.model_fields)}")
    return raw


def overlay(base: Any, change: Any) -> Any:
    """`change` laid over `base`: mappings merge, anything else replaces, null removes a key."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = dict(base)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = overlay(merged.get(key), value)
    return merged


def _checked(raw: dict[str, Any], where: str) -> Paper:
    """The experiment, if every part of it is valid and the parts fit each other."""
    try:
        made = Paper.model_validate(raw)
    except ValidationError as error:
        known = {key for model in MODELS for key in model.model_fields}
        raise UserError(f"{where}: " + "; ".join(explain(error, known))) from None
    if errors := _dangling(made) or _misfits(made):
        raise UserError(f"{where}: " + "; ".join(errors))
    return made


def _dangling(made: Paper) -> list[str]:
    """References to models, populations and entries that do not exist."""
    errors = []
    for slug, model in made.models.items():
        errors += _missing(f"models.{slug}.start", model.start, made.models)
    for slug, population in made.populations.items():
        for name in [population.model, *population.models]:
            errors += _missing(f"populations.{slug}", name, made.models)
    for slug, entry in made.methods.items():
        for name in entry.populations:
            errors += _missing(f"methods.{slug}.populations", name, made.populations)
        errors += _missing(f"methods.{slug}.budget_of", entry.budget_of, made.methods)
    for name in made.run:
        errors += _missing("run", name, made.populations)
    return errors


def _misfits(made: Paper) -> list[str]:
    """Populations that the trained networks cannot fill, and claims about no subject."""
    errors = []
    for slug in made.active():
        population = made.populations[slug]
        model = made.models[population.model] if population.model else None
        if model and population.epochs and population.epochs > model.recipe.keep:
            errors.append(
                f"populations.{slug}.epochs: {population.epochs} asked, "
                f"models.{population.model}.recipe.keep is {model.recipe.keep}"
            )
        if not made.count(slug):
            errors.append(
                f"populations.{slug}.take: {population.take} asked, "
                f"models.{population.model}.seeds is {model.seeds if model else 0}"
            )
    for slug, claim in made.claims.items():
        for name in (claim.subject, claim.against, claim.clean):
            errors += _missing(f"claims.{slug}", name, made.all_subjects())
    return errors


def _missing(where: str, name: str | None, known: Collection[str]) -> list[str]:
    if name is None or name in known:
        return []
    return [f"{where}: there is no {name!r}{nearest(name, known)}"]


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
        raise UserError(f"cannot read {file}: {error.strerror}; every paper has one") from None
    found: dict[str, Reported] = {}
    for number, row in enumerate(rows, start=2):
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
