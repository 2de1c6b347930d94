"""The program `mergesuite`. Nothing is imported before it is known to be needed."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> int:
    """Run the command line in the workflow's host, where there is one, or here."""
    words = sys.argv[1:]
    if os.environ.get("MERGESUITE_HOST"):
        from mergesuite.cli import host

        if (status := host.ask(words)) is not None:
            return status
        host.end_with_owner()
    return run(words)


def run(words: list[str]) -> int:
    """Run one sub-command, and say in one line why it did not succeed.

    Returns:
        0, 1 for a failed check, 2 for bad input, 3 for what the machine refused (disk, memory,
        permission), or 130 for Ctrl-C.
    """
    from mergesuite.cli import commands, parser
    from mergesuite.errors import CheckFailed, MachineError, UserError, of_machine

    try:
        commands.run(parser.parse(words))
        sys.stdout.flush()
    except MachineError as error:
        return _ended(3, str(error))
    except UserError as error:
        return _ended(2, str(error))
    except CheckFailed as error:
        return _ended(1, str(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        sys.stderr.close()
    except KeyboardInterrupt as stop:
        return _ended(130, str(stop) or "interrupted; the same command resumes")
    except (OSError, MemoryError, RuntimeError) as error:
        if failure := of_machine(error):
            return _ended(3, str(failure))
        raise
    return 0


def _ended(status: int, said: str) -> int:
    """Say it in one line, where there is still room for one."""
    with contextlib.suppress(OSError):
        print(f"mergesuite: {' '.join(said.split())}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk: else Python tries again at its end, and has the last word
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status
