"""What an experiment is: the models of `paper.yaml`. How they are read is in `loading`.

Read `Paper` first, then what it is made of; what the stages are told is in `settings`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mergesuite.experiment.settings import Data, Merge, Network, Recipe, Split
from mergesuite.experiment.strict import Strict

PROFILES = ("smoke", "laptop", "cifar-cpu", "full")
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=24)]


class Cite(Strict):
    """Where the paper and its code are."""

    text: str = Field(description="authors: title, where and when it was published")
    arxiv: str = Field("", description="arXiv number with version")
    code: str = Field("", description="repository and commit of the released code")


class Model(Network):
    """A network that is trained once per seed."""

    recipe: Recipe = Recipe.model_validate({})
    seeds: int = Field(1, ge=1, description="how many are trained: seeds 0..seeds-1")
    start: Slug | None = Field(None, description="model (same seed) that training starts at")
    data: Data | None = Field(None, description="if other than the paper's")


class Population(Strict):
    """Who is merged: seeds of one model, ending epochs of one run, or several models."""

    model: Slug | None = None
    take: int = Field(2, ge=1, description="with model: how many seeds make one population")
    epochs: int | None = Field(None, ge=2, description="with model: the last so many kept epochs")
    models: list[Slug] = Field(default_factory=list, description="the same seed of several models")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.model is None) == (not self.models):
            raise ValueError("give either model (with take or epochs) or models")
        return self


class Method(Merge):
    """One entry of the methods table."""

    populations: list[Slug] = Field(default_factory=list, description="default: all")
    budget_of: Slug | None = Field(None, description="entry whose budget this one gets")


class Claim(Strict):
    """A sentence of the paper as a comparison that can be measured."""

    text: str = Field(description="what is claimed, in our words")
    subject: str = Field(description="ENTRY-POPULATION, or a model")
    against: str = Field(description="the same, for what it is compared with")
    metric: str = "accuracy"
    split: Split | Literal["none"] = "test"
    batchnorm: Literal["keep", "average", "re-estimate"] = "keep"
    direction: Literal["higher", "lower"] = "higher"
    reported: list[str] = Field(default_factory=list, description="rows of reported.csv: subject")
    reported_against: list[str] = Field(default_factory=list, description="rows: the best counts")
    clean: str | None = Field(None, description="subject of the same claim under protocol clean")
    clean_batchnorm: Literal["keep", "average", "re-estimate"] = "re-estimate"
    margin: float = Field(0.01, gt=0, description="equivalence margin, in units of the metric")
    ratio: float | None = Field(
        None, gt=0, description="claimed factor between the two, for claims such as '10 x cheaper'"
    )


class Reported(Strict):
    """A row of reported.csv: one number of the paper, or of its repository, with its source."""

    id: str
    table: Annotated[str, StringConstraints(min_length=1)]
    row: str
    metric: str
    value: float
    unit: str
    spread: float | None
    spread_kind: Literal["sd", "se", "ci95", "range", "none"]
    n: int | None
    source: Annotated[str, StringConstraints(min_length=1)]
    origin: Literal["paper", "repository artefact"]
    note: str


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
    claims: dict[Slug, Claim] = Field(default_factory=dict)
    run: list[Slug] = Field(default_factory=list, description="populations to run; default: all")
    replicates: int = Field(5, ge=1, description="most populations made of the trained seeds")
    reduced: str = Field("", description="why values cannot be compared with the paper's, if so")
    deviations: list[str] = Field(default_factory=list)

    def count(self, population: str) -> int:
        """How many replicates of a population the trained seeds make."""
        spec = self.populations[population]
        if spec.models:
            made = min(self.models[name].seeds for name in spec.models)
        else:
            seeds = self.models[spec.model or ""].seeds
            made = seeds if spec.epochs else seeds // spec.take
        return min(made, self.replicates)

    def seeds(self, subject: str) -> range:
        """The seeds of a model, or the replicates of ENTRY-POPULATION."""
        parts = self.all_subjects()[subject]
        return range(self.count(parts[1]) if parts else self.models[subject].seeds)

    def active(self) -> list[str]:
        """The populations that this profile runs."""
        return self.run or list(self.populations)

    def active_models(self) -> list[str]:
        """The models that the active populations need, sources of their weights included."""
        wanted: list[str] = []
        for slug in self.active():
            population = self.populations[slug]
            wanted += population.models or [population.model or ""]
        for name in wanted:  # grows while it is read: a start may have a start
            if (start := self.models[name].start) and start not in wanted:
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
        found: dict[str, tuple[str, str] | None] = dict.fromkeys(self.models)
        for slug, entry in self.methods.items():
            for population in entry.populations or self.populations:
                found[f"{slug}-{population}"] = (slug, population)
        return found

    def model_of(self, population: str) -> Model:
        """The model whose networks are merged in a population."""
        spec = self.populations[population]
        return self.models[spec.model or spec.models[0]]

    def data_of(self, model: str) -> Data:
        """The data a model is trained on."""
        return self.models[model].data or self.data

    def parents(self, population: str, replicate: int) -> list[tuple[str, int, int]]:
        """(model, seed, epoch) of each parent of one replicate of a population."""
        spec = self.populations[population]
        if spec.models:
            return [(m, replicate, self.models[m].recipe.epochs) for m in spec.models]
        name = spec.model or ""
        recipe = self.models[name].recipe
        if spec.epochs:
            return [(name, replicate, epoch) for epoch in recipe.kept_epochs()[-spec.epochs :]]
        first = replicate * spec.take
        return [(name, seed, recipe.epochs) for seed in range(first, first + spec.take)]
