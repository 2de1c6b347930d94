"""What the stages are told: a network, data, how to merge, how to score; `recipe` has how to train.

A setting is declared here and nowhere else. `paper.yaml` is checked by these models, the options of
the command line are made from them (`flags`), the stages take them, and run.json repeats them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared, foreign
from mergesuite.experiment.strict import Strict

Scalar = int | float | str | bool
Split = Literal["fit", "search", "test"]
Protocol = Literal["published", "released", "clean"]


class Network(Strict):
    """A network by name."""

    build: str = Field(
        description="`mergesuite list models`, or timm:NETWORK or torchvision:NETWORK",
        json_schema_extra={"flag": "--model"},
    )
    options: dict[str, Scalar | dict[str, Scalar]] = Field(
        default_factory=dict,
        description="further arguments of mergesuite.models.build",
        json_schema_extra={"flag": "--option"},
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if reason := foreign.not_a_network(self.build):
            raise ValueError(reason)
        return self


Channels = tuple[float, float, float]


MOST_SIDE = 2048
"""Pixels. An image of this side takes 12 MB, and a batch of them as much as a GPU has."""


class Preprocess(Strict):
    """What a network sees of an image file: the preprocessing that its weights ask for."""

    resize: int | None = Field(
        None,
        ge=8,
        le=MOST_SIDE,
        description="pixels of the shorter side before the crop; default: the crop's",
    )
    crop: int | None = Field(
        None, ge=8, le=MOST_SIDE, description="pixels of the square from the centre"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: Channels | None = Field(
        None, description="channel means in [0, 1] to normalise by; default: those of fit"
    )
    std: Channels | None = Field(None, description="channel deviations, with mean")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resize and self.crop and self.resize < self.crop:
            raise ValueError(f"crop {self.crop} is more than what resize {self.resize} leaves")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")
        if self.std and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        return self


PLAIN = Preprocess.model_validate({})
"""The default: the shorter side is scaled to the side that the data set's name gives."""


SetName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1024)]
"""A declared name or a path."""


Augmented = Literal["none", "crop-flip", "crop", "flip"]
"""What is done to single images: `data.images.Augment`."""


class Data(Strict):
    """A data set and how much of each split is used."""

    name: SetName = Field(
        description="`mergesuite list datasets`, or folder:PATH for your images",
        json_schema_extra={"flag": "--data"},
    )
    sizes: dict[Split, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="images per split; one that is not named is used whole"
    )
    normalise: bool = Field(False, description="inputs by channel mean and deviation of fit")
    # A spec that says none of these is what it was before there were any.
    batchnorm_augment: Augmented = Field(
        "none",
        exclude_if=lambda value: value == "none",
        description="of the fit images that BatchNorm statistics are made anew from: as the "
        "recipe of the parents augments, for statistics belong to what training saw",
    )
    held_out: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="image folders without a search split of their own: the images of each class "
        "that become one (26), or the share of them (0.15)",
    )
    preprocess: Preprocess = Field(
        PLAIN,
        exclude_if=lambda value: value == PLAIN,
        description="image folders: e.g. resize=256 crop=224",
    )

    def counts(self) -> dict[str, int]:
        """Images asked for, by split."""
        return {str(split): count for split, count in self.sizes.items()}

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = declared.datasets()
        if self.name not in known and not self.name.startswith("folder:"):
            raise ValueError(
                f"no data set is called {self.name!r}{nearest(self.name, known)}; "
                "`mergesuite list datasets` shows them all"
            )
        asked = self.held_out is not None or self.preprocess != PLAIN
        if asked and not declared.is_folder(self.name):
            raise ValueError(f"held_out and preprocess are for image folders, not {self.name}")
        if self.preprocess.mean and not self.normalise:
            raise ValueError("preprocess has a mean to normalise by: say normalise: true")
        return self


GENERATED = ("gaussian-noise", "gaussian-blur", "brightness", "contrast", "jpeg", "pixelate")
"""Corruptions that are made here (`data.corrupt`), at severity 1 to 5."""


class Other(Strict):
    """Images to evaluate networks on beside search and test; the rows have its name as `split`."""

    name: SetName = Field(
        "", description="`mergesuite list test-sets`, or folder:PATH; default: the test split"
    )
    corruption: str = Field(
        "", description=f"as published with the set, or made here: {', '.join(GENERATED)}"
    )
    severity: int | None = Field(None, ge=1, le=5, description="of the corruption")

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = declared.test_sets()
        if self.name and self.name not in known and not self.name.startswith("folder:"):
            raise ValueError(
                f"no set to evaluate on is called {self.name!r}{nearest(self.name, known)}; "
                "`mergesuite list test-sets` shows them all"
            )
        levels = known[self.name]["severities"] if self.name in known else None
        if self.made_here and self.corruption and self.corruption not in GENERATED:
            raise ValueError(
                f"no corruption {self.corruption!r} is made here"
                f"{nearest(self.corruption, GENERATED)}; there are {', '.join(GENERATED)}"
            )
        if not self.corruption and (levels is not None or not self.name or self.severity):
            raise ValueError("say which corruption")
        if self.corruption and (self.severity is None) != (levels == 0):
            raise ValueError(
                f"{self.name} comes at one severity: remove it"
                if levels == 0
                else "say which severity, 1 to 5"
            )
        return self

    @property
    def made_here(self) -> bool:
        """Whether a corruption is made of clean images, and does not come with the set."""
        return declared.test_sets().get(self.name, {}).get("severities") is None


class Fitness(Strict):
    """What a search maximises: the keys of `mergesuite merge --fitness`."""

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
    labels: Literal["true", "permuted"] = Field(
        "true", description="permuted: of other images of the split, so that no gain is real"
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="of the network while it is scored; final numbers are float32 always"
    )


class Merge(Strict):
    """How parents are merged: a registered method under one protocol."""

    use: str = Field(
        description="`mergesuite list methods`", json_schema_extra={"flag": "--method"}
    )
    protocol: Protocol = "clean"
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="parameters of the method",
        json_schema_extra={"flag": "--set"},
    )
    part: Literal["parameters", "parameters+statistics"] = Field(
        "parameters+statistics", description="which part of the state dict is the vector"
    )
    fitness: Fitness = Field(
        Fitness.model_validate({}), description="e.g. split=search images=2000"
    )
    parents: Literal["all", "aligned", "best", "copies"] = Field(
        "all",
        description="aligned: their units in the order of the first one's (weight matching); best: "
        "the same search from the best parent alone; copies: from copies of it that differ by "
        "noise, so that there is nothing to merge",
        json_schema_extra={"flag": "--from"},
    )
    leaky: bool = Field(False, description="the search may see test images")

    @model_validator(mode="after")
    def _honest(self) -> Self:
        try:
            declared.check_params(self.use, self.params)
        except UserError as error:  # as one of the errors of a file, with its place
            raise ValueError(str(error)) from None
        if self.fitness.split == "test" and not self.leaky:
            raise ValueError("fitness on the test split needs leaky: true; use split: search")
        if self.protocol == "clean" and (self.leaky or self.fitness.split != "search"):
            raise ValueError("protocol clean searches on the search split and is never leaky")
        return self


def digest(value: Any) -> str:
    """Twelve hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
