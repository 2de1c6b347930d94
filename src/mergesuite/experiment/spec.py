"""What an experiment is: the models of `paper.yaml`. How they are read is in `loading`.

Read `Paper` first, then what it is made of; what the stages are told is in `settings`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network, Other
from mergesuite.experiment.statements import Cite, Claim, Slug, Step, Subject, Trend, Untested
from mergesuite.experiment.strict import Strict

SMALLER = ("smoke", "laptop", "cifar-cpu")
"""Profiles whose values cannot be compared with the paper's."""
BASE = "full"
"""The profile that a paper.yaml is without its overlays."""
PROFILES = (*SMALLER, BASE, "imagenet")
OVERLAYS = tuple(name for name in PROFILES if name != BASE)
File = Annotated[str, StringConstraints(pattern=r"^[^{}\x00-\x1f]+$", max_length=240)]
"""A file of the user, relative to the paper's folder; a workflow reads braces as wildcards."""


class Checkpoint(NamedTuple):
    """Weights that this experiment makes."""

    subject: str
    """A model, or ENTRY-POPULATION."""
    seed: int
    kept: str | None = None
    """The number of a kept epoch, in three digits, or a kept average; None: the result."""


class Model(Network):
    """A network that is trained once per seed."""

    recipe: Recipe = Recipe.model_validate({})
    seeds: int = Field(1, ge=1, le=1000, description="how many are trained: seeds 0..seeds-1")
    start: File | None = Field(
        None,
        description="what training starts at: a model (the same seed, or its only one), a file of "
        "weights, relative to this folder, or published ones: torchvision:NETWORK@WEIGHTS, "
        "timm:NETWORK.TAG",
    )
    data: Data | None = Field(None, description="if other than the paper's")
    shared_with: Slug | None = Field(
        None,
        description="paper whose runs are taken where it trains the same model by the same name",
    )

    @property
    def start_model(self) -> str | None:
        """The model that training starts at, if it is one."""
        return None if self.start_file else self.start

    @property
    def start_file(self) -> str | None:
        """The file or published weights that it starts at, if any: no slug has a mark of these."""
        return self.start if self.start and {".", "/", ":"} & set(self.start) else None


class Population(Strict):
    """Who is merged: seeds of one model, ending epochs of one run, several models, or files."""

    model: Slug | None = Field(None, description="whose seeds; with files: their network and data")
    take: int = Field(
        2, ge=1, description="with model or files: how many seeds or files make one population"
    )
    epochs: int | None = Field(None, ge=2, description="with model: the last so many kept epochs")
    models: list[Subject] = Field(
        default_factory=list,
        description="the same seed of several models, or of results of merging (ENTRY-POPULATION)",
    )
    files: list[File] = Field(
        default_factory=list,
        description="weights that you have, relative to this folder, or published ones "
        "(torchvision:NETWORK@WEIGHTS, timm:NETWORK.TAG); name their network as model",
    )
    average: Literal["ema", "swa"] | None = Field(
        None, description="members are this average of each run, which its recipe keeps"
    )
    entries: list[Slug] = Field(
        default_factory=list, description="entries of methods that are run on it; default: all"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.model is None) == (not self.models):
            raise ValueError("give either model (with take, epochs or files) or models")
        said = {name for name in ("take", "epochs", "files") if name in self.model_fields_set}
        if self.models and said:
            raise ValueError(f"models are all merged: remove {', '.join(sorted(said))}")
        if self.epochs and len(said) > 1:
            raise ValueError(f"epochs takes one run: remove {', '.join(sorted(said - {'epochs'}))}")
        if self.average and (self.epochs or self.files):
            raise ValueError("average takes one member of each run: remove epochs or files")
        return self


