"""One page for a reader: verdicts first, then their evidence, then how it was made.

The page is a single file that needs no network and no script. Everything that comes from a spec or
a run is escaped by the template; only our own SVG files are put in as `svg` has them.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

from mergesuite import __version__
from mergesuite.core import sealed, store
from mergesuite.experiment import declared, spec
from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import collect, compare
from mergesuite.judge.controls import read as read_controls
from mergesuite.judge.verdict import COLOURS, MEANINGS
from mergesuite.report import claims, controls, svg, tables, traces
from mergesuite.report.captions import ALTERNATIVES, CAPTIONS
from mergesuite.report.markup import TEXT, Table
from mergesuite.report.wording import LEAK, LEAK_NOTE, NOTHING, counted

TEMPLATES = Path(__file__).parent / "templates"


def section(paper_folder: Path, profile: str, results: Path) -> dict[str, Any]:
    """Everything the page says about one paper; without results, what there is of its spec."""
    slug = paper_folder.name
    jobs = Jobs(slug, profile, str(results))
    paper, folder = jobs.paper, Path(jobs.folder)
    base = {
        "slug": slug,
        "paper": paper,
        "citation": paper.cite.text,
        "methods": _methods(paper),
    }
    if not (folder / "runs.csv").is_file() or not (folder / "verdicts.csv").is_file():
        empty = ("claims", "controls", "tables", "figures", "commands", "origin")
        return {**base, **{name: [] for name in empty}}
    runs, verdicts = collect.measured(jobs), compare.read(folder)
    beside = read_controls(folder)
    records = traces.records(jobs)
    return {
        **base,
        "claims": claims.told(verdicts),
        "controls": controls.told(beside),
        "tables": [_table(table) for table in tables.make(paper, runs, verdicts, beside)],
        "figures": _figures(folder / "figures", slug),
        "commands": _commands(records),
        "origin": _origin(records),
    }


def _methods(paper: spec.Paper) -> list[dict[str, str]]:
    """The entries of the spec with what they use and whom to cite."""
    known = declared.methods()
    rows = []
    for slug, entry in paper.methods.items():
        method = known[entry.use]
        rows.append(
            {
                "entry": f"{slug} {LEAK}" if entry.leaky else slug,
                "use": entry.use,
                "protocol": entry.protocol,
                "summary": method.summary,
                "cite": method.cite,
            }
        )
    return rows


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "caption": table.caption,
        "columns": [str(column) for column in table.shown.columns],
        "text": [column in TEXT for column in table.shown.columns],
        "rows": table.shown.to_numpy().tolist(),
        "notes": table.notes,
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
            subject, {"subject": subject, "command": str(record.get("command", "")), "runs": 0}
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


def page(sections: list[dict[str, Any]], profile: str) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = Counter(claim["verdict"] for part in sections for claim in part["claims"])
    words = [(name, meaning, counts[name]) for name, meaning in MEANINGS.items()]
    return environment.get_template("report.html").render(
        sections=sections,
        profile=profile,
        captions=CAPTIONS,
        total=counts.total(),
        words=words,
        colours=COLOURS,
        families=claims.FAMILIES,
        power_notes=[claims.INTERVAL_NOTE, claims.POWER_NOTE],
        leak=LEAK,
        leak_note=LEAK_NOTE,
        nothing=NOTHING,
        counted=counted,
        version=__version__,
    )


def write(papers: list[Path], profile: str, results: Path, out: Path) -> None:
    """Write the page for all `papers` (folders of replications) to `out`."""
    store.write_text(out, page([section(folder, profile, results) for folder in papers], profile))
