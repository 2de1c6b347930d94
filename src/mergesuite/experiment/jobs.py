"""From specs to jobs: paths, and the arguments of commands. This is what the Snakefile asks.

A job's arguments say everything that its result depends on, and Snakemake re-runs a job whose
arguments or code change. So an edit of one entry of a spec re-runs the jobs of that entry and no
others, and each printed command can be pasted into a shell.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergesuite.core import digests
from mergesuite.core.imagefiles import listing
from mergesuite.errors import UserError, nearest
from mergesuite.experiment import config, declared, flags, foreign, identity, resources
from mergesuite.experiment.settings import Data, Merge, Network, digest
from mergesuite.experiment.spec import Checkpoint, Paper, replicate_of

TRAINED = "trained_models"
"""The group of models that are in no population; no name in a spec has an underscore."""

remembered = functools.cache
"""For methods: jobs live as long as the process, so what their caches hold may too."""


class Jobs:
    """The jobs of one paper under one profile."""

    def __init__(self, name: str, profile: str, results: str = "results") -> None:
        """Load the spec of paper `name`; everything it makes goes below `results`."""
        self.name, self.profile, self.results = name, profile, results
        self.paper: Paper = config.paper(name, profile)
        self.folder = f"{results}/{profile}/{name}"
        self.data_folder = f"{results}/{profile}/data"
        self.subjects = self.paper.subjects()

    # Where things are

    def run(self, subject: str, seed: int) -> str:
        """The folder of one run of a model or of ENTRY-POPULATION."""
        if self.subjects[subject] is None:
            return f"{self._trained_in(subject)}/train/{subject}/s{seed}"
        return f"{self.folder}/merge/{subject}/s{seed}"

    @remembered
    def _trained_in(self, model: str) -> str:
        """The folder of the paper whose runs of a model are taken.

        That is another one only where it trains the very same: a paper that is broken or changed
        costs those it shares with a training, and nothing else.
        """
        other = self.paper.models[model].shared_with
        with contextlib.suppress(UserError):
            if other and self._equals(Jobs(other, self.profile, self.results), model):
                return f"{self.results}/{self.profile}/{other}"
        return self.folder

    def trains(self, model: str) -> bool:
        """Whether a model is trained by a job of this paper, and not by one of another."""
        return self._trained_in(model) == self.folder

    def _equals(self, other: Jobs, model: str) -> bool:
        """Whether another paper trains a model of ours itself, by the same name and as often."""
        return (
            model in other.subjects
            and other.paper.models[model].shared_with is None
            and set(self.seeds(model)) <= set(other.seeds(model))
            and other.spec(model, 0) == self.spec(model, 0)
        )

    @remembered
    def seeds(self, subject: str) -> list[int]:
        """The seeds of a model, or of the searches of ENTRY-POPULATION."""
        return self.paper.seeds(subject)

    def runs(self, subject: str) -> list[str]:
        """The run folders of a subject."""
        return [self.run(subject, seed) for seed in self.seeds(subject)]

    @remembered
    def weights(self, of: Checkpoint | Path) -> str:
        """The file with the weights of a run, or that a user has, or the name of published ones.

        Raises:
            UserError: the user's file is not there.
        """
        if isinstance(of, Path):
            if foreign.is_weights(str(of)):
                return str(of)
            path = config.folder_of(self.name) / of
            if not path.is_file():
                raise UserError(
                    f"{config.folder_of(self.name)}/paper.yaml names {str(of)!r}, and there is no "
                    f"{path}: put the file there or correct the path (from the folder of the paper)"
                )
            return str(path)
        name = f"epochs/{of.kept}" if of.kept else "model"
        return f"{self.run(of.subject, of.seed)}/{name}.safetensors"

    def parents(self, subject: str, seed: int) -> list[str]:
        """The checkpoints that one merge reads."""
        return [self.weights(of) for of in self._parents(subject, seed)]

    def merge_files(self, subject: str, seed: int) -> list[str]:
        """What a merge waits for: its parents, and the run whose budget it gets."""
        found = [file for of in self._parents(subject, seed) for file in self._files(of)]
        budget = self.budget(subject, seed)
        return list(dict.fromkeys([*found, budget] if budget else found))

    def _files(self, of: Checkpoint | Path) -> list[str]:
        """The weights of a run, and its record, without which it is not finished.

        The kept epochs of one training are one folder. Published weights are no input: whoever
        needs them first fetches them.
        """
        if isinstance(of, Path):
            return [] if foreign.is_weights(str(of)) else [self.weights(of)]
        run = self.run(of.subject, of.seed)
        return [f"{run}/epochs" if of.kept else self.weights(of), f"{run}/run.json"]

    @remembered
    def _parents(self, subject: str, seed: int) -> list[Checkpoint | Path]:
        return self.paper.parents(self._parts(subject)[1], seed)

    def start(self, model: str, seed: int) -> str | None:
        """The checkpoint that training starts at."""
        of = self.paper.start_of(model, seed)
        return None if of is None else self.weights(of)

    def train_files(self, model: str, seed: int) -> list[str]:
        """What a training waits for: the manifest of its data, and the run that it starts at."""
        of = self.paper.start_of(model, seed)
        return [self.manifest(model), *([] if of is None else self._files(of))]

    def budget(self, subject: str, seed: int) -> str | None:
        """The run.json whose budget a merge gets."""
        entry, population = self._parts(subject)
        other = self.paper.methods[entry].budget_of
        return f"{self.run(*self._budget_run(other, population, seed))}/run.json" if other else None

    def _budget_run(self, other: str, population: str, seed: int) -> tuple[str, int]:
        """Whose budget a search gets: that of the same search, or of the only one there is."""
        subject = f"{other}-{population}"
        return subject, seed if seed in self.seeds(subject) else replicate_of(seed)

    @remembered
    def manifest(self, model: str) -> str:
        """The manifest of the data that a model is trained on."""
        return f"{self.data_folder}/{slug(self.paper.data_of(model))}.json"

    @functools.cached_property
    def evaluations(self) -> dict[tuple[str, int], list[tuple[str, int]]]:
        """What is measured together, (subject, seed) by (group, replicate).

        That is all searches of a replicate of a population, and the trainings behind its members,
        each where it is met first: what a network computes is then computed once. Models that are
        no member of anything are measured by their seeds.
        """
        found: dict[tuple[str, int], list[tuple[str, int]]] = {}
        trained = []
        for subject, parts in self.subjects.items():
            for seed in self.seeds(subject):
                if parts:
                    place = (parts[1], replicate_of(seed))
                    found.setdefault(place, []).append((subject, seed))
                else:
                    trained.append((subject, seed))
        homes: dict[tuple[str, int], tuple[str, int]] = {}
        for place in found:
            for of in self.paper.parents(*place):
                if isinstance(of, Checkpoint):
                    homes.setdefault((of.subject, of.seed), place)
        for run in trained:
            found.setdefault(homes.get(run, (TRAINED, run[1])), []).append(run)
        return found

    @functools.cached_property
    def groups(self) -> dict[str, list[str]]:
        """The subjects of each group of evaluations."""
        found: dict[str, dict[str, None]] = {}
        for (group, _), runs in self.evaluations.items():
            found.setdefault(group, {}).update(dict.fromkeys(subject for subject, _ in runs))
        return {group: list(subjects) for group, subjects in found.items()}

    def measured(self, group: str, replicate: int) -> list[str]:
        """The run folders that one evaluation reads.

        Raises:
            UserError: there is no such evaluation.
        """
        if (group, replicate) not in self.evaluations:
            raise UserError(
                f"{self.name} has no evaluation {group}/s{replicate}{nearest(group, self.groups)}; "
                f"its groups are {', '.join(self.groups)}"
            )
        return [self.run(*run) for run in self.evaluations[group, replicate]]

    def measured_files(self, group: str, replicate: int) -> list[str]:
        """The weights and the records in these folders."""
        names = ("model.safetensors", "run.json")
        return [f"{folder}/{name}" for folder in self.measured(group, replicate) for name in names]

    def metrics(self) -> list[str]:
        """The tables of all evaluations, without their ending."""
        return [
            f"{self.folder}/evaluate/{group}/s{replicate}" for group, replicate in self.evaluations
        ]

    # What commands are told

    def train_arguments(self, model: str, seed: int) -> str:
        """What `mergesuite train` is told, beside seed, device and out."""
        start = self.start(model, seed)
        return self._trained_by(model) + (f" --start {shlex.quote(start)}" if start else "")

    @remembered
    def _trained_by(self, model: str) -> str:
        recipe = self.paper.models[model].recipe.model_dump(exclude_defaults=True)
        return shlex.join([*self._problem(model), *flags.mapping("--set", recipe)])

    def merge_arguments(self, subject: str, seed: int) -> str:
        """What `mergesuite merge` is told, beside seed, device and out."""
        budget = self.budget(subject, seed)
        files = ["--parents", *self.parents(subject, seed)]
        files += ["--budget-of", budget] if budget else []
        return f"{self._merged_by(subject)} {shlex.join(files)}"

    @remembered
    def _merged_by(self, subject: str) -> str:
        how = Merge.model_validate(self._merge(subject))
        return shlex.join([*flags.words(how), *self._problem(self.paper.model_of(subject))])

    def evaluate_arguments(self, group: str, replicate: int) -> str:
        """What `mergesuite evaluate` is told, beside device and out."""
        population = [] if group == TRAINED else ["--population", group]
        runs = ["--runs", *self.measured(group, replicate)]
        return shlex.join([*runs, *population, *flags.mapping("--on", self._others(group))])

    def _others(self, group: str) -> dict[str, Any]:
        """The sets of images that the networks of a group are measured on, beside the splits."""
        names = {self.paper.data_of(model).name for model in self._models(group)}
        of = {name: facts["of"] for name, facts in declared.test_sets().items()}
        return {
            slug: other.model_dump(exclude_defaults=True)
            for slug, other in self.paper.evaluate.items()
            if other.name not in of or of[other.name] in names
        }

    def _models(self, group: str) -> set[str]:
        """The models whose networks a group is made of."""
        return {self.paper.model_of(subject) for subject in self.groups[group]}

    def _merge(self, subject: str) -> dict[str, Any]:
        entry = self.paper.methods[self._parts(subject)[0]]
        return {name: getattr(entry, name) for name in Merge.model_fields}

    def _problem(self, model: str) -> list[str]:
        """The arguments that name a network and its data."""
        return [*flags.words(self._network(model)), *flags.words(self.paper.data_of(model))]

    def _network(self, model: str) -> Network:
        entry = self.paper.models[model]
        return Network(build=entry.build, options=entry.options)

    def _parts(self, subject: str) -> tuple[str, str]:
        parts = self.subjects.get(subject)
        if parts is None:
            raise UserError(
                f"{subject!r} is no merged result of {self.name}{nearest(subject, self.subjects)}"
            )
        return parts

    # What jobs need

    @remembered
    def train_need(self, model: str, device: str) -> resources.Need:
        """What training a model asks a scheduler for."""
        entry = self.paper.models[model]
        return resources.train(entry, self.paper.data_of(model), entry.recipe, device)

    @remembered
    def merge_need(self, subject: str, device: str) -> resources.Need:
        """What a merge asks a scheduler for; one with the budget of another, as much as that."""
        slug, population = self._parts(subject)
        entry, model = self.paper.methods[slug], self.paper.model_of(subject)
        budget = self.paper.methods[entry.budget_of] if entry.budget_of else None
        parents = len(self.paper.parents(population, 0))
        network, data = self._network(model), self.paper.data_of(model)
        return resources.merge(network, data, entry, parents, device, budget)

    @remembered
    def evaluate_need(self, group: str, device: str) -> resources.Need:
        """What measuring a group asks a scheduler for."""
        networks = 2 * max(len(runs) for (of, _), runs in self.evaluations.items() if of == group)
        others = len(self._others(group))
        needs = [
            resources.evaluate(self._network(m), self.paper.data_of(m), networks, others, device)
            for m in self._models(group)
        ]
        return max(needs, key=lambda need: (need.gpu, need.runtime))

    # What results must be

    @remembered
    def spec(self, subject: str, seed: int) -> str:
        """The spec that a run's run.json must have (see `identity`)."""
        model = self.paper.model_of(subject)
        network, data = self._network(model), self.paper.data_of(model)
        parts = self.subjects[subject]
        if parts is None:
            start = self.paper.start_of(subject, seed)
            begun = None if start is None else self._spec_of(start)
            recipe = self.paper.models[subject].recipe
            return identity.spec(identity.training(network, data, recipe, begun))
        parents = [self._spec_of(of) for of in self.paper.parents(parts[1], seed)]
        other = self.paper.methods[parts[0]].budget_of
        budget = self.spec(*self._budget_run(other, parts[1], seed)) if other else None
        how = Merge.model_validate(self._merge(subject))
        return identity.spec(identity.merging(network, data, how, parents, budget))

    def _spec_of(self, of: Checkpoint | Path) -> str:
        if isinstance(of, Path):
            name = self.weights(of)
            file = foreign.there(name) if foreign.is_weights(name) else Path(name)
            return identity.path_spec(file)
        return identity.checkpoint_spec(self.spec(of.subject, of.seed), of.kept)

    @remembered
    def code(self, subject: str) -> str:
        """The digest of the code that makes a run of `subject`."""
        parts = self.subjects[subject]
        stage = "stages.train" if parts is None else "stages.merge"
        return digests.code(stage, *self._modules(subject))

    def _modules(self, subject: str) -> tuple[str, ...]:
        parts, model = self.subjects[subject], self.paper.model_of(subject)
        return declared.modules(
            build=self.paper.models[model].build,
            data=self.paper.data_of(model).name,
            method=self.paper.methods[parts[0]].use if parts else "",
        )

    @remembered
    def evaluate_code(self, group: str) -> str:
        """The digest of the code that measures a group."""
        others = (self.paper.evaluate[slug].name for slug in self._others(group))
        modules = {
            module
            for model in self._models(group)
            for module in declared.modules(
                build=self.paper.models[model].build, data=self.paper.data_of(model).name
            )
        }
        modules |= set(declared.modules(others=tuple(name for name in others if name)))
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
    """A digest of the code that reads a data set, and of which image files there are."""
    code = digests.code("data", *declared.modules(data=data.name))
    return f"{code} {listing(data.name)}".strip()
