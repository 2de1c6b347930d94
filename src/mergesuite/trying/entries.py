"""Which methods are run on so many parents with such a budget, and which cannot be, with reasons.

The searches are the clean entries of the papers (`tests/unit/test_trying.py` compares them with
`replications/`): populations and rates stay, and a smaller budget takes generations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mergesuite.errors import UserError, nearest
from mergesuite.experiment import declared
from mergesuite.experiment.settings import Merge

BATCHNORM_IMAGES = 128
"""Fit images on which a candidate's statistics are re-estimated, as at the laptop profile."""
PARENT = "best parent"

MEGA = {"population": 20, "generations": 20, "mutation_rate": 0.02, "mutation": "element"}
SADE = {"variant": "sade", "generations": 100}
CADE = {
    "schedule": 2, "f_init": 1e-5, "cr_init": 1e-5, "c_min": 1e-9, "synchronous": True,
    "forced": True, "granular": False, "generations": 99,
}  # fmt: skip
SHADE = {"variant": "named", "generations": 60}
GRID = 21


@dataclass(frozen=True)
class Entry:
    """One method that is run.

    Attributes:
        name: what it is called in the table; how it is called in `only`.
        how: how the merge stage runs it.
        evaluations: candidates that it asks for.
        note: what differs from the method as published.
    """

    name: str
    how: Merge
    evaluations: int = 0
    note: str = ""


@dataclass(frozen=True)
class Skipped:
    """A method that is not run, and why."""

    name: str
    why: str


class Cannot(Exception):
    """The reason for which a method is skipped."""


def entries(
    parents: int, budget: int, *, batchnorm: bool, only: Iterable[str] | None = None
) -> tuple[list[Entry], list[Skipped]]:
    """What is run on `parents` networks when each search may ask for `budget` candidates.

    Args:
        parents: how many there are.
        budget: evaluations of one search.
        batchnorm: whether the networks have statistics to re-estimate.
        only: names of those that are wanted; None: all.

    Raises:
        UserError: a name in `only` is not known.
    """
    wanted = chosen(only)
    found: list[Entry] = []
    skipped: list[Skipped] = []
    for name, make in MAKERS.items():
        if name not in wanted:
            continue
        try:
            settings, evaluations, note = make(parents, budget)
        except Cannot as reason:
            skipped.append(Skipped(name, str(reason)))
            continue
        fitness = {**_fitness(batchnorm), **settings.pop("fitness", {})}
        how = Merge.model_validate({**settings, "protocol": "clean", "fitness": fitness})
        found.append(Entry(name, how, evaluations, note))
    return found, skipped


def own(batchnorm: bool) -> Merge:
    """How a method of one's own is run: scored as the searches are. Its `use` is not looked at."""
    return Merge.model_validate({"use": "random-search", "fitness": _fitness(batchnorm)})


def chosen(only: Iterable[str] | None) -> Sequence[str]:
    """The names in `only`, checked; all without it."""
    names = list(MAKERS) if only is None else list(only)
    for name in names:
        if name not in MAKERS:
            raise UserError(
                f"no method {name!r} is compared{nearest(name, MAKERS)}: there are "
                f"{', '.join(MAKERS)}"
            )
    return names


def _fitness(batchnorm: bool) -> dict[str, Any]:
    """Accuracy on all search images, as the clean entries have it."""
    again = {"batchnorm": "re-estimate", "batchnorm_images": BATCHNORM_IMAGES}
    return {"split": "search", **(again if batchnorm else {})}


Made = tuple[dict[str, Any], int, str]
"""Settings of a merge, candidates, and a note."""


def _average(parents: int, budget: int) -> Made:
    return {"use": "uniform-average"}, 0, ""


def _aligned(parents: int, budget: int) -> Made:
    note = "" if parents == 2 else "each parent aligned to the first"
    return {"use": "uniform-average", "parents": "aligned"}, 0, note


def _soup(parents: int, budget: int) -> Made:
    return {"use": "greedy-soup"}, parents - 1, ""


def _ensemble(parents: int, budget: int) -> Made:
    return {"use": "ensemble", "params": {"rule": "logits"}}, 0, f"{parents} networks"


def _grid(parents: int, budget: int) -> Made:
    if parents != 2:
        raise Cannot(f"a line has 2 ends, and there are {parents} parents")
    points = min(GRID, budget)
    if points < 3:
        raise Cannot("a grid needs a budget of 3 evaluations or more")
    note = "" if points == GRID else f"{points} points instead of {GRID}"
    return {"use": "interpolation-grid", "params": {"points": points}}, points, note


def _random(parents: int, budget: int) -> Made:
    return {"use": "random-search", "params": {"evaluations": budget}}, budget, ""


def _mega(parents: int, budget: int) -> Made:
    """Pairwise merges, each with an equal part of the budget."""
    merges = parents - 1
    each, full = budget // merges, MEGA["population"]
    population = min(full, each)
    if population < 3:
        raise Cannot(f"{merges} merges need a budget of {3 * merges} evaluations or more")
    generations = min(MEGA["generations"], 1 + (each - population) // (population - 1))
    params = {**MEGA, "population": population, "generations": generations}
    notes = []
    if population < full:
        notes.append(f"population {population} of {full}")
    notes += _shorter(generations, MEGA["generations"])
    if parents & merges:  # not a power of 2
        params["odd"] = "carry"
        notes.append("a parent left over goes up a level")
    cost = merges * (population + (generations - 1) * (population - 1))
    return {"use": "mega", "params": params}, cost, ", ".join(notes)


def _generational(
    use: str, params: dict[str, Any], least: int | None = None, **settings: Any
) -> Callable[[int, int], Made]:
    """A method whose population is the parents: a candidate for each in every generation."""

    def make(parents: int, budget: int) -> Made:
        needed = least or declared.method_fields(use).facts["least"] or 1
        if parents < needed:
            raise Cannot(f"it needs {needed} parents, there are {parents}")
        generations = min(params["generations"], budget // parents)
        if generations < 1:
            raise Cannot(f"a generation needs a budget of {parents} evaluations")
        note = ", ".join(_shorter(generations, params["generations"]))
        made = {"use": use, "params": {**params, "generations": generations}, **settings}
        return made, generations * parents, note

    return make


def _shorter(generations: int, full: int) -> list[str]:
    return [f"{generations} of {full} generations"] if generations < full else []


MAKERS: dict[str, Callable[[int, int], Made]] = {
    "uniform-average": _average,
    "aligned-average": _aligned,
    "greedy-soup": _soup,
    "ensemble": _ensemble,
    "interpolation-grid": _grid,
    "random-search": _random,
    "mega": _mega,
    "darwinian": _generational("darwinian", SADE, least=6, fitness={"metric": "cross-entropy"}),
    "cade": _generational("cade", CADE, part="parameters"),
    "sa-shade": _generational("sa-shade", SHADE),
}
"""Every row but the parents' and one's own, cheapest first: of equal scores the first is best."""
