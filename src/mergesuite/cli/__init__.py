"""The program `mergesuite`. Nothing is imported before it is known to be needed."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line in the workflow's host, where there is one, or here."""
    words = sys.argv[1:]
    if os.environ.get("MERGESUITE_HOST"):
        from mergesuite.cli import host

        if (status := host.ask(words)) is not None:
            return status
    return run(words)


def run(words: list[str]) -> int:
    """Run one sub-command; returns 0, 1 for a failed check, or 2 for bad input."""
    from mergesuite.cli import commands, parser
    from mergesuite.errors import CheckFailed, UserError

    try:
        commands.run(parser.parse(words))
    except UserError as error:
        print(f"mergesuite: {error}", file=sys.stderr)
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
