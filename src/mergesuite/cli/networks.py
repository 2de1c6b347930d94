"""The grammar of the commands on networks: data, train, merge, evaluate, try."""

from __future__ import annotations

import argparse
from pathlib import Path

from mergesuite.cli.grammar import add_device, add_run, sub_command
from mergesuite.experiment import flags
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network


def _add_data(stages) -> None:
    stage = sub_command(
        stages,
        "data",
        "fetch and verify a data set, write its manifest",
        "mergesuite data --data digits --out digits.json",
    )
    flags.add(stage, Data)
    stage.add_argument("--out", type=Path, required=True, help="the manifest, a JSON file")


def _add_train(stages) -> None:
    stage = sub_command(
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
    add_run(stage)


def _add_merge(stages) -> None:
    stage = sub_command(
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
    add_run(stage)


def _add_evaluate(stages) -> None:
    stage = sub_command(
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
    add_device(stage)
    stage.add_argument(
        "--out", type=Path, required=True, help="a CSV file; what each run gets right goes beside"
    )


def _add_try(stages) -> None:
    stage = sub_command(
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
    add_device(stage)


ADD = (_add_data, _add_train, _add_merge, _add_evaluate, _add_try)
"""What adds each command, in the order of the help."""
