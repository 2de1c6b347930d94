"""The grammar of the commands on papers and on folders of results, and of what there is."""

from __future__ import annotations

import argparse
from pathlib import Path

from mergesuite.cli.grammar import sub_command
from mergesuite.errors import UserError, nearest
from mergesuite.experiment.spec import PROFILES

LISTS = ("papers", "methods", "models", "datasets", "test-sets", "controls")


def add_list(stages) -> None:
    """`list` stands first in the help."""
    stage = sub_command(stages, "list", "what is registered", "mergesuite list methods --json")
    stage.add_argument("what", nargs="?", choices=LISTS, help="default: everything")
    stage.add_argument("--json", action="store_true", help="for programs")


def _profile(name: str) -> str:
    if name not in PROFILES:
        raise UserError(f"no profile {name!r}{nearest(name, PROFILES)}: {', '.join(PROFILES)}")
    return name


def _add_profile(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--profile",
        default="laptop",
        type=_profile,
        help="smoke, laptop, cifar-cpu, full or imagenet",
    )
    stage.add_argument("--results", type=Path, default=Path("results"), help="default: results")


def _add_paper_stages(stages) -> None:
    for name, text in (
        ("collect", "join the metrics of a paper into one tidy table"),
        ("compare", "measured next to reported: gains, leakage and verdicts"),
        ("tables", "the paper's tables as CSV, Markdown and LaTeX"),
        ("figures", "the paper's figures as SVG and PDF"),
    ):
        stage = sub_command(stages, name, text, f"mergesuite {name} --paper mega --profile laptop")
        stage.add_argument("--paper", required=True, help="a folder of replications/")
        _add_profile(stage)
        if name == "tables":
            stage.add_argument(
                "--for-paper",
                action="store_true",
                help="instead, excerpts of at most ten rows for a document, in for-paper/tables/",
            )
        if name == "figures":
            _add_canvas(stage)


def _add_canvas(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--width",
        choices=("page", "single", "double"),
        default="page",
        help="of the page (default), or of one or two columns of a paper, in for-paper/WIDTH/",
    )
    stage.add_argument("--serif", action="store_true", help="in STIX, a Times")


def _add_papers(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--papers", nargs="+", help="default: all that have the profile")
    _add_profile(stage)


def _add_report(stages) -> None:
    stage = sub_command(
        stages,
        "report",
        "one HTML page of everything, readable offline",
        "mergesuite report --papers mega --profile laptop --open",
    )
    _add_papers(stage)
    stage.add_argument("--out", type=Path, help="default: RESULTS/PROFILE/report/index.html")
    stage.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="PROFILE[@RESULTS]",
        help="results of other profiles, or of other machines, that stand beside on the page",
    )
    stage.add_argument("--open", action="store_true", help="show the page in a browser")
    stage.add_argument(
        "--forest",
        type=Path,
        metavar="FILE",
        help="write the plot of all claims alone: .svg or .pdf",
    )


def _add_findings(stages) -> None:
    stage = sub_command(
        stages,
        "findings",
        "what became of each paper, in one line",
        "mergesuite findings --profile laptop",
    )
    _add_papers(stage)
    stage.add_argument("--markdown", action="store_true", help="as a table, with what is free")


def _add_check(stages) -> None:
    stage = sub_command(
        stages,
        "check",
        "measured against expected.csv; status 1 on a regression",
        "mergesuite check --profile laptop",
    )
    _add_papers(stage)
    stage.add_argument("--json", action="store_true", help="for programs")


def _add_plan_study(stages) -> None:
    stage = sub_command(
        stages,
        "plan-study",
        "from a pilot run: what each claim would need to be decided, and its price",
        "mergesuite plan-study --paper cade --profile laptop",
    )
    stage.add_argument("--paper", required=True, help="a folder of replications/")
    _add_profile(stage)


def _add_accept(stages) -> None:
    stage = sub_command(
        stages,
        "accept",
        "pin the measured numbers in expected.csv, publish tables, figures and verdicts",
        "mergesuite accept --paper mega --profile laptop",
    )
    stage.add_argument(
        "--only-pin",
        action="store_true",
        help="leave results/published and the paper's README as they are",
    )
    stage.add_argument("--paper", required=True, help="a folder of replications/")
    _add_profile(stage)


def _add_verify(stages) -> None:
    stage = sub_command(
        stages,
        "verify",
        "whether files of results are still what the stages wrote, and whether a run comes out the "
        "same when it is made again; status 1 if not",
        "mergesuite verify results/laptop",
    )
    stage.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("results"),
        help="a folder of results (default: results), whose files are compared with their "
        "checksums; or that of one run of train or merge, which is made again elsewhere",
    )


def _add_rocrate(stages) -> None:
    stage = sub_command(
        stages,
        "rocrate",
        "pack tables, figures, verdicts and records as an RO-Crate, for an archive",
        "mergesuite rocrate --profile laptop --out laptop.zip",
    )
    _add_papers(stage)
    stage.add_argument(
        "--out", type=Path, required=True, help="a file .zip, or a folder that is not there yet"
    )
    stage.add_argument(
        "--organisation", default="", help="who ran and publishes it, if the crate is to say so"
    )


def _add_doctor(stages) -> None:
    stage = sub_command(
        stages,
        "doctor",
        "what is wrong or doubtful in a replication's spec; status 1 if something is wrong",
        "mergesuite doctor mega --profile laptop",
    )
    stage.add_argument("papers", nargs="*", help="folders of replications/; default: all")
    stage.add_argument("--profile", type=_profile, help="default: every profile that the spec has")


def _add_new_paper(stages) -> None:
    stage = sub_command(
        stages,
        "new-paper",
        "start a replication from the template",
        "mergesuite new-paper my-paper",
    )
    stage.add_argument("name", help="folder name: lower case, digits and dashes, at most 24")


ADD = (
    _add_paper_stages, _add_report, _add_findings, _add_check, _add_accept, _add_plan_study,
    _add_verify, _add_rocrate, _add_doctor, _add_new_paper,
)  # fmt: skip
"""What adds each command but `list`, in the order of the help."""
