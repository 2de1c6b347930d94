"""What the grammar of several sub-commands has in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def sub_command(stages, name: str, text: str, example: str) -> argparse.ArgumentParser:
    """A sub-command with its help `text` and an example."""
    return stages.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example: {example}",
    )


def add_run(stage: argparse.ArgumentParser) -> None:
    """What every command that computes one run has."""
    stage.add_argument("--seed", type=int, required=True, help="names every random stream")
    stage.add_argument("--out", type=Path, required=True, help="folder for the results")
    stage.add_argument(
        "--force", action="store_true", help="replace a finished result of other settings"
    )
    add_device(stage)


def add_device(stage: argparse.ArgumentParser) -> None:
    """Where to compute."""
    stage.add_argument(
        "--device",
        default=os.environ.get("MERGESUITE_DEVICE", "auto"),
        help="cpu, cuda, cuda:N or auto (default, or what MERGESUITE_DEVICE says)",
    )
