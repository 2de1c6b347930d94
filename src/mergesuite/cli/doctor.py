"""What is wrong or doubtful in a replication, before an hour of computing shows it.

`findings` is pure: it reads a paper's folder and computes nothing. An error stops the workflow; a
doubt is what a reviewer would ask about, and may be meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tabulate import tabulate

from mergesuite.errors import CheckFailed, UserError, nearest
from mergesuite.experiment import config, declared, loading
from mergesuite.experiment.spec import PROFILES, Method, Paper
from mergesuite.judge.verdict import FEWEST
from mergesuite.report.publish import BEGIN, END

FEW_IMAGES = 200
"""With fewer, one image is more than half a point of fitness: parents and children tie."""

TODO = "TODO:"
"""What the template's words begin with where a paper has its own."""


class Finding(NamedTuple):
    """One thing that is wrong (error) or that a reader may ask about (doubt)."""

    kind: Literal["error", "doubt"]
    where: str
    what: str
    change: str


def show(papers: list[str], profile: str | None) -> None:
    """Print what is found in `papers`, at one profile or at every one that a spec has.

    Raises:
        CheckFailed: there is an error among it.
        UserError: there is no such profile.
    """
    if profile and profile not in PROFILES:
        raise UserError(
            f"no profile {profile!r}{nearest(profile, PROFILES)}: {', '.join(PROFILES)}"
        )
    rows = [row for name in papers for row in _rows_of(name, profile)]
    headers = ["paper", "profile", "", "what", "where", "what to change"]
    if rows:
        print(tabulate(rows, headers, maxcolwidths=[None, 12, None, 40, 40, 40]))
    errors = sum(row[2] == "error" for row in rows)
    print(f"papers: {len(papers)}, errors: {errors}, doubts: {len(rows) - errors}")
    if errors:
        raise CheckFailed("a spec has errors: correct what the table names")


def targets(words: Iterable[str], results: str, profile: str) -> list[tuple[str, str]]:
    """The papers that words of a command line name, as such or by a file, each with its profile."""
    file = re.compile(rf"{re.escape(results)}/([a-z-]+)/(?:report/)?([a-z0-9-]+)[/.].*")
    matches = [(word, file.fullmatch(word)) for word in words]
    named = [match.groups() if match else (profile, word) for word, match in matches]
    there = config.papers_there()
    return [(name, at) for at, name in dict.fromkeys(named) if name in there and at in PROFILES]


