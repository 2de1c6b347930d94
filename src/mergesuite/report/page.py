"""One page for a reader: is it true, then every claim, then how each paper was measured.

The page is a single file that needs no network; its one script sorts, filters and copies, and
without it everything is there to read. Everything that comes from a spec or a run is escaped by the
template; only our own SVG is put in as `svg` and `sheet` have it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from mergesuite import __version__
from mergesuite.core import sealed, store
from mergesuite.experiment import declared, spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare
from mergesuite.judge.controls import read as read_controls
from mergesuite.judge.verdict import COLOURS, MEANINGS, NOT_RUN
from mergesuite.report import (
    answers,
    bibliography,
    claims,
    controls,
    forest,
    sheet,
    svg,
    tables,
    traces,
)
from mergesuite.report.captions import ALTERNATIVES, CAPTIONS
from mergesuite.report.markup import LATEX, TEXT, Table
from mergesuite.report.names import Names
from mergesuite.report.wording import LEAK, LEAK_NOTE, NOTHING, counted, tight

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Place:
    """Where results are: a profile in a folder of results.

    Attributes:
        label: what tells it apart from the other places of a page; empty where there is one.
    """

    profile: str
    results: Path
    label: str = ""

    @property
    def folder(self) -> str:
        """The name of the folder of results alone."""
        return self.results.resolve().name


def section(paper_folder: Path, place: Place, key: str = "") -> dict[str, Any]:
    """Everything the page says about one paper; without results, what there is of its spec.

    `key` begins the ids of what is in it.
    """
    slug = paper_folder.name
    jobs = Jobs(slug, place.profile, str(place.results))
    paper, folder = jobs.paper, Path(jobs.folder)
    names = Names(paper)
    base = {
        "slug": slug,
        "key": key or slug,
        "place": place.label,
        "brief": names.brief(slug),
        "paper": paper,
        "citation": paper.cite.text,
        "methods": _methods(paper, names),
        "names": names.known(),
    }
    if not (folder / "runs.csv").is_file() or not (folder / "verdicts.csv").is_file():
        empty = ("claims", "forest", "controls", "tables", "figures", "commands", "origin")
        return {**base, "finding": None, **{name: [] for name in empty}}
    runs, verdicts = collect.measured(jobs), compare.read(folder)
    beside = read_controls(folder)
    records = traces.records(jobs)
    headed = ", ".join(filter(None, (base["brief"], place.label)))
    # All that the table `reported` says is in the table of claims.
    made = tables.make(paper, runs, verdicts, beside)
    priced = next(table.numbers for table in made if table.name == "price")
    told = claims.told(verdicts, names, priced)
    for claim, row in zip(told, verdicts.to_dict("records"), strict=True):
        claim["protocol"] = answers.protocol(paper, row) if claim["tested"] else NOTHING
    return {
        **base,
        "finding": answers.find(paper, names, verdicts, beside),
        "claims": told,
        "forest": forest.rows(names, verdicts, beside, headed, base["key"]),
        "controls": controls.told(beside, names),
        "tables": [_table(table) for table in made if table.name != "reported"],
        "figures": _figures(folder / "figures", base["key"]),
        "commands": _commands(records),
        "origin": _origin(records),
    }


def _methods(paper: spec.Paper, names: Names) -> list[dict[str, str]]:
    """The entries of the spec with what they use and whom to cite."""
    known = declared.methods()
    rows = []
    for slug, entry in paper.methods.items():
        method = known[entry.use]
        rows.append(
            {
                "entry": slug,
                "name": names.entry(slug),
                "leaky": entry.leaky,
                "use": entry.use,
                "protocol": entry.protocol,
                "summary": method.summary,
                "cite": method.cite,
            }
        )
    return rows


def _table(table: Table) -> dict[str, Any]:
    """A table with its columns; what is the same in every row is said once, beside the caption."""
    shown = table.shown
    same = {
        str(column): str(shown[column].iloc[0])
        for column in shown.columns[1:]
        if len(shown) > 1 and column != "verdict" and shown[column].nunique() == 1
    }
    shown = shown.drop(columns=list(same))
    kept = {name: value for name, value in same.items() if value not in ("", NOTHING)}
    return {
        "name": table.name,
        "caption": table.caption,
        "same": "; ".join(f"{name}: {value}" for name, value in kept.items()),
        "columns": [str(column) for column in shown.columns],
        "text": [column in TEXT for column in shown.columns],
        "rows": shown.to_numpy().tolist(),
        "notes": table.notes,
        "nothing": table.nothing,
    }


def _figures(folder: Path, slug: str) -> list[dict[str, str]]:
    files = {name: folder / f"{name}.svg" for name in ALTERNATIVES}
    drawn = [name for name, file in files.items() if file.is_file()]
    if drawn:
        sealed.check(sealed.beside(folder))
    found = []
    for name in drawn:
        made = svg.read(files[name], f"{slug}-{name}", ALTERNATIVES[name])
        found.append({"name": name, "caption": CAPTIONS[name], "svg": made})
    return found


def _commands(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each subject the command of its first run, with how many others there are."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        subject = record["subject"]
        row = found.setdefault(
            subject,
            {
                "subject": subject,
                "command": str(record.get("command", "")),
                "spec": str(record.get("spec", "")),
                "runs": 0,
            },
        )
        row["runs"] += 1
    for row in found.values():
        row["command"] = _short(row["command"])
    return list(found.values())


def _short(command: str) -> str:
    """A command that starts at the program, not at some interpreter's path."""
    try:
        parts = shlex.split(command)
    except ValueError:
        return command
    start = next((i for i, part in enumerate(parts) if Path(part).name == "mergesuite"), None)
    return command if start is None else shlex.join(["mergesuite", *parts[start + 1 :]])


