"""What each sub-command does. Imports are inside: a command pays only for what it uses."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import shutil
import webbrowser
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mergesuite.core import provenance, sealed, store
from mergesuite.errors import CheckFailed, MachineError, UserError, nearest
from mergesuite.experiment import config, flags, foreign
from mergesuite.experiment.checks import SPLITS
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network, Other
from mergesuite.experiment.spec import PROFILES
from mergesuite.experiment.strict import checked

if TYPE_CHECKING:
    from mergesuite.report.page import Place

TEMPLATE_NAME = "my-paper"
"""What the template calls its paper."""


def run(options: Namespace) -> None:
    """Do what a parsed command line says."""
    COMMANDS[options.stage](options)


def _said(options: Namespace) -> str:
    return shlex.join(["mergesuite", *options.words])


def _print(lines: Iterable[str]) -> None:
    """Print what came out; of several processes of one run the first does."""
    if os.environ.get("RANK", "0") == "0":
        print(*lines, sep="\n")


def _data(options: Namespace) -> None:
    from mergesuite.data import load

    wanted = flags.read(Data, options)
    splits = load(
        wanted.name,
        sizes=wanted.counts() or None,
        held_out=wanted.held_out,
        preprocess=wanted.preprocess,
    )
    sealed.write(options.out, splits.manifest)


def _weights(file: Path) -> Path:
    """A file of weights, or the one that holds what timm or torchvision publish by this name."""
    if not foreign.is_weights(str(file)):
        return file
    from mergesuite.models import pretrained

    return pretrained.find(str(file))


def _train(options: Namespace) -> None:
    recipe = checked(Recipe, flags.pairs(options.set, "--set"), "--set")
    network, data = flags.read(Network, options), flags.read(Data, options)
    start = _weights(options.start) if options.start else None
    from mergesuite.cli import outcome
    from mergesuite.stages import train

    train.run(
        network, data, recipe,
        seed=options.seed, out=options.out, start=start, device=options.device,
        command=_said(options), force=options.force,
    )  # fmt: skip
    _print(outcome.of_run(options.out))


def _merge(options: Namespace) -> None:
    how = flags.read(Merge, options)
    network, data = flags.read(Network, options), flags.read(Data, options)
    parents = [_weights(file) for file in options.parents]
    from mergesuite.cli import outcome
    from mergesuite.stages import merge

    merge.run(
        network, data, how, parents,
        seed=options.seed, out=options.out, budget_of=options.budget_of, device=options.device,
        command=_said(options), force=options.force,
    )  # fmt: skip
    _print(outcome.of_run(options.out))


def _evaluate(options: Namespace) -> None:
    asked = _others(options.on)
    from mergesuite.cli import outcome
    from mergesuite.stages import evaluate

    evaluate.run(
        options.runs, out=options.out, population=options.population, others=asked,
        device=options.device,
    )  # fmt: skip
    _print(outcome.of_table(options.out))


def _try(options: Namespace) -> None:
    network, data = flags.read(Network, options), flags.read(Data, options)
    parents = [_weights(file) for file in options.parents]
    from mergesuite.trying import command

    command.run(
        parents, network, data,
        budget=options.budget, only=options.only, seed=options.seed, out=options.out,
        force=options.force, device=options.device, command=_said(options),
    )  # fmt: skip


def _others(words: list[str]) -> dict[str, Other]:
    """The sets of images that `--on` names."""
    found = {}
    for name, fields in flags.pairs(words, "--on").items():
        if not re.fullmatch(config.NAME, name) or name in SPLITS:
            raise UserError(f"--on {name}: call the set by lower case, digits and dashes, no split")
        if not isinstance(fields, dict):
            raise UserError(f"--on {name}: expected {{key: value, ...}}, found {fields!r}")
        found[name] = checked(Other, fields, f"--on {name}")
    return found


def _collect(options: Namespace) -> None:
    from mergesuite.judge import collect

    collect.write(options.paper, options.profile, options.results)


def _compare(options: Namespace) -> None:
    from mergesuite.judge import compare

    compare.write(config.folder_of(options.paper), options.profile, options.results)


def _tables(options: Namespace) -> None:
    from mergesuite.report import tables

    folder = config.folder_of(options.paper)
    if options.for_paper:
        print(tables.write_for_paper(folder, options.profile, options.results))
    else:
        tables.write(folder, options.profile, options.results)


def _figures(options: Namespace) -> None:
    from mergesuite.report import canvas, figures

    chosen = canvas.Canvas(options.width, options.serif)
    folder = config.folder_of(options.paper)
    made = figures.write(folder, options.profile, options.results, chosen)
    if chosen != canvas.PAGE:
        print(made)


def _papers(options: Namespace) -> list[str]:
    """The papers asked for, or all that can be used at the profile."""
    return options.papers or config.usable(options.profile)[0]


def _report(options: Namespace) -> None:
    from mergesuite.report import forest, page

    folders = [config.folder_of(name) for name in _papers(options)]
    if options.forest:
        return forest.write(folders, options.profile, options.results, options.forest)
    also = [_place(word, options.results) for word in options.also]
    out = options.out or options.results / options.profile / "report" / "index.html"
    page.write(folders, options.profile, options.results, out, also)
    if options.open and not webbrowser.open(out.resolve().as_uri()):
        raise MachineError(f"no browser to show {out}: open it yourself")
    return None


def _place(word: str, results: Path) -> Place:
    """`PROFILE` or `PROFILE@RESULTS` of --also."""
    from mergesuite.report.page import Place

    profile, _, folder = word.partition("@")
    if profile not in PROFILES:
        raise UserError(
            f"--also {word}: expected PROFILE or PROFILE@RESULTS{nearest(profile, PROFILES)}: "
            f"{', '.join(PROFILES)}"
        )
    place = Place(profile, Path(folder) if folder else results)
    if not (place.results / profile).is_dir():
        raise UserError(f"--also {word}: there is no folder {place.results / profile}")
    return place


def _findings(options: Namespace) -> None:
    from mergesuite.report import findings

    asked = _papers(options), options.profile, options.results
    print(findings.table(*asked) if options.markdown else "\n".join(findings.lines(*asked)))


def _check(options: Namespace) -> None:
    from mergesuite.judge import expected

    frames = {
        name: expected.check_paper(config.folder_of(name), options.profile, options.results)
        for name in _papers(options)
    }
    if options.json:
        print(json.dumps({n: json.loads(f.to_json(orient="records")) for n, f in frames.items()}))
    else:
        for name, frame in frames.items():
            print(f"{name}\n{frame.to_markdown(index=False)}\n")
    bad = {n: int(f["status"].isin(["drift", "missing"]).sum()) for n, f in frames.items()}
    if any(bad.values()):
        where = ", ".join(f"{count} in {name}" for name, count in bad.items() if count)
        raise CheckFailed(
            f"measured numbers left their tolerance: {where}; if the change is meant, run "
            "`mergesuite accept` and review the difference"
        )


def _accept(options: Namespace) -> None:
    from mergesuite.judge import expected
    from mergesuite.report.publish import publish, readme

    folder = config.folder_of(options.paper)
    # What cannot be published is refused before anything is pinned.
    text = None if options.only_pin else readme(folder, options.profile, options.results)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    count = expected.accept_paper(
        folder, options.profile, options.results, today, provenance.versions()
    )
    if text is not None:
        publish(folder, options.profile, options.results, text)
    print(f"{count} numbers pinned in {folder / 'expected.csv'}")


def _plan_study(options: Namespace) -> None:
    from mergesuite.judge import plan
    from mergesuite.report.plan import shown

    print(shown(plan.of_results(options.paper, options.profile, options.results)))


def _doctor(options: Namespace) -> None:
    from mergesuite.cli import doctor

    doctor.show(options.papers or config.papers_there(), options.profile)


def _verify(options: Namespace) -> None:
    from mergesuite.cli import rerun, verify

    is_run = (options.folder / sealed.RUN).is_file()
    (rerun if is_run else verify).show(options.folder)


def _rocrate(options: Namespace) -> None:
    from mergesuite.report import crate

    folders = [config.folder_of(name) for name in _papers(options)]
    count = crate.write(
        folders, options.profile, options.results, options.out, options.organisation
    )
    print(f"{options.out}: {count} files and ro-crate-metadata.json")


def _new_paper(options: Namespace) -> None:
    if reason := config.no_name(options.name):
        raise UserError(reason)
    target = config.own_replications() / options.name
    if target.exists():
        raise UserError(f"{target} is already there: choose another name")
    template = config.template()
    if not template.is_dir():
        raise UserError(f"no {template} here: run from the folder that holds replications/")
    part = target.with_name(f".{target.name}.part")
    shutil.copytree(template, part, dirs_exist_ok=True)
    for file in (part / "README.md", part / "paper.yaml"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            store.write_text(file, text.replace(TEMPLATE_NAME, options.name))
    part.rename(target)
    print(f"{target} made: edit paper.yaml, then `mergesuite doctor {options.name}`")


def _list(options: Namespace) -> None:
    from mergesuite.cli import catalogue, listing

    if options.json:
        wanted = [options.what] if options.what else [*listing.LISTS]
        tables = {what: listing.LISTS[what]() for what in wanted}
        print(json.dumps(tables[options.what] if options.what else tables, indent=2))
        return
    # `methods` shows the controls too.
    wanted = [options.what] if options.what else [w for w in listing.LISTS if w != "controls"]
    print(*catalogue.lines(wanted, shutil.get_terminal_size().columns), sep="\n")


COMMANDS = {
    "list": _list,
    "data": _data,
    "train": _train,
    "merge": _merge,
    "evaluate": _evaluate,
    "try": _try,
    "collect": _collect,
    "compare": _compare,
    "tables": _tables,
    "figures": _figures,
    "report": _report,
    "findings": _findings,
    "check": _check,
    "accept": _accept,
    "plan-study": _plan_study,
    "verify": _verify,
    "rocrate": _rocrate,
    "doctor": _doctor,
    "new-paper": _new_paper,
}
