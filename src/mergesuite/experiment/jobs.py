"""From specs to jobs: paths, and the commands' arguments. This is what the Snakefile imports.

A job's arguments say everything that its result depends on, and Snakemake re-runs a job whose
arguments change. So an edit of one entry of a spec re-runs the jobs of that entry and no others,
and each printed command can be pasted into a shell.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from mergesuite.core.provenance import code_digest
from mergesuite.errors import UserError
from mergesuite.experiment import declared, loading, spec
from mergesuite.experiment.spec import Data, Paper, Strict

REPLICATIONS = Path("replications")
MODELS = "trained_models"
"""The group of all models in an evaluation; no name in a spec has an underscore."""


class PerJob(Strict):
    """How many seeds one job takes, one after another in one process; 0: all."""

    train: int = Field(6, ge=0)
    merge: int = Field(6, ge=0)
    evaluate: int = Field(3, ge=0)


class Config(Strict):
    """workflow/config.yaml: what to run here."""

    profile: str = Field("laptop", description="smoke, laptop, cifar-cpu or full")
    papers: list[str] = Field(default_factory=list, description="default: all")
    results: str = Field("results", description="folder for everything that is produced")
    device: str = Field("auto", description="cpu, cuda or auto")
    seeds_per_job: PerJob = PerJob.model_validate({})


def read_config(raw: dict[str, Any]) -> Config:
    """The checked configuration; `papers` may also be one string with commas, or "all".

    Raises:
        UserError: an unknown key, profile or paper.
    """
    papers = raw.get("papers")
    if isinstance(papers, str):
        raw = {**raw, "papers": [name for name in papers.split(",") if name not in ("", "all")]}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(declared.explain(error, Config.model_fields))
        raise UserError(f"workflow/config.yaml or --config: {problems}") from None
    if config.profile not in spec.PROFILES:
        raise UserError(
            f"profile {config.profile!r} is none of {', '.join(spec.PROFILES)}"
            f"{declared.nearest(config.profile, spec.PROFILES)}"
        )
    known = papers_there()
    for name in config.papers:
        if name not in known:
            raise UserError(
                f"papers: there is no replications/{name}{declared.nearest(name, known)}"
            )
    return config.model_copy(update={"papers": config.papers or known})


def gpus() -> int:
    """How many NVIDIA GPUs this machine has, without importing torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def papers_there() -> list[str]:
    """The replications that exist, the template not among them."""
    return sorted(file.parent.name for file in REPLICATIONS.glob("[!_]*/paper.yaml"))


@functools.cache
def paper(name: str, profile: str) -> Paper:
    """The loaded spec of one replication."""
    return loading.paper(REPLICATIONS / name, profile)


def flags(option: str, values: dict[str, Any]) -> list[str]:
    """`option key=value ...`, or nothing where there are no values."""
    if not values:
        return []
    return [option, *(f"{k}={_plain(v)}" for k, v in sorted(values.items()))]