def summary(papers: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each paper, at its profile, of which something is to be said; for a dry run."""
    lines = []
    for name, profile in papers:
        found = findings(config.folder_of(name), profile)
        counts = [f"{sum(f.kind == kind for f in found)} {kind}s" for kind in ("error", "doubt")]
        if found:
            said = ", ".join(counts)
            lines.append(f"{name}: {said}; see `mergesuite doctor {name} --profile {profile}`")
    return lines


def _rows_of(name: str, profile: str | None) -> list[list[str]]:
    """One row for everything of a paper that is said of the same profiles in the same words."""
    folder = config.folder_of(name)
    profiles: dict[Finding, list[str]] = {}
    for asked in [profile] if profile else _profiles(folder):
        for finding in findings(folder, asked):
            profiles.setdefault(finding, []).append(asked)
    places: dict[tuple[str, str, str, str], list[str]] = {}
    for finding, at in profiles.items():
        key = (finding.kind, ", ".join(at), finding.what, finding.change)
        places.setdefault(key, []).append(finding.where)
    return [
        [name, at, kind, what, ", ".join(where), change]
        for (kind, at, what, change), where in places.items()
    ]


def _profiles(folder: Path) -> list[str]:
    try:
        return loading.profiles(folder)
    except UserError:
        return ["full"]  # where the same error is found


def findings(folder: Path, profile: str) -> list[Finding]:
    """All that is wrong or doubtful in `folder` at a profile; errors come first."""
    try:
        paper, base = loading.paper(folder, profile), loading.paper(folder)
    except UserError as error:
        problems = error.problems if isinstance(error, loading.SpecError) else [str(error)]
        return [Finding("error", "paper.yaml", problem, "see there") for problem in problems]
    found = [*_files(folder, paper), *_rows(folder, paper), *_readme(folder), *_todos(folder)]
    for check in CHECKS:
        found += check(paper)
    found += _smaller(paper, base)
    found += _nobody_uses(paper) if profile == "full" else _not_said(paper)
    return sorted(found, key=lambda finding: finding.kind != "error")


def _doubt(where: str, what: str, change: str) -> Finding:
    return Finding("doubt", where, what, change)


def _files(folder: Path, paper: Paper) -> Iterator[Finding]:
    """Weights that the user should have and has not."""
    starts = {f"models.{m}.start": [paper.models[m].start_file] for m in paper.active_models()}
    files = {f"populations.{p}.files": paper.populations[p].files for p in paper.active()}
    for where, names in {**starts, **files}.items():
        for name in names:
            if name and not (folder / name).is_file():
                yield Finding(
                    "error", where, f"there is no {folder / name}", "put it there, or correct it"
                )


def _rows(folder: Path, paper: Paper) -> Iterator[Finding]:
    """Rows of reported.csv that claims name and that are not there."""
    try:
        known = loading.reported(folder)
    except UserError as error:
        yield Finding("error", "reported.csv", str(error), "see there")
        return
    for slug, claim in paper.claims.items():
        for row in [*claim.reported, *claim.reported_against]:
            if row not in known:
                what = f"reported.csv has no row {row!r}{nearest(row, known)}"
                yield Finding("error", f"claims.{slug}", what, "add the row or correct the id")


def _readme(folder: Path) -> Iterator[Finding]:
    """A README into which no verdicts can be written."""
    text = _text(folder / "README.md")
    if BEGIN not in text or END not in text:
        yield _doubt("README.md", "no place for the verdicts", f"add the lines {BEGIN} and {END}")


def _todos(folder: Path) -> Iterator[Finding]:
    """Words of the template that nobody replaced."""
    for name in ("paper.yaml", "reported.csv", "README.md"):
        lines = enumerate(_text(folder / name).splitlines(), start=1)
        if found := ", ".join(str(number) for number, line in lines if TODO in line):
            yield _doubt(f"{name}:{found}", "words of the template", f"your own, without {TODO}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _entry(paper: Paper, subject: str | None) -> tuple[str, Method] | None:
    parts = paper.all_subjects()[subject] if subject else None
    return (parts[0], paper.methods[parts[0]]) if parts else None


def _searches(entry: Method) -> bool:
    """Whether an entry optimises something: a population method, or one that is given a fitness."""
    is_population = declared.method_fields(entry.use).kind == "population"
    return is_population or "fitness" in entry.model_fields_set


def _batchnorm(paper: Paper) -> Iterator[Finding]:
    """Claims measured under another BatchNorm treatment than their subject's search optimised."""
    for slug, claim in paper.claims.items():
        if claim.split == "none":
            continue
        for key, subject in (("batchnorm", claim.subject), ("clean_batchnorm", claim.clean)):
            found, measured = _entry(paper, subject), getattr(claim, key)
            if found and _searches(found[1]) and found[1].fitness.batchnorm != measured:
                yield _doubt(
                    f"claims.{slug}.{key}",
                    f"measured with BatchNorm {measured}; the search of {found[0]} optimised "
                    f"{found[1].fitness.batchnorm}",
                    f"{key}: {found[1].fitness.batchnorm}, or another fitness.batchnorm",
                )


def _replicates(paper: Paper) -> Iterator[Finding]:
    """Claims that get no verdict, for there are too few replicates."""
    run = paper.subjects()
    for slug, claim in paper.claims.items():
        sides = {claim.subject, claim.against}
        if not sides <= run.keys():
            continue
        count = min(len(paper.seeds(name)) for name in sides)
        if count < FEWEST:
            yield _doubt(
                f"claims.{slug}",
                f"{count} replicates; there is no verdict with fewer than {FEWEST}",
                f"replicates: {FEWEST}, and seeds (or files) for as many",
            )


def _leaks(paper: Paper) -> Iterator[Finding]:
    """Leaky entries beside which nothing shows what the leak alone is worth."""
    honest = {
        (entry.use, entry.protocol)
        for entry in paper.methods.values()
        if entry.fitness.split == "search" and not entry.leaky
    }
    for slug, entry in paper.methods.items():
        if entry.leaky and (entry.use, entry.protocol) not in honest:
            yield _doubt(
                f"methods.{slug}",
                "leaky, and no entry does the same on held-out images",
                f"add one: use: {entry.use}, protocol: {entry.protocol}, fitness.split: search",
            )


def _few_images(paper: Paper) -> Iterator[Finding]:
    """Search splits so small that fitness values tie."""
    for model in paper.active_models():
        size = paper.data_of(model).sizes.get("search")
        if size is not None and size < FEW_IMAGES:
            where = f"models.{model}.data" if paper.models[model].data else "data"
            yield _doubt(
                f"{where}.sizes.search",
                f"{size} images: fitness values will tie",
                f"at least {FEW_IMAGES}",
            )
            return


def _controls(paper: Paper) -> Iterator[Finding]:
    """Comparisons that every table needs."""
    used = {entry.use for entry in paper.methods.values()}
    for name in ("best-parent", "uniform-average"):
        if name not in used:
            yield _doubt("methods", f"no entry uses {name}", "add it, or say controls:")


CHECKS: list[Callable[[Paper], Iterator[Finding]]] = [
    _batchnorm, _replicates, _leaks, _few_images, _controls,
]  # fmt: skip


def _smaller(paper: Paper, base: Paper) -> Iterator[Finding]:
    """Searches that a profile makes smaller: it should shrink networks and data, not the method."""
    for slug, entry in paper.methods.items():
        full = base.methods.get(slug)
        if not full or full.use != entry.use:
            continue
        if declared.method_fields(entry.use).kind != "population":
            continue
        there = declared.check_params(entry.use, full.params)
        for name, value in declared.check_params(entry.use, entry.params).items():
            if type(value) is int and type(there[name]) is int and value < there[name]:
                yield _doubt(
                    f"methods.{slug}",
                    f"{name} is {value}, at full {there[name]}: the method is made smaller",
                    "shrink networks, images and epochs instead",
                )


def _nobody_uses(paper: Paper) -> Iterator[Finding]:
    """Models and entries of the base that nothing is made of."""
    used = {name for slug in paper.populations for name in paper.trained_for(slug)}
    used |= {spec.model for spec in paper.populations.values() if spec.model}
    used |= {model.start_model for model in paper.models.values() if model.start_model}
    claimed = {s for c in paper.claims.values() for s in (c.subject, c.against, c.clean)}
    for slug in paper.models:
        if slug not in used | claimed:
            yield _doubt(f"models.{slug}", "in no population", "add it to one, or remove it")
    for slug, entry in paper.methods.items():
        if not set(entry.populations or paper.populations) & set(paper.active()):
            yield _doubt(f"methods.{slug}", "run on no population", "add one, or remove it")


def _not_said(paper: Paper) -> Iterator[Finding]:
    """A smaller profile that passes for the paper's scale."""
    if not paper.reduced:
        yield _doubt("reduced", "this profile does not say what it reduces", "say it in a sentence")
