"""From specs to jobs: paths, and the arguments of commands. This is what the Snakefile asks.

A job's arguments say everything that its result depends on, and Snakemake re-runs a job whose
arguments or code change. So an edit of one entry of a spec re-runs the jobs of that entry and no
others, and each printed command can be pasted into a shell.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from typing import Any

from mergesuite.core import digests
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import config, declared, flags, identity
from mergesuite.experiment.settings import Data, Merge, Network, digest
from mergesuite.experiment.spec import Paper

TRAINED = "trained_models"
"""The group of all models in an evaluation; no name in a spec has an underscore."""


class Jobs:
    """The jobs of one paper under one profile."""

    def __init__(self, name: str, profile: str, results: str = "results") -> None:
        """Load the spec of paper `name`; everything it makes goes below `results`."""
        self.name, self.profile = name, profile
        self.paper: Paper = config.paper(name, profile)
        self.folder = f"{results}/{profile}/{name}"
        self.data_folder = f"{results}/{profile}/data"
        self.subjects = self.paper.subjects()

    # Where things are

    def run(self, subject: str, seed: int) -> str:
        """The folder of one run of a model or of ENTRY-POPULATION."""
        stage = "train" if self.subjects[subject] is None else "merge"
        return f"{self.folder}/{stage}/{subject}/s{seed}"

    def seeds(self, subject: str) -> range:
        """The seeds of a model, or the replicates of ENTRY-POPULATION."""
        return self.paper.seeds(subject)

    def runs(self, subject: str) -> list[str]:
        """The run folders of a subject."""
        return [self.run(subject, seed) for seed in self.seeds(subject)]

    def checkpoint(self, model: str, seed: int, epoch: int) -> str:
        """The file with a model's weights after an epoch."""
        last = self.paper.models[model].recipe.epochs
        name = "model" if epoch == last else f"epochs/{epoch:03d}"
        return f"{self.run(model, seed)}/{name}.safetensors"

    def parents(self, subject: str, seed: int) -> list[str]:
        """The checkpoints that one merge reads."""
        _, population = self._parts(subject)
        return [self.checkpoint(*parent) for parent in self.paper.parents(population, seed)]

    def parent_files(self, subject: str, seed: int) -> list[str]:
        """The same as outputs of `train`: the kept epochs of one training are one folder."""
        found = {}
        for file in self.parents(subject, seed):
            folder, _, name = file.rpartition("/")
            found[folder if folder.endswith("/epochs") else file] = name
        return list(found)

    def start(self, model: str, seed: int) -> str | None:
        """The checkpoint that training starts at."""
        other = self.paper.models[model].start
        if other is None:
            return None
        return self.checkpoint(other, seed, self.paper.models[other].recipe.epochs)

    def budget(self, subject: str, seed: int) -> str | None:
        """The run.json whose budget a merge gets."""
        entry, population = self._parts(subject)
        other = self.paper.methods[entry].budget_of
        return f"{self.run(f'{other}-{population}', seed)}/run.json" if other else None

    def manifest(self, model: str) -> str:
        """The manifest of the data that a model is trained on."""
        return f"{self.data_folder}/{slug(self.paper.data_of(model))}.json"

    @functools.cached_property
    def groups(self) -> dict[str, list[str]]:
        """What is measured together: all models, or all entries of a population."""
        found: dict[str, list[str]] = {}
        for subject, parts in self.subjects.items():
            found.setdefault(parts[1] if parts else TRAINED, []).append(subject)
        return found

    def measured(self, group: str, seed: int) -> list[str]:
        """The run folders that one evaluation reads."""
        return [self.run(s, seed) for s in self.groups[group] if seed in self.seeds(s)]

    def measured_files(self, group: str, seed: int) -> list[str]:
        """The weights in these folders."""
        return [f"{folder}/model.safetensors" for folder in self.measured(group, seed)]

    def population(self, group: str) -> str:
        """What `mergesuite evaluate` is told of a group's population; the models have none."""
        return "" if group == TRAINED else f"--population {group}"

    def metrics(self) -> list[str]:
        """The tables of all evaluations, without their ending."""
        return [
            f"{self.folder}/evaluate/{group}/s{seed}"
            for group, subjects in self.groups.items()
            for seed in range(max(len(self.seeds(subject)) for subject in subjects))
        ]

    # What commands are told

    @functools.cache  # noqa: B019
    def train_arguments(self, model: str) -> str:
        """What `mergesuite train` is told, beside seed, start, device and out."""
        entry = self.paper.models[model]
        recipe = entry.recipe.model_dump(exclude_defaults=True)
        return shlex.join([*self._problem(model), *flags.mapping("--set", recipe)])

    @functools.cache  # noqa: B019
    def merge_arguments(self, subject: str) -> str:
        """What `mergesuite merge` is told, beside parents, seed, budget, device and out."""
        how = Merge.model_validate(self._merge(subject))
        return shlex.join([*flags.words(how), *self._problem(self._model(subject))])

    def _merge(self, subject: str) -> dict[str, Any]:
        entry = self.paper.methods[self._parts(subject)[0]]
        return {name: getattr(entry, name) for name in Merge.model_fields}

    def _problem(self, model: str) -> list[str]:
        """The arguments that name a network and its data."""
        return [*flags.words(self._network(model)), *flags.words(self.paper.data_of(model))]

    def _network(self, model: str) -> Network:
        entry = self.paper.models[model]
        return Network(build=entry.build, options=entry.options)

    def _model(self, subject: str) -> str:
        """A model itself, or the one whose networks are merged in ENTRY-POPULATION."""
        parts = self.subjects[subject]
        if parts is None:
            return subject
        population = self.paper.populations[parts[1]]
        return population.model or population.models[0]

    def _parts(self, subject: str) -> tuple[str, str]:
        parts = self.subjects.get(subject)
        if parts is None:
            raise UserError(
                f"{subject!r} is no merged result of {self.name}{nearest(subject, self.subjects)}"
            )
        return parts

    # What results must be

    @functools.cache  # noqa: B019
    def spec(self, subject: str, seed: int) -> str:
        """The spec that a run's run.json must have (see `identity`)."""
        model = self._model(subject)
        network, data = self._network(model), self.paper.data_of(model)
        parts = self.subjects[subject]
        if parts is None:
            start = self.paper.models[subject].start
            recipe = self.paper.models[subject].recipe
            begun = self.spec(start, seed) if start else None
            return identity.spec(identity.training(network, data, recipe, begun))
        parents = [
            identity.checkpoint_spec(
                self.spec(name, number), None if epoch == self._last(name) else epoch
            )
            for name, number, epoch in self.paper.parents(parts[1], seed)
        ]
        other = self.paper.methods[parts[0]].budget_of
        budget = self.spec(f"{other}-{parts[1]}", seed) if other else None
        how = Merge.model_validate(self._merge(subject))
        return identity.spec(identity.merging(network, data, how, parents, budget))

    def _last(self, model: str) -> int:
        return self.paper.models[model].recipe.epochs

    @functools.cache  # noqa: B019
    def code(self, subject: str) -> str:
        """The digest of the code that makes a run of `subject`."""
        parts = self.subjects[subject]
        stage = "stages.train" if parts is None else "stages.merge"
        return digests.code(stage, *self._modules(subject))

    def _modules(self, subject: str) -> tuple[str, ...]:
        parts, model = self.subjects[subject], self._model(subject)
        return declared.modules(
            build=self.paper.models[model].build,
            data=self.paper.data_of(model).name,
            method=self.paper.methods[parts[0]].use if parts else "",
        )

    @functools.cache  # noqa: B019
    def evaluate_code(self, group: str) -> str:
        """The digest of the code that measures a group."""
        modules = {module for subject in self.groups[group] for module in self._modules(subject)}
        return digests.code("stages.evaluate", *sorted(modules))


def slug(data: Data) -> str:
    """The name of a data set's manifest: its own name and a digest of what else is set."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", data.name).strip("-.")[-40:]
    return f"{name}-{digest(data.model_dump())[:6]}"


def manifests(profile: str) -> Mapping[str, Data]:
    """Every data set with sizes that some job of a profile uses, by the slug of its manifest."""
    papers = [config.paper(name, profile) for name in config.usable(profile)[0]]
    used = [data for p in papers for data in [p.data, *(p.data_of(m) for m in p.active_models())]]
    return {slug(data): data for data in used}


def data_arguments(data: Data) -> str:
    """What `mergesuite data` is told, beside out."""
    return shlex.join(flags.words(data))


def data_code(data: Data) -> str:
    """The digest of the code that reads a data set."""
    return digests.code("data", *declared.modules(data=data.name))
