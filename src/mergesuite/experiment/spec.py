"""What an experiment is: the models of `paper.yaml`. How they are read is in `loading`.

Read `Paper` first, then what it is made of. Every model refuses unknown keys and is frozen.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from mergesuite.errors import UserError
from mergesuite.experiment import declared
from mergesuite.experiment.datasets import DATASET_INFO
from mergesuite.experiment.declared import nearest

PROFILES = ("smoke", "laptop", "cifar-cpu", "full")
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=24)]
Scalar = int | float | str | bool
Split = Literal["fit", "search", "test"]
Protocol = Literal["published", "released", "clean"]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cite(Strict):
    """Where the paper and its code are."""

    key: str = Field(description="key of declared.CITATIONS")
    arxiv: str = Field("", description="arXiv number with version")
    code: str = Field("", description="repository and commit of the released code")


class Data(Strict):
    """A data set and how much of each split is used."""

    name: str = Field(description="name of `mergesuite list datasets`, or folder:PATH")
    sizes: dict[Split, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="images per split; one that is not named is used whole"
    )
    normalise: bool = Field(False, description="inputs by channel mean and deviation of fit")

    def counts(self) -> dict[str, int]:
        """Images asked for, by split."""
        return {str(split): count for split, count in self.sizes.items()}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in DATASET_INFO and not self.name.startswith("folder:"):
            raise ValueError(
                f"no data set is called {self.name!r}{nearest(self.name, DATASET_INFO)}; "
                "`mergesuite list datasets` shows them all"
            )
        return self


class Recipe(Strict):
    """How one network is trained. Field names are those of `mergesuite train --set`."""

    optimiser: Literal["adam", "sgd"] = "adam"
    lr: float = Field(0.01, gt=0, description="learning rate of the first update")
    eps: float = Field(1e-7, gt=0, description="Adam's epsilon")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    nesterov: bool = Field(False, description="SGD only")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "cyclic"] = Field(
        "constant", description="cosine: to 0 at the end; cyclic: to 0 at the end of each cycle"
    )
    cycles: int = Field(1, ge=1, description="cycles of a cyclic schedule (Huang et al. 2017)")
    epochs: int = Field(50, ge=1)
    batch: int = Field(256, ge=2, description="images per update, over all devices")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha); 0 is off")
    augment: Literal["none", "crop-flip", "crop"] = Field("none", description="on the fit images")
    keep: int = Field(1, ge=1, description="ending epochs whose weights are kept")
    keep_every: Literal["epoch", "cycle"] = Field("epoch", description="what `keep` counts")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        there = self.cycles if self.keep_every == "cycle" else self.epochs
        if self.keep > there:
            raise ValueError(f"keep {self.keep} is more than the {there} {self.keep_every}s")
        if self.cycles > 1 and (self.schedule != "cyclic" or self.epochs % self.cycles):
            raise ValueError("cycles needs schedule: cyclic and must divide epochs")
        return self

    def kept_epochs(self) -> list[int]:
        """Numbers (from 1) of the epochs whose weights are kept, the last one included."""
        step = self.epochs // self.cycles if self.keep_every == "cycle" else 1
        return [self.epochs - step * back for back in reversed(range(self.keep))]


class Model(Strict):
    """A network that is trained once per seed."""

    build: str = Field(description="name for mergesuite.models.build")
    recipe: Recipe = Recipe.model_validate({})
    seeds: int = Field(1, ge=1, description="how many are trained: seeds 0..seeds-1")
    start: Slug | None = Field(None, description="model (same seed) that training starts at")
    data: Data | None = Field(None, description="if other than the paper's")
    options: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict, description="further arguments of mergesuite.models.build"
    )


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


class Fitness(Strict):
    """What a search maximises. Field names are those of `mergesuite merge --fitness`."""

    split: Split = Field("search", description="test only in a method marked leaky")
    images: int | None = Field(None, ge=1, description="the first so many; default: all")
    metric: Literal["accuracy", "cross-entropy"] = "accuracy"
    batchnorm: Literal["keep", "re-estimate"] = Field(
        "keep", description="statistics of a candidate: as in its vector, or re-estimated on fit"
    )
    batchnorm_images: int = Field(512, ge=2, description="fit images used to re-estimate")
    augment: Literal["none", "crop-flip", "crop"] = "none"
    batch_mean: int | None = Field(
        None, ge=1, description="score by the unweighted mean over batches of this size (released)"
    )
    redraw: bool = Field(False, description="draw the images anew at each DE epoch")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="of the network while it is scored; final numbers are float32 always"
    )


class Method(Strict):
    """One entry of the methods table: a registered method under one protocol."""

    use: str = Field(description="name of `mergesuite list methods`")
    protocol: Protocol = "clean"
    populations: list[Slug] = Field(default_factory=list, description="default: all")
    params: dict[str, Any] = Field(default_factory=dict)
    part: Literal["parameters", "parameters+statistics"] = Field(
        "parameters+statistics", description="which part of the state dict is the vector"
    )
    fitness: Fitness = Fitness.model_validate({})
    parents: Literal["all", "best"] = Field(
        "all", description="best: the same search from copies of the best parent alone"
    )
    budget_of: Slug | None = Field(None, description="entry whose budget this one gets")
    leaky: bool = Field(False, description="the search may see test images")

    @model_validator(mode="after")
    def _honest(self) -> Self:
        declared.check_params(self.use, self.params)
        if self.fitness.split == "test" and not self.leaky:
            raise ValueError("fitness on the test split needs leaky: true; use split: search")
        if self.protocol == "clean" and (self.leaky or self.fitness.split != "search"):
            raise ValueError("protocol clean searches on the search split and is never leaky")
        return self


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


def digest(value: Any) -> str:
    """Twelve hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_settings(model: type[Strict], given: dict[str, Any], flag: str) -> Any:
    """Settings from `--set`-like flags as a checked model.

    Raises:
        UserError: an unknown key or a bad value; all are listed.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise UserError(
            f"{flag}: " + "; ".join(declared.explain(error, model.model_fields))
        ) from None
