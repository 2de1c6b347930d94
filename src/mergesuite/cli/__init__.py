"""The command line: one sub-command per stage, named as the workflow's rules are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mergesuite import __version__
from mergesuite.cli import commands
from mergesuite.errors import CheckFailed, UserError

LISTS = ("papers", "methods", "models", "datasets", "controls")


class Parser(argparse.ArgumentParser):
    """Bad arguments end in one line on stderr and status 2, like every other bad input."""

    def error(self, message: str):
        """Say what is wrong and where help is."""
        raise UserError(f"{message} (`{self.prog} --help` shows an example)")


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
    _add_list(stages)
    _add_data(stages)
    _add_train(stages)
    _add_merge(stages)
    _add_evaluate(stages)
    _add_collect(stages)
    for name, text in (
        ("compare", "measured next to reported: gains, leakage and verdicts"),
        ("tables", "the paper's tables as CSV, Markdown and LaTeX"),
        ("figures", "the paper's figures as SVG and PDF"),
    ):
        _add_paper_stage(stages, name, text)
    _add_report(stages)
    _add_check(stages)
    _add_accept(stages)
    _add_new_paper(stages)
    _add_batch(stages)
    return parser


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a command line, and its `words` themselves for the record.

    Raises:
        UserError: it is not understood.
    """
    options = build_parser().parse_args(words)
    options.words = words
    return options


def _stage(stages, name: str, text: str, example: str) -> argparse.ArgumentParser:
    stage = stages.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example: {example}",
    )
    function = {"list": "list_entries"}.get(name, name.replace("-", "_"))
    stage.set_defaults(run=getattr(commands, function))
    return stage


def _add_problem(stage: argparse.ArgumentParser, *, model: bool = True) -> None:
    if model:
        stage.add_argument(
            "--model", required=True, help="`mergesuite list models`, or a name of timm/torchvision"
        )
        stage.add_argument(
            "--option", nargs="+", default=[], metavar="K=V", help="arguments of its builder"
        )
    stage.add_argument(
        "--data", required=True, help="`mergesuite list datasets`, or folder:PATH for your images"
    )
    stage.add_argument(
        "--sizes", nargs="+", default=[], metavar="SPLIT=N", help="use N images of a split"
    )
    stage.add_argument(
        "--normalise", action="store_true", help="inputs by channel mean and deviation of fit"
    )


def _add_seeds(stage: argparse.ArgumentParser, several: str) -> None:
    seeds = stage.add_mutually_exclusive_group(required=True)
    seeds.add_argument("--seed", type=int, help="names every random stream")
    seeds.add_argument("--seeds", nargs="+", type=int, metavar="N", help=several)


