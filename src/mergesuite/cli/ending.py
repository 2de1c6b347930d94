"""What a workflow says when it ends: the findings and the page, or what failed and what to do.

Called by the handlers of workflow/Snakefile, which hand over Snakemake's own jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mergesuite.errors import UserError

SHOWN = 5
"""Failed jobs that are named; the others are counted."""


def well(jobs: Iterable[Any], results: Path, folder: Path | None = None) -> list[str]:
    """The findings behind each page among the outputs of `jobs`; nothing where there is none.

    `folder`: where a page lies, if not below the folder that the user is in.
    """
    from mergesuite.report import findings  # pandas, which nobody waits for at the start

    said: list[str] = []
    pages = sorted((job for job in jobs if job.rule.name == "report"), key=lambda job: job.output)
    for job in pages:
        try:
            found = findings.lines(job.params.papers, job.wildcards.profile, results)
        except UserError as error:
            found = [str(error)]
        page = (folder or Path()) / str(job.output[0])
        said += [f"findings, profile {job.wildcards.profile}:", *(f"  {line}" for line in found)]
        said += [f"  page: {page}"]
    return said


def badly(failed: Iterable[Any]) -> list[str]:
    """What failed, why by the last line of its log, and what to do next."""
    jobs = sorted((job for one in failed for job in getattr(one, "jobs", [one])), key=_name)
    if not jobs:
        return ["stopped before the end; what is finished stays: the same command goes on"]
    said = [f"failed: {len(jobs)} job{'s' * (len(jobs) > 1)}"]
    for job in jobs[:SHOWN]:
        log = Path(str(job.log[0])) if job.log else None
        said.append(f"  {_name(job)}: {_why(log)}")
    if len(jobs) > SHOWN:
        said.append(f"  and {len(jobs) - SHOWN} more")
    return [*said, "what is finished stays: mend what these lines name, and run the same command"]


def _name(job: Any) -> str:
    """`train mega resnet56 s0`."""
    words = {key: str(value) for key, value in dict(job.wildcards).items() if key != "profile"}
    if "seed" in words:
        words["seed"] = f"s{words['seed']}"
    return " ".join([job.rule.name, *words.values()])


def _why(log: Path | None) -> str:
    """The line in which a command said why it ended, or where to read on."""
    lines = _last(log) if log else []
    ours = [line for line in lines if line.startswith("mergesuite: ")]
    if ours:
        return ours[-1].removeprefix("mergesuite: ")
    return f"see {log}" if lines else "it was killed, or could not be started"


def _last(log: Path) -> Sequence[str]:
    """The end of a log, as lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 10_000))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
