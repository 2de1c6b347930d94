"""What a paper says: where it is, what it claims, and the numbers that it reports."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mergesuite.experiment.strict import Strict


def _no_gap(name: str) -> str:
    """Refuse a name that a table reads as nothing."""
    if name in EMPTY:
        raise ValueError(f"{name!r} stands for no value in tables: choose another name")
    return name


EMPTY = ("nan",)
Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=24),
    AfterValidator(_no_gap),
]
Subject = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=49)]
"""A model, or ENTRY-POPULATION."""


class Cite(Strict):
    """Where the paper and its code are."""

    text: str = Field(description="authors: title, where and when it was published")
    arxiv: str = Field("", description="arXiv number with version")
    code: str = Field("", description="repository and commit of the released code")

    @property
    def doi(self) -> str | None:
        """The DOI that arXiv registers for a paper, of which it has one for all versions."""
        number = re.sub(r"v\d+$", "", self.arxiv)
        return f"10.48550/arXiv.{number}" if number else None


Treatment = Literal["keep", "average", "re-estimate"]
MOST_OF_INTEREST = 0.005
"""Of a gain in accuracy: half a point. A claim may ask for less, never for more."""
MOST_FACTOR_OF_INTEREST = 1.5


class Claim(Strict):
    """A sentence of the paper as a comparison that can be measured, or a question of our own."""

    text: str = Field(description="what is claimed, in our words")
    family: Literal["primary", "secondary"] = Field(
        "primary", description="primary: the paper claims it; secondary: our own question"
    )
    subject: Subject = Field(description="ENTRY-POPULATION, or a model")
    against: Subject = Field(description="the same, for what it is compared with")
    metric: str = "accuracy"
    split: Slug = Field(
        "test", description="search, test, a set of `evaluate`, or none (of a cost)"
    )
    batchnorm: Treatment = "keep"
    direction: Literal["higher", "lower"] = "higher"
    reported: list[str] = Field(default_factory=list, description="rows of reported.csv: subject")
    reported_against: list[str] = Field(default_factory=list, description="rows: the best counts")
    interest: float | None = Field(
        None,
        gt=0,
        description="smallest gain (or factor) of interest; default: half a point, or half of what "
        "is reported if that is less",
    )
    because: str = Field("", description="why the interest is what it is")
    ratio: float | None = Field(
        None, gt=1, description="claimed factor between the two, for claims such as '10 x cheaper'"
    )

    @model_validator(mode="after")
    def _interested(self) -> Self:
        if self.interest is None:
            return self
        if not self.because:
            raise ValueError("interest needs a reason: say because: ...")
        most = MOST_OF_INTEREST if self.ratio is None else MOST_FACTOR_OF_INTEREST
        if (self.metric == "accuracy" or self.ratio) and self.interest > most:
            raise ValueError(f"interest is {self.interest:g}, and may be {most:g} at most")
        if self.ratio and self.interest <= 1:
            raise ValueError("interest of a ratio is a factor above 1")
        return self


class Step(Strict):
    """A step of the way from a parent to a result, which shows where a gain comes from."""

    text: str = Field(description="what this step adds, in a few words", max_length=60)
    subject: Subject = Field(description="ENTRY-POPULATION whose test accuracy it is")
    batchnorm: Treatment = "keep"
    beside: bool = Field(
        False, description="not a step of the way: its gain over the start is shown next to it"
    )


class Line(Strict):
    """A difference that is followed over populations."""

    text: str = Field(description="what it is, in a few words", max_length=50)
    entry: Slug = Field(description="of `methods`: its test accuracy, less that of `against`")
    against: Slug = Field(description="of `methods`: what it is compared with")
    batchnorm: Treatment = "keep"
    against_batchnorm: Treatment | None = Field(None, description="default: the same")

    @property
    def treatments(self) -> tuple[Treatment, Treatment]:
        """Of the entry and of what it is compared with."""
        return self.batchnorm, self.against_batchnorm or self.batchnorm


class Trend(Strict):
    """The same differences in populations that differ by one thing, such as the size of a net."""

    text: str = Field(description="what the populations differ by", max_length=90)
    populations: list[Slug] = Field(min_length=2, description="the first is where it starts")
    lines: dict[Slug, Line] = Field(min_length=1)


class Untested(Strict):
    """A claim of the paper that this experiment does not test, so that no reader misses it."""

    text: str = Field(description="what is claimed, in our words")
    why: str = Field(description="why it is not tested: what one would need")


Unit = Literal[
    "fraction", "percent", "%", "percentage points", "nats", "ratio", "rating", "images",
    "evaluations", "seconds", "minutes", "hours", "MB", "GB",
]  # fmt: skip
SCALES: dict[Unit, float] = {
    "percent": 0.01,
    "%": 0.01,
    "percentage points": 0.01,
    "minutes": 60.0,
    "hours": 3600.0,
    "GB": 1000.0,
}
"""What a reported value is multiplied by to be in the unit that is measured; the others are."""


class Reported(Strict):
    """A row of reported.csv: one number of the paper, or of its repository, with its source."""

    id: str
    table: Annotated[str, StringConstraints(min_length=1)]
    row: str
    metric: str
    value: float
    unit: Unit
    spread: float | None
    spread_kind: Literal["sd", "se", "ci95", "range", "none"]
    n: int | None
    source: Annotated[str, StringConstraints(min_length=1)]
    origin: Literal["paper", "repository artefact"]
    note: str

    @property
    def measured_value(self) -> float:
        """The value in the unit that is measured."""
        return self.value * SCALES.get(self.unit, 1.0)
