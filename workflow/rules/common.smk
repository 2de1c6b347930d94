import functools
import inspect
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from mergesuite.cli import doctor, ending, host, locks, queue
from mergesuite.core import digests, provenance
from mergesuite.errors import UserError
from mergesuite.experiment import config as settings
from mergesuite.experiment import jobs as planning
from mergesuite.experiment import resources


def checked(ask, *arguments):
    """The answer of `ask`, or an error in the words for its user."""
    try:
        return ask(*arguments)
    except UserError as error:
        raise WorkflowError(str(error)) from None


# The replications that are named, or lie beside this workflow, wherever it is run from; a workflow
# that came without any uses those of the installed package.
beside = Path(str(workflow.current_basedir)).parents[1] / "replications"
if config.get("replications"):
    os.environ[settings.FOLDER] = str(Path(config["replications"]).resolve())
elif beside.is_dir():
    os.environ.setdefault(settings.FOLDER, str(beside))
CONFIG = checked(settings.read_config, config)
# Where a job runs is no parameter of it.
os.environ.update({"MERGESUITE_DEVICE": CONFIG.device})

RESULTS = CONFIG.results
PAPERS, BROKEN = settings.usable(CONFIG.profile)
if CONFIG.papers:
    PAPERS = CONFIG.papers
elif not PAPERS and not BROKEN:
    raise WorkflowError(
        f"no papers in {settings.replications()}: name their folder, --config replications=FOLDER"
    )
if workflow.is_main_process:
    locks.hold()
    for name in BROKEN.keys() - set(PAPERS):
        print(f"left out: {name}: {BROKEN[name]}", file=sys.stderr)
    if "--unlock" in sys.argv:
        checked(queue.settle, Path.cwd())
    if {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
        # What Snakemake was asked for, it does not know before all rules are read.
        asked = doctor.targets(sys.argv[1:], RESULTS, CONFIG.profile)
        for line in doctor.summary(asked or [(n, CONFIG.profile) for n in PAPERS]):
            print(line, file=sys.stderr)

RUN = f"{RESULTS}/{{profile}}/{{paper}}"
RUN_QUOTED = "/".join(
    [shlex.quote(RESULTS), "{wildcards.profile}", "{wildcards.paper}"]
)
FIGURES = [
    "fitness",
    "segment",
    "gains",
    "reported",
    "waterfall",
    "trends",
    "leakage",
    "null",
]
TABLES = ["results", "reported", "price", "controls", "leakage", "selection", "cost"]


# Jobs inherit it; a file is read once, by the Snakemake that starts them.
if workflow.is_main_process and workflow.deployment_settings.deployment_method:
    os.environ[provenance.IMAGE] = checked(settings.container, CONFIG)


# The image that `--sdm apptainer` runs jobs in. A name: a function would be asked for every job.
container: CONFIG.container or "none"


wildcard_constraints:
    profile=r"[a-z0-9-]+",
    paper=r"[a-z0-9-]+",
    model=r"[a-z0-9-]+",
    subject=r"[a-z0-9-]+",
    group=r"[a-z0-9_-]+",
    seed=r"\d+",


@functools.cache
def jobs_of(paper, profile):
    return checked(planning.Jobs, paper, profile, RESULTS)


def ask(question):
    """`question`, put to the jobs of the paper and profile that an output belongs to."""

    def answer(wildcards):
        return question(jobs_of(wildcards.paper, wildcards.profile), wildcards)

    # Snakemake reads it a dozen times a job, and works it out anew where it is not set.
    answer.__signature__ = WITH_WILDCARDS
    return answer


WITH_WILDCARDS = inspect.signature(lambda wildcards: None)
WITH_ATTEMPT = inspect.signature(lambda wildcards, attempt: None)


@functools.cache
def manifests(profile):
    return planning.manifests(profile)


def where(wildcards):
    """The arguments that name a paper's results."""
    return f"--profile {wildcards.profile} --results {shlex.quote(RESULTS)}"


def shown(wildcards):
    """The papers on a page: all that are configured on the index, else the one it is named for."""
    return PAPERS if wildcards.page == "index" else [wildcards.page]


# A limit on GPUs belongs to the machine that has them: it counts for jobs that run here.
resource_scopes:
    gpu="local",


if GPUS := checked(resources.gpus_here):
    workflow.global_resources.setdefault("gpu", GPUS)


def needs(of):
    """The resources of a rule, from what `of` says that one of its jobs needs.

    A job that a cluster had to try again gets as many times the memory and the time.
    """

    def grown(name):
        def answer(wildcards, attempt):
            jobs = jobs_of(wildcards.paper, wildcards.profile)
            return attempt * getattr(of(jobs, wildcards), name)

        answer.__signature__ = WITH_ATTEMPT
        return answer

    return {
        "gpu": ask(lambda jobs, w: of(jobs, w).gpu),
        "mem_mb": grown("mem_mb"),
        "runtime": grown("runtime"),
    }