class Method(Merge):
    """One entry of the methods table."""

    populations: list[Slug] = Field(default_factory=list, description="default: all")
    budget_of: Slug | None = Field(None, description="entry whose budget this one gets")
    twin: Slug | None = Field(
        None, description="of a leaky entry: the one that searches the same way on held-out images"
    )
    searches: int = Field(
        1, ge=1, le=99, description="search seeds for each set of parents; their mean counts"
    )
    replicates: int | None = Field(
        None, ge=1, le=1000, description="sets of parents that it is run on; default: all"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if not self.budget_of or self.use not in declared.methods():
            return self
        known = declared.method_fields(self.use).params.model_fields
        budgets = [name for name in ("evaluations", "images") if name in known]
        if not budgets:
            raise ValueError(
                f"method {self.use} has no parameter `evaluations` or `images`, so no budget to "
                "set: remove budget_of"
            )
        if said := [name for name in (*budgets, "epochs") if name in self.params]:
            raise ValueError(
                f"budget_of and params.{said[0]} both say how much: remove one "
                "(in a profile: budget_of: null)"
            )
        return self


SEARCH = 1000
"""Search k of replicate r has the seed 1000 k + r: more of either leave the others as they are."""


def replicate_of(seed: int) -> int:
    """The set of parents that a search seed belongs to."""
    return seed % SEARCH


class Paper(Strict):
    """A replication: who is trained, what is merged by which method, and what is claimed.

    That the names in it lead somewhere is for `loading.paper` to check.
    """

    title: str
    cite: Cite
    data: Data
    models: dict[Slug, Model]
    populations: dict[Slug, Population]
    methods: dict[Slug, Method]
    evaluate: dict[Slug, Other] = Field(
        default_factory=dict, description="sets of images to measure on beside search and test"
    )
    claims: dict[Slug, Claim] = Field(default_factory=dict)
    untested: dict[Slug, Untested] = Field(default_factory=dict)
    waterfall: dict[Slug, Step] = Field(
        default_factory=dict,
        description="where the gain comes from: steps on the same parents, the first is the start",
    )
    trends: dict[Slug, Trend] = Field(
        default_factory=dict,
        description="differences in populations that differ by one thing, such as the size",
    )
    run: list[Slug] = Field(default_factory=list, description="populations to run; default: all")
    replicates: int = Field(
        5, ge=1, le=1000, description="most populations made of the trained seeds"
    )
    reduced: str = Field("", description="why values cannot be compared with the paper's, if so")
    deviations: list[str] = Field(default_factory=list)

    def count(self, population: str) -> int:
        """How many replicates of a population there are parents for."""
        spec = self.populations[population]
        if spec.files:
            made = len(spec.files) // spec.take
        elif spec.models:
            made = min(len({replicate_of(x) for x in self.seeds(name)}) for name in spec.models)
        else:
            seeds = self.models[spec.model or ""].seeds
            made = seeds if spec.epochs else seeds // spec.take
        return min(made, self.replicates)

    def seeds(self, subject: str) -> list[int]:
        """The seeds of a model, or of the searches of ENTRY-POPULATION (see `replicate_of`)."""
        parts = self.all_subjects()[subject]
        if parts is None:
            return list(range(self.models[subject].seeds))
        entry, count = self.methods[parts[0]], self.count(parts[1])
        of_each = range(min(count, entry.replicates or count))
        return [SEARCH * k + replicate for k in range(entry.searches) for replicate in of_each]

    def active(self) -> list[str]:
        """The populations that this profile runs, and those whose results they merge."""
        wanted = list(self.run or self.populations)
        for slug in wanted:  # grows while it is read
            wanted += [other for other in self.merged_from(slug) if other not in wanted]
        return wanted

    def merged_from(self, population: str) -> list[str]:
        """The populations whose results are members of this one."""
        subjects = self.all_subjects()
        parts = [subjects.get(name) for name in self.populations[population].models]
        return list(dict.fromkeys(p[1] for p in parts if p))

    def trained_for(self, population: str) -> list[str]:
        """The models whose training makes the members of a population."""
        spec = self.populations[population]
        if spec.files:
            return []
        return [name for name in spec.models or [spec.model or ""] if name in self.models]

    def active_models(self) -> list[str]:
        """The models that the active populations need, sources of their weights included."""
        wanted = [name for slug in self.active() for name in self.trained_for(slug)]
        for name in wanted:  # grows while it is read: a start may have a start
            if (start := self.models[name].start_model) and start not in wanted:
                wanted.append(start)
        return [name for name in self.models if name in wanted]

    def subjects(self) -> dict[str, tuple[str, str] | None]:
        """Every ENTRY-POPULATION that is run, with its parts, and every trained model (None)."""
        models, active = self.active_models(), self.active()
        return {
            name: parts
            for name, parts in self.all_subjects().items()
            if (parts[1] in active if parts else name in models)
        }

    def all_subjects(self) -> dict[str, tuple[str, str] | None]:
        """The subjects of every population and model, run or not at this profile."""
        return self._all_subjects

    @functools.cached_property
    def _all_subjects(self) -> dict[str, tuple[str, str] | None]:
        return dict(self.named_subjects())

    def named_subjects(self) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """The same one by one: a name that is given twice comes twice."""
        yield from ((name, None) for name in self.models)
        for slug, entry in self.methods.items():
            for population in entry.populations or self.populations:
                if self.is_for(slug, population):
                    yield f"{slug}-{population}", (slug, population)

    def is_for(self, slug: str, population: str) -> bool:
        """Whether an entry is run on a population: both may name those that they are for."""
        wanted = self.methods[slug].populations or self.populations
        asked = getattr(self.populations.get(population), "entries", None) or self.methods
        return population in wanted and slug in asked

    def entry_of(self, subject: str) -> Method | None:
        """The entry of the methods table that made a subject; None for a model."""
        parts = self.all_subjects()[subject]
        return self.methods[parts[0]] if parts else None

    def twin_of(self, subject: str) -> str | None:
        """The same search on held-out images, if a leaky subject has one that is run."""
        parts, entry = self.all_subjects()[subject], self.entry_of(subject)
        twin = f"{entry.twin}-{parts[1]}" if parts and entry and entry.twin else None
        return twin if twin in self.all_subjects() else None

    def model_of(self, subject: str) -> str:
        """A model itself, or the one whose networks are merged in ENTRY-POPULATION."""
        parts = self.all_subjects()[subject]
        if parts is None:
            return subject
        spec = self.populations[parts[1]]
        return spec.model or self.model_of(spec.models[0])

    def data_of(self, model: str) -> Data:
        """The data a model is trained on."""
        return self.models[model].data or self.data

    def start_of(self, model: str, seed: int) -> Checkpoint | Path | None:
        """What the training of a seed starts at: the same seed of a model, or its only one."""
        spec = self.models[model]
        if spec.start_file:
            return Path(spec.start_file)
        if spec.start is None:
            return None
        return Checkpoint(spec.start, 0 if self.models[spec.start].seeds == 1 else seed)

    def parents(self, population: str, seed: int) -> list[Checkpoint | Path]:
        """The members that a search seed merges; files are relative to this folder."""
        spec, replicate = self.populations[population], replicate_of(seed)
        if spec.models:
            return [Checkpoint(name, replicate, spec.average) for name in spec.models]
        name, mine = spec.model or "", slice(replicate * spec.take, (replicate + 1) * spec.take)
        if spec.files:
            return [Path(file) for file in spec.files[mine]]
        if spec.epochs:
            recipe = self.models[name].recipe
            last = recipe.epochs if recipe.result == "last" else 0
            return [
                Checkpoint(name, replicate, None if epoch == last else f"{epoch:03d}")
                for epoch in recipe.kept_epochs()[-spec.epochs :]
            ]
        return [Checkpoint(name, seed, spec.average) for seed in range(mine.start, mine.stop)]
