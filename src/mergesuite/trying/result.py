"""What a comparison found: rows, their intervals, and the one sentence that these carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from mergesuite.judge.paired import Paired, paired, resolved, simultaneous
from mergesuite.report.answer import SCOPE, Compared, sentence
from mergesuite.trying.entries import Skipped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AVERAGE = "uniform-average"
NOBODY = np.zeros(0, dtype=bool)


@dataclass(eq=False)
class Result:
    """One row.

    Attributes:
        name: of the parent or the method.
        kind: parent, merge (one network) or ensemble.
        states: the networks as they predict; of a merge with statistics of its own weights.
        rule: how their outputs are combined.
        note: what differs from the method as published.
        cost: what it took, by name (see `core.runtime.Meter`).
        search_hits: `(n,)` which search images it gets right.
        test_hits: the same of the test images.
        parent: the comparison with the best parent.
        average: the comparison with the uniform average.
    """

    name: str
    kind: str
    states: list[dict[str, Tensor]]
    rule: str = "single"
    note: str = ""
    cost: dict[str, int] = field(default_factory=dict)
    search_hits: NDArray[np.bool_] = field(default_factory=lambda: NOBODY)
    test_hits: NDArray[np.bool_] = field(default_factory=lambda: NOBODY)
    parent: Paired | None = None
    average: Paired | None = None

    @property
    def search(self) -> float:
        """Its accuracy on the search split."""
        return float(self.search_hits.mean())

    @property
    def test(self) -> float:
        """Its accuracy on the test split."""
        return float(self.test_hits.mean())


@dataclass(eq=False)
class Comparison:
    """All rows of one set of parents.

    Attributes:
        budget: evaluations of each search.
        images: test images.
        results: parents first, then what was made of them.
        skipped: what was not run, and why.
        warnings: what a reader should know of the parents and images.
        best_parent: the row that all are compared with: best on the search split.
        interrupted: whether Ctrl-C has ended it.
        level: of each interval; all hold at once in 95 % of cases.
    """

    budget: int
    images: int
    results: list[Result] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    best_parent: Result = field(default_factory=lambda: Result("", "parent", []))
    interrupted: bool = False
    level: float = float("nan")

    def judge(self) -> None:
        """Compare every merge and ensemble with the best parent, every merge with the average."""
        made = [row for row in self.results if row.kind != "parent"]
        average = next((row for row in made if row.name == AVERAGE), None)
        beside = [r for r in made if average and r.kind == "merge" and r is not average]
        self.level = simultaneous(len(made) + len(beside))
        for row in made:
            row.parent = paired(row.test_hits, self.best_parent.test_hits, self.level)
        for row in beside:
            assert average is not None
            row.average = paired(row.test_hits, average.test_hits, self.level)

    @property
    def chosen(self) -> Result:
        """The single network with the best score on the search split; of equals the first."""
        single = [row for row in self.results if len(row.states) == 1]
        return max(single, key=lambda row: row.search)

    @property
    def best(self) -> dict[str, Tensor]:
        """The state dict of `chosen`, for `module.load_state_dict`."""
        return dict(self.chosen.states[0])

    @property
    def resolved(self) -> float:
        """The true difference that the test images show with a chance of 80 %."""
        pairs = [row.parent for row in self.results if row.parent]
        return resolved(pairs, self.level)

    @property
    def sentence(self) -> str:
        """The answer, as far as the intervals carry it."""
        found = [
            Compared(row.name, len(row.states), row.parent, row.average)
            for row in self.results
            if row.parent
        ]
        return sentence(found, self.best_parent.name, self.images, self.resolved)

    @property
    def scope(self) -> str:
        """What the intervals are about, and what they are not."""
        return SCOPE

    def table(self) -> pd.DataFrame:
        """One row per parent and method; accuracies and differences are shares of images."""
        return pd.DataFrame([self._row(row) for row in self.results])

    def _row(self, row: Result) -> dict[str, object]:
        nan = float("nan")
        parent, average = row.parent, row.average
        return {
            "result": row.name,
            "kind": row.kind,
            "best_parent": row is self.best_parent,
            "chosen": row is self.chosen,
            "networks": len(row.states),
            "search": row.search,
            "test": row.test,
            "difference": parent.mean if parent else nan,
            "low": parent.low if parent else nan,
            "high": parent.high if parent else nan,
            "p": parent.p if parent else nan,
            "against_average": average.mean if average else nan,
            "against_average_low": average.low if average else nan,
            "against_average_high": average.high if average else nan,
            "level": self.level,
            "images": self.images,
            "evaluations": row.cost.get("evaluations_asked", 0),
            "forward_images": row.cost.get("forward_images", 0),
            "note": row.note,
        }

    def plot(self) -> Figure:
        """The differences to the best parent with their intervals."""
        from mergesuite.report import tried

        return tried.figure(self.table())

    def save(self, folder: Path | str, *, command: str = "") -> None:
        """Write index.html, results.csv and best.safetensors into a folder.

        Raises:
            MachineError: the folder cannot be written.
        """
        from mergesuite.trying import files

        files.write(self, Path(folder), command)