def _plain(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def data_flags(data: Data) -> list[str]:
    """The arguments that name a data set and how much of it is used."""
    normalise = ["--normalise"] if data.normalise else []
    return ["--data", data.name, *flags("--sizes", dict(data.counts())), *normalise]


def data_arguments(data: Data) -> str:
    """What `mergesuite data` is told, beside out."""
    return shlex.join(data_flags(data))


def problem_flags(model: spec.Model, data: Data) -> list[str]:
    """The arguments that name a network and its data."""
    return ["--model", model.build, *flags("--option", dict(model.options)), *data_flags(data)]


class Jobs:
    """The jobs of one paper under one profile."""

    def __init__(self, name: str, config: Config) -> None:
        """Load the spec of paper `name`."""
        self.name, self.config = name, config
        self.paper = paper(name, config.profile)
        self.folder = f"{config.results}/{config.profile}/{name}"
        self.subjects = self.paper.subjects()

    def run_folder(self, subject: str) -> str:
        """The folder of all runs of a model or of ENTRY-POPULATION."""
        stage = "train" if self.subjects[subject] is None else "merge"
        return f"{self.folder}/{stage}/{subject}"

    def run(self, subject: str, seed: int) -> str:
        """The folder of one run of a model or of ENTRY-POPULATION."""
        return f"{self.run_folder(subject)}/s{seed}"

    def seeds(self, subject: str) -> list[int]:
        """The seeds of a model, or the replicates of ENTRY-POPULATION."""
        parts = self.subjects[subject]
        if parts is None:
            return list(range(self.paper.models[subject].seeds))
        return list(range(self.paper.count(parts[1])))

    def runs(self, subject: str) -> list[str]:
        """All run folders of a subject."""
        return [self.run(subject, seed) for seed in self.seeds(subject)]

    def trainings(self) -> list[tuple[str, list[int]]]:
        """Every model, with the seeds of each of its jobs."""
        size = self.config.seeds_per_job.train
        return [(m, seeds) for m in self.paper.active_models() for seeds in self._cut(m, size)]

    def merges(self) -> list[tuple[str, list[str], list[int]]]:
        """Every merge job: its name, subjects and seeds.

        A search is a job of its own. What costs less than the start of a process (best parent,
        average, ensembles ...) shares one per population.
        """
        together: dict[str, list[str]] = {}
        for subject, parts in self.subjects.items():
            if parts is not None:
                free = self._is_free(parts[0])
                together.setdefault(f"controls_{parts[1]}" if free else subject, []).append(subject)
        size = self.config.seeds_per_job.merge
        return [
            (name, subjects, seeds)
            for name, subjects in together.items()
            for seeds in self._cut(subjects[0], size)
        ]

    def _is_free(self, entry: str) -> bool:
        """Whether a method neither searches nor trains."""
        method = self.paper.methods[entry]
        return declared.method_fields(method.use).kind == "one-step" and not method.budget_of

    def evaluations(self) -> list[tuple[str, list[int]]]:
        """Every evaluation job: a group of `measured`, and seeds; none stand for all there are."""
        size = self.config.seeds_per_job.evaluate
        return [
            (group, seeds)
            for group, subjects in self.measured().items()
            for seeds in ([[]] if group == MODELS else self._cut(subjects[0], size))
        ]

    def evaluated(self, group: str, seeds: list[int]) -> list[str]:
        """The run.json files that one evaluation job reads."""
        return [
            f"{self.run(subject, seed)}/run.json"
            for subject in self.measured()[group]
            for seed in seeds or self.seeds(subject)
        ]

    def metrics(self, group: str, seeds: list[int]) -> str:
        """The table that one evaluation job writes, without its ending."""
        part = f"-s{seeds[0]}" if seeds else ""
        return f"{self.folder}/evaluate/{group}{part}"

    def _cut(self, subject: str, size: int) -> list[list[int]]:
        seeds = self.seeds(subject)
        size = size or len(seeds)
        return [seeds[first : first + size] for first in range(0, len(seeds), size)]

    def urgency(self, subject: str) -> int:
        """Jobs that others wait for come first, then those with a budget, which start late."""
        entry, _ = self._parts(subject)
        if any(other.budget_of == entry for other in self.paper.methods.values()):
            return 2
        return 1 if self.paper.methods[entry].budget_of else 0

    def checkpoint(self, model: str, seed: int, epoch: int) -> str:
        """The file with a model's weights after an epoch."""
        last = self.paper.models[model].recipe.epochs
        name = "model" if epoch == last else f"epoch-{epoch:03d}"
        return f"{self.run(model, seed)}/{name}.safetensors"

    def kept(self, model: str) -> list[str]:
        """File names of the epochs that training keeps beside the last."""
        return [
            f"epoch-{epoch:03d}.safetensors"
            for epoch in self.paper.models[model].recipe.kept_epochs()[:-1]
        ]

    def parents(self, subject: str, seed: int) -> list[str]:
        """The checkpoints that one merge reads."""
        _, population = self._parts(subject)
        return [self.checkpoint(*parent) for parent in self.paper.parents(population, seed)]

    def _parts(self, subject: str) -> tuple[str, str]:
        parts = self.subjects.get(subject)
        if parts is None:
            raise UserError(f"{subject!r} is no merged result of {self.name}")
        return parts

    def budget(self, subject: str, seed: int) -> list[str]:
        """The run.json whose budget a merge gets: none or one."""
        entry, population = self._parts(subject)
        other = self.paper.methods[entry].budget_of
        return [f"{self.run(f'{other}-{population}', seed)}/run.json"] if other else []

    def start(self, model: str, seed: int) -> list[str]:
        """The checkpoint that training starts at: none or one."""
        other = self.paper.models[model].start
        if other is None:
            return []
        return [self.checkpoint(other, seed, self.paper.models[other].recipe.epochs)]

    def train_arguments(self, model: str) -> str:
        """What `mergesuite train` is told, beside seed, start and out."""
        entry = self.paper.models[model]
        recipe = entry.recipe.model_dump(exclude_defaults=True)
        return shlex.join(
            [*problem_flags(entry, self.paper.data_of(model)), *flags("--set", recipe)]
        )

    def merge_command(self, subjects: list[str], seeds: list[int]) -> str:
        """What `mergesuite` is told to merge one subject, or several in one process."""
        commands = [self._merge_command(subject, seeds) for subject in subjects]
        return commands[0] if len(commands) == 1 else shlex.join(["batch", *commands])

    def _merge_command(self, subject: str, seeds: list[int]) -> str:
        parents = [file for seed in seeds for file in self.parents(subject, seed)]
        budget = [file for seed in seeds for file in self.budget(subject, seed)]
        rest = [
            *["--parents", *parents],
            *(["--budget-of", *budget] if budget else []),
            *["--seeds", *map(str, seeds)],
            *["--device", self.config.device, "--out", self.run_folder(subject)],
        ]
        return f"merge {self.merge_arguments(subject)} {shlex.join(rest)}"

    def merge_arguments(self, subject: str) -> str:
        """What `mergesuite merge` is told, beside parents, seed, budget and out."""
        slug, population = self._parts(subject)
        entry = self.paper.methods[slug]
        return shlex.join(
            [
                "--method",
                entry.use,
                *problem_flags(self.paper.model_of(population), self.data_of(subject)),
                *flags("--set", entry.params),
                *["--protocol", entry.protocol, "--part", entry.part],
                *flags("--fitness", entry.fitness.model_dump(exclude_defaults=True)),
                *(["--from", "best"] if entry.parents == "best" else []),
                *(["--leaky"] if entry.leaky else []),
            ]
        )

    def data_of(self, subject: str) -> Data:
        """The data of a model, or of the models merged in ENTRY-POPULATION."""
        parts = self.subjects[subject]
        if parts is None:
            return self.paper.data_of(subject)
        population = self.paper.populations[parts[1]]
        return self.paper.data_of(population.model or population.models[0])

    def measured(self) -> dict[str, list[str]]:
        """What one evaluation covers: all models, or all entries of a population."""
        found: dict[str, list[str]] = {}
        for subject, parts in self.subjects.items():
            found.setdefault(parts[1] if parts else MODELS, []).append(subject)
        return found

    def folders(self, group: str) -> list[str]:
        """The folders that hold the runs of a group's subjects."""
        return [self.run_folder(subject) for subject in self.measured()[group]]

    def population(self, group: str) -> list[str]:
        """A group's population; the models have none."""
        return [] if group == MODELS else [group]

    def merge_code(self, subjects: list[str]) -> str:
        """The digest of the code that a merge job runs."""
        uses = [self.paper.methods[self._parts(subject)[0]].use for subject in subjects]
        modules = sorted({declared.method_fields(use).module for use in uses})
        return code_digest("merge", *(f"methods.{module}" for module in modules))


def manifests(jobs: list[Jobs]) -> dict[str, Data]:
    """Every data set with sizes that some job uses, by the slug of its manifest file."""
    return {
        slug(data): data
        for job in jobs
        for data in [job.paper.data, *(job.paper.data_of(m) for m in job.paper.active_models())]
    }


def slug(data: Data) -> str:
    """The name of a data set's manifest: its own name and a digest of what else is set."""
    name = data.name.replace("folder:", "folder-").replace("/", "-").strip("-")
    return f"{name}-{spec.digest(data.model_dump())[:6]}"
