"""What an RO-Crate of results says, as JSON-LD: RO-Crate 1.1 with the Process Run Crate profile.

Sources: https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergesuite.core import store
from mergesuite.experiment import declared, spec

METADATA = "ro-crate-metadata.json"
CRATE = "https://w3id.org/ro/crate/1.1"
PROCESS = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
"""Where `sha256` is declared."""
LICENCE = "https://spdx.org/licenses/MIT"
ROOT = "./"
ORGANISATION = "#organisation"
FORMATS = {
    ".csv": "text/csv", ".json": "application/json", ".md": "text/markdown",
    ".tex": "application/x-tex", ".svg": "image/svg+xml", ".pdf": "application/pdf",
    ".html": "text/html", ".yaml": "application/yaml",
}  # fmt: skip
HOMES = {
    "python": "https://www.python.org", "torch": "https://pytorch.org",
    "torchvision": "https://pytorch.org/vision",
    "timm": "https://github.com/huggingface/pytorch-image-models",
    "spikingjelly": "https://github.com/fangwei123456/spikingjelly", "numpy": "https://numpy.org",
    "scipy": "https://scipy.org",
}  # fmt: skip

Entity = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A training or a merge: its run.json, and the places of what it read and wrote."""

    name: str
    record: Mapping[str, Any]
    read: Sequence[str]
    wrote: Sequence[str]


@dataclass(frozen=True)
class Made:
    """A paper with its runs, and the places of what was made of them and of its spec."""

    name: str
    paper: spec.Paper
    results: Sequence[str]
    spec: Sequence[str]
    runs: Sequence[Run]


def document(
    profile: str, papers: Sequence[Made], files: Mapping[str, Path], organisation: str = ""
) -> Entity:
    """The whole of ro-crate-metadata.json about `files` (place in the crate -> file).

    `organisation`: who ran and publishes it, if that is to be said.
    """
    entities = list(_entities(profile, papers, files))
    if organisation:
        for entity in entities:
            if entity["@id"] == ROOT:
                entity |= {"author": _to(ORGANISATION), "publisher": _to(ORGANISATION)}
            elif entity["@type"] == "CreateAction":
                entity["agent"] = _to(ORGANISATION)
        entities.append({"@id": ORGANISATION, "@type": "Organization", "name": organisation})
    first = {entity["@id"]: entity for entity in reversed(entities)}  # runs may be shared
    return {
        "@context": [f"{CRATE}/context", TERMS],
        "@graph": list(dict(reversed(first.items())).values()),
    }


