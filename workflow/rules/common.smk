import os

from snakemake.exceptions import WorkflowError

from mergesuite import plan
from mergesuite.errors import UserError

try:
    CONFIG = plan.read_config(config)
    JOBS = {name: plan.Jobs(name, CONFIG) for name in plan.papers_there()}
except UserError as error:
    raise WorkflowError(str(error)) from None

ROOT = f"{CONFIG.results}/{CONFIG.profile}"
WHERE = f"--profile {CONFIG.profile} --results {CONFIG.results}"
MANIFESTS = plan.manifests(list(JOBS.values()))
FIGURES = ["fitness", "segment", "gains", "reported", "leakage"]
TABLES = ["results", "reported", "leakage", "cost"]

# Local runs get no limit on GPUs from Snakemake, so a GPU job asks for its share of the cores:
# then `--cores all` starts one per GPU. Without a GPU a job is one thread, and seeds fill the cores.
GPUS = plan.gpus() if CONFIG.device != "cpu" else 0
THREADS = max(1, (workflow.cores or 1) // GPUS) if GPUS else 1

# glibc gives large activations back to the system after every batch unless it is told not to;
# fetching them again costs a tenth to a half of an evaluation on a CPU.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4294967296")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "17179869184")


wildcard_constraints:
    paper="|".join(JOBS) or "-",
    group="[a-z0-9-]+",


def job(wildcards):
    return JOBS[wildcards.paper]


def manifest(paper, subject):
    return f"{ROOT}/data/{plan.slug(JOBS[paper].data_of(subject))}.json"


def metrics(wildcards):
    jobs = job(wildcards)
    return [f"{jobs.folder}/evaluate/{group}.csv" for group in jobs.measured()]


def option(name, values):
    """`name value ...`, or nothing without values."""
    return " ".join([name, *values]) if values else ""
