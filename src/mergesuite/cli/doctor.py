"""What is wrong or doubtful in a replication, before an hour of computing shows it.

`findings` is pure: it reads a paper's folder and computes nothing. An error stops the workflow; a
doubt is what a reviewer would ask about, and may be meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tabulate import tabulate

from mergesuite.cli import doubts
from mergesuite.cli.doubts import Finding, doubt
from mergesuite.errors import CheckFailed, UserError, nearest
from mergesuite.experiment import config, foreign, loading, price
from mergesuite.experiment.jobs import Jobs
from mergesuite.experiment.spec import PROFILES, Paper
from mergesuite.judge.claimed import claimed
from mergesuite.report.wording import BEGIN, END

TODO = "TODO:"
"""What the template's words begin with where a paper has its own."""


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
    """For a dry run: what is to be said of each paper, at its profile, and its price on a GPU."""
    lines = []
    for name, profile in papers:
        found = findings(config.folder_of(name), profile)
        counts = [f"{sum(f.kind == kind for f in found)} {kind}s" for kind in ("error", "doubt")]
        if found:
            said = ", ".join(counts)
            lines.append(f"{name}: {said}; see `mergesuite doctor {name} --profile {profile}`")
        if not any(finding.kind == "error" for finding in found):
            lines += _price(Jobs(name, profile))
    return lines


def _price(jobs: Jobs) -> Iterator[str]:
    """What a paper costs, where it wants a GPU."""
    if hours := price.gpu_hours(jobs):
        digits = float(f"{hours:.2g}")
        yield (
            f"{jobs.name}: about {digits:,g} GPU hours in all, if a GPU sustains "
            f"{price.sustained(jobs) / 1e12:.0f} * 10^12 operations a second; see docs/cluster.md"
        )


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
    found += [*_shared(folder, paper, profile), *doubts.doubts(paper, base, profile)]
    return sorted(found, key=lambda finding: finding.kind != "error")


def _files(folder: Path, paper: Paper) -> Iterator[Finding]:
    """Weights that the user should have and has not."""
    starts = {f"models.{m}.start": [paper.models[m].start_file] for m in paper.active_models()}
    files = {f"populations.{p}.files": paper.populations[p].files for p in paper.active()}
    for where, names in {**starts, **files}.items():
        for name in names:
            if name and foreign.is_weights(name):
                yield from _published(where, name)
            elif name and not (folder / name).is_file():
                yield Finding(
                    "error", where, f"there is no {folder / name}", "put it there, or correct it"
                )


def _shared(folder: Path, paper: Paper, profile: str) -> Iterator[Finding]:
    """Models that are trained here, although another paper's runs were to be taken."""
    for name in paper.active_models():
        other = paper.models[name].shared_with
        if other and Jobs(folder.name, profile).trains(name):
            what = f"{other} does not train the same model as often: it is trained here too"
            change = "make network, data, recipe, start and seeds equal in both, or remove it"
            yield doubt(f"models.{name}.shared_with", what, change)


def _published(where: str, name: str) -> Iterator[Finding]:
    """Weights of a library that nobody publishes, or that are still to be fetched."""
    try:
        file = foreign.located(name)
    except UserError as error:
        yield Finding("error", where, str(error), "correct the name, or the file")
        return
    if file is None:
        files = " or ".join(foreign.published(name).files)
        yield doubt(where, f"{name} will be downloaded", f"where there is no network: {files} "
                    f"into {foreign.folder()}")  # fmt: skip


def _rows(folder: Path, paper: Paper) -> Iterator[Finding]:
    """Claims that name rows which are not there, or an interest that no verdict can be given on."""
    try:
        known = loading.reported(folder)
    except UserError as error:
        yield Finding("error", "reported.csv", str(error), "see there")
        return
    for slug, claim in paper.claims.items():
        lacking = [r for r in (*claim.reported, *claim.reported_against) if r not in known]
        for row in lacking:
            what = f"reported.csv has no row {row!r}{nearest(row, known)}"
            yield Finding("error", f"claims.{slug}", what, "add the row or correct the id")
        try:
            if not lacking:
                claimed(slug, claim, known)
        except UserError as error:
            where, _, what = str(error).partition(": ")
            yield Finding("error", where, what, "see there")


def _readme(folder: Path) -> Iterator[Finding]:
    """A README into which no verdicts can be written."""
    text = _text(folder / "README.md")
    if BEGIN not in text or END not in text:
        yield doubt("README.md", "no place for the verdicts", f"add the lines {BEGIN} and {END}")


def _todos(folder: Path) -> Iterator[Finding]:
    """Words of the template that nobody replaced."""
    for name in ("paper.yaml", "reported.csv", "README.md"):
        lines = enumerate(_text(folder / name).splitlines(), start=1)
        if found := ", ".join(str(number) for number, line in lines if TODO in line):
            yield doubt(f"{name}:{found}", "words of the template", f"your own, without {TODO}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