def _origin(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Commit, device and versions; where runs differ, each value with how many runs have it."""
    seen: dict[str, Counter[str]] = {}
    for record in records:
        dirty = " with uncommitted changes" if record.get("dirty") else ""
        values = {
            "commit": f"{record.get('commit', 'unknown')}{dirty}",
            "device": record.get("device", "unknown"),
            "platform": record.get("platform", "unknown"),
            **record.get("versions", {}),
        }
        for name, value in values.items():
            seen.setdefault(name, Counter())[str(value)] += 1
    return [
        (name, " / ".join(f"{v} ({n} runs)" if len(counts) > 1 else v for v, n in counts.items()))
        for name, counts in seen.items()
    ]


def environment() -> jinja2.Environment:
    """What fills in the templates: everything is escaped, and nothing may be missing."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(sections: list[dict[str, Any]], profile: str) -> str:
    """The page as HTML."""
    made = environment()
    made.filters["tight"] = tight
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    told = [claim for part in sections for claim in part["claims"]]
    counts = Counter(claim["verdict"] for claim in told)
    rows = [row for part in sections for row in part["forest"]]
    papers = {part["slug"]: part for part in reversed(sections)}
    return made.get_template("report.html").render(
        sections=sections,
        papers=[papers[slug] for slug in dict.fromkeys(part["slug"] for part in sections)],
        profile=profile,
        made=[f"{name} {_one_of(sections, name)}" for name in ("commit", "device")],
        captions=CAPTIONS,
        total=counts.total(),
        measured=sum(claim["measured_here"] for claim in told),
        words=[(name, meaning, counts[name]) for name, meaning in MEANINGS.items()],
        colours=COLOURS,
        roles=sheet.style(),
        role=sheet.role,
        not_run=NOT_RUN,
        forests=_forests(rows),
        forest_note=forest.NOTE,
        free_note=answers.FREE_NOTE,
        families=claims.FAMILIES,
        power_notes=[claims.INTERVAL_NOTE, claims.POWER_NOTE],
        protocols=list(dict.fromkeys(c["protocol"] for c in told if c["tested"])),
        bibtex=bibliography.entries([part["paper"] for part in papers.values()]),
        latex=LATEX,
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        leak=LEAK,
        leak_note=LEAK_NOTE,
        nothing=NOTHING,
        counted=counted,
        version=__version__,
    )


def _one_of(sections: list[dict[str, Any]], name: str) -> str:
    """A commit or device if all runs of the page have one, else that they differ."""
    found = list(dict.fromkeys(dict(part["origin"])[name] for part in sections if part["origin"]))
    return found[0] if len(found) == 1 and " / " not in found[0] else "differs between runs"


def _forests(rows: list[forest.Row]) -> list[str]:
    """The forest plot as it is on a screen, and as it is on a phone."""
    layouts = {"wide": forest.WIDE, "narrow": forest.NARROW} if rows else {}
    return [
        sheet.to_svg(forest.draw(rows, layout), forest.LABEL, css=name)
        for name, layout in layouts.items()
    ]


def write(
    papers: list[Path], profile: str, results: Path, out: Path, also: Sequence[Place] = ()
) -> None:
    """Write the page for all `papers` (folders of replications) to `out`.

    Results of other places stand beside those of `profile` in `results`, where there are any.
    """
    places = named([Place(profile, results), *also])
    sections = []
    for folder in papers:
        for i, place in enumerate(places):
            made = section(folder, place, f"{folder.name}__{i + 1}" if i else folder.name)
            if made["claims"] or not i:
                sections.append(made)
    store.write_text(out, page(sections, profile))


def named(places: list[Place]) -> list[Place]:
    """The places with a label each: the profile, and its folder where two have one profile."""
    if len(places) < 2:
        return places
    profiles, folders = (
        Counter(getattr(place, name) for place in places) for name in ("profile", "folder")
    )

    def label(place: Place) -> str:
        if profiles[place.profile] == 1:
            return place.profile
        return f"{place.profile} in {place.folder if folders[place.folder] == 1 else place.results}"

    return [Place(place.profile, place.results, label(place)) for place in places]