def _add_run(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    stage.add_argument("--out", type=Path, required=True, help="folder for the results")


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
    _add_problem(stage, model=False)
    stage.add_argument("--out", type=Path, required=True, help="the manifest, a JSON file")


def _add_train(stages) -> None:
    stage = _stage(
        stages,
        "train",
        "train one network (resumes by itself)",
        "mergesuite train --model resnet8 --data digits --set epochs=6 batch=64 --seed 0 --out a",
    )
    _add_problem(stage)
    stage.add_argument(
        "--set", nargs="+", default=[], metavar="K=V", help="fields of a recipe, e.g. lr=0.01"
    )
    stage.add_argument(
        "--start", nargs="+", type=Path, default=[], metavar="FILE",
        help="checkpoint to start from, one per seed; its head may differ",
    )  # fmt: skip
    _add_seeds(stage, "several runs in one process, results go to OUT/sN")
    _add_run(stage)


def _add_merge(stages) -> None:
    stage = _stage(
        stages,
        "merge",
        "merge or evolve trained networks (resumes by itself)",
        "mergesuite merge --method mega --parents a/model.safetensors b/model.safetensors "
        "--model resnet8 --data digits --set population=10 generations=5 --seed 0 --out merged",
    )
    stage.add_argument("--method", required=True, help="`mergesuite list methods`")
    stage.add_argument(
        "--parents", nargs="+", type=Path, required=True, help=".safetensors, or .pt state dicts"
    )
    _add_problem(stage)
    stage.add_argument(
        "--set", nargs="+", default=[], metavar="K=V", help="parameters of the method"
    )
    stage.add_argument(
        "--protocol",
        default="clean",
        choices=("published", "released", "clean"),
        help="default: clean",
    )
    stage.add_argument(
        "--part",
        default="parameters+statistics",
        choices=("parameters", "parameters+statistics"),
        help="what of the network is merged",
    )
    stage.add_argument(
        "--fitness", nargs="+", default=[], metavar="K=V", help="e.g. split=search images=2000"
    )
    stage.add_argument(
        "--from", dest="start_from", default="all", choices=("all", "best"),
        help="best: the same search from copies of the best parent",
    )  # fmt: skip
    stage.add_argument(
        "--budget-of", nargs="+", type=Path, default=[], metavar="RUN.JSON",
        help="run.json whose budget this run gets, one per seed",
    )  # fmt: skip
    stage.add_argument("--leaky", action="store_true", help="allow a search on test images")
    _add_seeds(
        stage,
        "several runs in one process: the parents are divided evenly among the seeds, "
        "results go to OUT/sN",
    )
    _add_run(stage)


def _add_evaluate(stages) -> None:
    stage = _stage(
        stages,
        "evaluate",
        "measure results on the search and test splits",
        "mergesuite evaluate --runs merged --out metrics.csv",
    )
    stage.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        required=True,
        help="folders with run.json, or with s0/run.json, s1/run.json, ...",
    )
    stage.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="only sN of each folder; default: all"
    )
    stage.add_argument(
        "--population", default="", help="of the spec: subjects are called ENTRY-POPULATION"
    )
    stage.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    stage.add_argument(
        "--out", type=Path, required=True, help="a CSV file; what each run gets right goes beside"
    )


def _add_collect(stages) -> None:
    stage = _stage(
        stages,
        "collect",
        "join the metrics of a paper into one tidy table",
        "mergesuite collect results/laptop/mega/evaluate/*.csv --out runs.csv",
    )
    stage.add_argument("metrics", nargs="+", type=Path, help="files of `mergesuite evaluate`")
    stage.add_argument("--out", type=Path, required=True, help="a CSV file")


def _add_profile(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--profile", default="laptop", help="smoke, laptop, cifar-cpu or full")
    stage.add_argument("--results", type=Path, default=Path("results"), help="default: results")


def _add_paper_stage(stages, name: str, text: str) -> None:
    stage = _stage(stages, name, text, f"mergesuite {name} --paper mega --profile laptop")
    stage.add_argument("--paper", required=True, help="a folder of replications/")
    _add_profile(stage)


def _add_report(stages) -> None:
    stage = _stage(
        stages,
        "report",
        "one HTML page of everything, readable offline",
        "mergesuite report --papers mega --profile laptop",
    )
    stage.add_argument("--papers", nargs="+", help="default: all of replications/")
    _add_profile(stage)
    stage.add_argument("--out", type=Path, help="default: RESULTS/PROFILE/report/index.html")


def _add_check(stages) -> None:
    stage = _stage(
        stages,
        "check",
        "measured against expected.csv; status 1 on a regression",
        "mergesuite check --profile laptop",
    )
    stage.add_argument("--papers", nargs="+", help="default: all of replications/")
    _add_profile(stage)
    stage.add_argument("--json", action="store_true", help="for programs")


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


def _add_new_paper(stages) -> None:
    stage = _stage(
        stages,
        "new-paper",
        "start a replication from the template",
        "mergesuite new-paper my-paper",
    )
    stage.add_argument("name", help="folder name: lower case, digits and dashes, at most 24")


def _add_batch(stages) -> None:
    stage = _stage(
        stages,
        "batch",
        "several commands in one process, which starts once",
        "mergesuite batch 'list methods' 'list papers'",
    )
    stage.add_argument("commands", nargs="+", help="each as one word, without `mergesuite`")


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command; returns 0, 1 for a failed check, or 2 for bad input."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        options.run(options)
    except UserError as error:
        print(f"mergesuite: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except CheckFailed as error:
        print(f"mergesuite: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        sys.stderr.close()
    except KeyboardInterrupt:
        print("mergesuite: interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0
