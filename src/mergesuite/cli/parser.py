"""The command line's grammar: one sub-command per stage, named as the workflow's rules are."""

from __future__ import annotations

import argparse
import functools

from mergesuite import __version__
from mergesuite.cli import networks, papers
from mergesuite.errors import UserError


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


@functools.cache
def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands; it keeps nothing of what it has parsed."""
    parser = Parser(
        prog="mergesuite",
        description="Merge and evolve the weights of trained networks, and check what papers say "
        "about it. Every sub-command is one stage of `snakemake --cores all`.",
        epilog="example: mergesuite list methods",
    )
    parser.add_argument("--version", action="version", version=f"mergesuite {__version__}")
    stages = parser.add_subparsers(dest="stage", required=True, parser_class=Parser)
    for add in (papers.add_list, *networks.ADD, *papers.ADD):
        add(stages)
    return parser
