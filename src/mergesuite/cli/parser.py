"""The command line's grammar: one sub-command per stage, named as the workflow's rules are."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mergesuite import __version__
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import flags
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.experiment.spec import PROFILES

LISTS = ("papers", "methods", "models", "datasets", "test-sets", "controls")


class Parser(argparse.ArgumentParser):
    """Bad arguments end in one line on stderr and status 2, like every other bad input."""

    def error(self, message: str):
        """Say what is wrong and where help is."""
        raise UserError(f"{message} (`{self.prog} --help` shows an example)")


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a command line, and its `words` themselves for the record.

    Raises:
        UserError: it is not understood.
    """
    options = build_parser().parse_args(words)
    options.words = words
    return options


def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands."""
    parser = Parser(
        prog="mergesuite",
        description="Merge and evolve the weights of trained networks, and check what papers say "
        "about it. Every sub-command is one stage of `snakemake --cores all`.",
        epilog="example: mergesuite list methods",
    )
    parser.add_argument("--version", action="version", version=f"mergesuite {__version__}")
    stages = parser.add_subparsers(dest="stage", required=True, parser_class=Parser)
    for add in (
        _add_list, _add_data, _add_train, _add_merge, _add_evaluate, _add_try, _add_paper_stages,
        _add_report, _add_findings, _add_check, _add_accept, _add_plan_study, _add_verify,
        _add_rocrate, _add_doctor, _add_new_paper,
    ):  # fmt: skip
        add(stages)
    return parser


def _stage(stages, name: str, text: str, example: str) -> argparse.ArgumentParser:
    return stages.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example: {example}",
    )


def _add_run(stage: argparse.ArgumentParser) -> None:
    """What every command that computes one run has."""
    stage.add_argument("--seed", type=int, required=True, help="names every random stream")
    stage.add_argument("--out", type=Path, required=True, help="folder for the results")
    stage.add_argument(
        "--force", action="store_true", help="replace a finished result of other settings"
    )
    _add_device(stage)


def _add_device(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--device",
        default=os.environ.get("MERGESUITE_DEVICE", "auto"),
        help="cpu, cuda, cuda:N or auto (default, or what MERGESUITE_DEVICE says)",
    )


def _add_list(stages) -> None:
    stage = _stage(stages, "list", "what is registered", "mergesuite list methods --json")
    stage.add_argument("what", nargs="?", choices=LISTS, help="default: everything")
    stage.add_argument("--json", action="store_true", help="for programs")


def _add_data(stages) -> None:
    stage = _stage(
        stages,
        "data",
        "fetch and verify a data set, write its manifest",
        "mergesuite data --data digits --out digits.json",
    )
    flags.add(stage, Data)
    stage.add_argument("--out", type=Path, required=True, help="the manifest, a JSON file")


def _add_train(stages) -> None:
    stage = _stage(
        stages,
        "train",
        "train one network (resumes by itself)",
        "mergesuite train --model resnet8 --data digits --set epochs=6 batch=64 --seed 0 --out a",
    )
    stage.formatter_class = argparse.RawDescriptionHelpFormatter
    keys = flags.described(Recipe)
    stage.epilog = f"keys of --set, with their defaults:\n{keys}\n\n{stage.epilog}"
    flags.add(stage, Network)
    flags.add(stage, Data)
    stage.add_argument(
        "--set", nargs="+", default=[], metavar="K=V", help="keys of the recipe: see below"
    )
    stage.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="checkpoint to start from, or torchvision:NETWORK@WEIGHTS, timm:NETWORK.TAG; its head "
        "may differ",
    )
    _add_run(stage)


def _add_merge(stages) -> None:
    stage = _stage(
        stages,
        "merge",
        "merge or evolve trained networks (resumes by itself)",
        "mergesuite merge --method mega --parents a/model.safetensors b/model.safetensors "
        "--model resnet8 --data digits --set population=10 generations=5 --seed 0 --out merged",
    )
    stage.add_argument(
        "--parents",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help=".safetensors, .pt state dicts, torchvision:NETWORK@WEIGHTS or timm:NETWORK.TAG",
    )
    flags.add(stage, Merge)
    flags.add(stage, Network)
    flags.add(stage, Data)
    stage.add_argument(
        "--budget-of", type=Path, metavar="RUN.JSON", help="run whose budget this one gets"
    )
    _add_run(stage)


def _add_evaluate(stages) -> None:
    stage = _stage(
        stages,
        "evaluate",
        "measure results on the search and test splits, and on other images",
        "mergesuite evaluate --runs merged --out metrics.csv",
    )
    stage.add_argument(
        "--runs", nargs="+", type=Path, required=True, help="folders of finished runs"
    )
    stage.add_argument(
        "--population", default="", help="of the spec: subjects are called ENTRY-POPULATION"
    )
    stage.add_argument(
        "--on",
        nargs="+",
        default=[],
        metavar="NAME={...}",
        help="further sets of images, e.g. noise-3='{corruption: gaussian-noise, severity: 3}'; "
        "with name: one of `mergesuite list test-sets`, or folder:PATH",
    )
    _add_device(stage)
    stage.add_argument(
        "--out", type=Path, required=True, help="a CSV file; what each run gets right goes beside"
    )


def _add_try(stages) -> None:
    stage = _stage(
        stages,
        "try",
        "what merging your networks is worth: every method and free control, one answer",
        "mergesuite try a.pt b.pt --model torchvision:resnet18 --data folder:images@64",
    )
    stage.add_argument(
        "parents",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="two or more: .safetensors, .pt state dicts, torchvision:NETWORK@WEIGHTS or "
        "timm:NETWORK.TAG",
    )
    flags.add(stage, Network)
    flags.add(stage, Data)
    stage.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="candidates that each search may have scored; default: 20 to 100, as many as take "
        "minutes",
    )
    stage.add_argument(
        "--only", nargs="+", metavar="NAME", help="the methods and controls to run; default: all"
    )
    stage.add_argument("--seed", type=int, default=0, help="names every random stream (default: 0)")
    stage.add_argument(
        "--out", type=Path, default=Path("tried"), help="folder for the results (default: tried)"
    )
    stage.add_argument("--force", action="store_true", help="replace results that are there")
    _add_device(stage)


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
        stage = _stage(stages, name, text, f"mergesuite {name} --paper mega --profile laptop")
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
    stage = _stage(
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
    stage = _stage(
        stages,
        "findings",
        "what became of each paper, in one line",
        "mergesuite findings --profile laptop",
    )
    _add_papers(stage)


def _add_check(stages) -> None:
    stage = _stage(
        stages,
        "check",
        "measured against expected.csv; status 1 on a regression",
        "mergesuite check --profile laptop",
    )
    _add_papers(stage)
    stage.add_argument("--json", action="store_true", help="for programs")


def _add_plan_study(stages) -> None:
    stage = _stage(
        stages,
        "plan-study",
        "from a pilot run: what each claim would need to be decided, and its price",
        "mergesuite plan-study --paper cade --profile laptop",
    )
    stage.add_argument("--paper", required=True, help="a folder of replications/")
    _add_profile(stage)


def _add_accept(stages) -> None:
    stage = _stage(
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
    stage = _stage(
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
    stage = _stage(
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
    stage = _stage(
        stages,
        "doctor",
        "what is wrong or doubtful in a replication's spec; status 1 if something is wrong",
        "mergesuite doctor mega --profile laptop",
    )
    stage.add_argument("papers", nargs="*", help="folders of replications/; default: all")
    stage.add_argument("--profile", type=_profile, help="default: every profile that the spec has")


def _add_new_paper(stages) -> None:
    stage = _stage(
        stages,
        "new-paper",
        "start a replication from the template",
        "mergesuite new-paper my-paper",
    )
    stage.add_argument("name", help="folder name: lower case, digits and dashes, at most 24")
