import os

from snakemake.exceptions import WorkflowError

from mergesuite.experiment import jobs as plan
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


wildcard_constraints:
    paper="|".join(JOBS) or "-",


def manifest(paper, subject):
    return f"{ROOT}/data/{plan.slug(JOBS[paper].data_of(subject))}.json"


def metrics(wildcards):
    jobs = JOBS[wildcards.paper]
    return [f"{jobs.metrics(group, seeds)}.csv" for group, seeds in jobs.evaluations()]


def hits(wildcards):
    return [f"{file[:-4]}.hits.safetensors" for file in metrics(wildcards)]


def option(name, values):
    """`name value ...`, or nothing without values."""
    values = list(values)
    return " ".join([name, *values]) if values else ""