def _entities(profile: str, papers: Sequence[Made], files: Mapping[str, Path]) -> Iterator[Entity]:
    actions = [action for made in papers for action in _actions(made, files)]
    articles = [_article(made) for made in papers]
    yield {
        "@id": METADATA, "@type": "CreativeWork", "about": _to(ROOT), "conformsTo": _to(CRATE),
    }  # fmt: skip
    yield _root(profile, papers, files, articles, actions)
    yield {"@id": PROCESS, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    yield {
        "@id": LICENCE, "@type": "CreativeWork", "name": "MIT License",
        "description": "A short permissive licence with a condition to keep its notice.",
    }  # fmt: skip
    yield from articles
    yield from (_file(place, files[place]) for place in sorted(files))
    for made in papers:
        yield from _data(made)
        for run in made.runs:
            yield from _software(run.record)
    yield from actions


def _root(
    profile: str,
    papers: Sequence[Made],
    files: Mapping[str, Path],
    articles: Sequence[Entity],
    actions: Sequence[Entity],
) -> Entity:
    names = ", ".join(made.name for made in papers)
    return {
        "@id": ROOT,
        "@type": "Dataset",
        "name": f"mergesuite results: {names} at profile {profile}",
        "description": "Measured next to reported for papers that merge or evolve the weights of "
        "trained networks: a verdict for each claim, with the tables, figures and records of all "
        "runs behind it.",
        "datePublished": max(_written(file) for file in files.values())[:10],
        "license": _to(LICENCE),
        "conformsTo": _to(PROCESS),
        "citation": _all(articles),
        "hasPart": [_to(place) for place in sorted(files)],
        "mentions": _all(actions),
    }


def _article(made: Made) -> Entity:
    """The paper that is replicated."""
    cite = made.paper.cite
    where = f"https://doi.org/{cite.doi}" if cite.doi else f"#paper-{made.name}"
    return {
        "@id": where, "@type": "ScholarlyArticle", "name": made.paper.title,
        "description": cite.text,
    }  # fmt: skip


def _file(place: str, file: Path) -> Entity:
    return {
        "@id": place,
        "@type": "File",
        "name": place,
        "encodingFormat": FORMATS[file.suffix],
        "contentSize": str(file.stat().st_size),
        "dateModified": _written(file),
        "sha256": store.sha256(file),
    }


def _data(made: Made) -> Iterator[Entity]:
    """The data sets that networks are trained and measured on."""
    for model in made.paper.active_models():
        name = made.paper.data_of(model).name
        facts = declared.datasets().get(name, {})
        yield {
            "@id": _dataset(name), "@type": "Dataset", "name": name,
            "description": "; ".join(filter(None, [facts.get("origin"), facts.get("cite")]))
            or "a folder of images",
        }  # fmt: skip


def _software(record: Mapping[str, Any]) -> Iterator[Entity]:
    """The program of a run at its commit, and the packages that it computed with."""
    packages = [
        {
            "@id": f"{HOMES[name]}#{version}", "@type": "SoftwareApplication", "name": name,
            "softwareVersion": version, "url": HOMES[name],
        }
        for name, version in record["versions"].items() if name in HOMES
    ]  # fmt: skip
    yield {
        "@id": _program(record),
        "@type": "SoftwareApplication",
        "name": "mergesuite",
        "softwareVersion": f"{record['versions']['mergesuite']}, commit {_commit(record)}",
        "softwareRequirements": _all(packages),
    }
    yield from packages


def _actions(made: Made, files: Mapping[str, Path]) -> Iterator[Entity]:
    """What was run: each training and merge, and the judging of the paper."""
    for run in made.runs:
        record, data = run.record, _dataset(run.record["args"]["data"]["name"])
        yield {
            "@id": f"#run-{run.wrote[0].removesuffix('/run.json').replace('/', '-')}",
            "@type": "CreateAction",
            "name": f"{record['method']}: {made.name}, {run.name}",
            "description": record["command"],
            "instrument": _to(_program(record)),
            "object": [_to(data), *map(_to, run.read)],
            "result": [_to(place) for place in run.wrote],
            **_times(files[run.wrote[0]], record["seconds"]),
        }
    verdicts = f"{made.name}/verdicts.json"
    yield {
        "@id": f"#compare-{made.name}",
        "@type": "CreateAction",
        "name": f"reported against measured: {made.name}",
        "description": f"mergesuite compare, tables and figures --paper {made.name}",
        "instrument": _to(_program(made.runs[-1].record)),
        "object": [*map(_to, made.spec), *(_to(run.wrote[0]) for run in made.runs)],
        "result": [_to(place) for place in made.results],
        **_times(files[verdicts], 0.0),
    }


def _times(file: Path, seconds: float) -> Entity:
    """When what wrote `file` last began and ended."""
    ended = file.stat().st_mtime
    return {
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "startTime": _moment(ended - seconds),
        "endTime": _moment(ended),
    }


def _written(file: Path) -> str:
    return _moment(file.stat().st_mtime)


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).isoformat()


def _commit(record: Mapping[str, Any]) -> str:
    return record["commit"] + ("+" if record["dirty"] else "")


def _program(record: Mapping[str, Any]) -> str:
    return f"urn:mergesuite:{record['versions']['mergesuite']}:{_commit(record)}"


def _dataset(name: str) -> str:
    return f"#data-{''.join(c if c.isalnum() else '-' for c in name)}"


def _to(identity: str) -> Entity:
    return {"@id": identity}


def _all(entities: Iterable[Entity]) -> Entity | list[Entity]:
    """Links to entities; RO-Crate wants a single one without its list."""
    links = [_to(entity["@id"]) for entity in entities]
    return links[0] if len(links) == 1 else links
