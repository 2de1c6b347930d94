"""What a reviewer would ask about a spec: every doubt that it can raise before anything is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from mergesuite.experiment import declared
from mergesuite.experiment.spec import BASE, SMALLER, Method, Paper, replicate_of
from mergesuite.judge.verdict import FEWEST

FEW_IMAGES = 200
"""With fewer, one image is more than half a point of fitness: parents and children tie."""


class Finding(NamedTuple):
    """One thing that is wrong (error) or that a reader may ask about (doubt)."""

    kind: Literal["error", "doubt"]
    where: str
    what: str
    change: str


def doubt(where: str, what: str, change: str) -> Finding:
    """A finding that may be meant."""
    return Finding("doubt", where, what, change)


def doubts(paper: Paper, base: Paper, profile: str) -> Iterator[Finding]:
    """All that is doubtful in a paper at a profile; `base` is the same at full scale."""
    for check in CHECKS:
        yield from check(paper)
    yield from _smaller(paper, base)
    if profile == BASE:
        yield from _nobody_uses(paper)
    if profile in SMALLER:
        yield from _not_said(paper)


def _entry(paper: Paper, subject: str | None) -> tuple[str, Method] | None:
    parts = paper.all_subjects()[subject] if subject else None
    return (parts[0], paper.methods[parts[0]]) if parts else None


def _searches(entry: Method) -> bool:
    """Whether an entry optimises something: a population method, or one that is given a fitness."""
    return _is_search(entry) or "fitness" in entry.model_fields_set


def _is_search(entry: Method) -> bool:
    return declared.method_fields(entry.use).kind == "population"


def _batchnorm(paper: Paper) -> Iterator[Finding]:
    """Claims measured under another BatchNorm treatment than their subject's search optimised."""
    for slug, claim in paper.claims.items():
        if claim.split == "none":
            continue
        found = _entry(paper, claim.subject)
        if found and _searches(found[1]) and found[1].fitness.batchnorm != claim.batchnorm:
            yield doubt(
                f"claims.{slug}.batchnorm",
                f"measured with BatchNorm {claim.batchnorm}; the search of {found[0]} optimised "
                f"{found[1].fitness.batchnorm}",
                f"batchnorm: {found[1].fitness.batchnorm}, or another fitness.batchnorm",
            )


def _best_parents(paper: Paper) -> Iterator[Finding]:
    """Claims against a best parent that was picked under another BatchNorm treatment.

    Which parent is best depends on it; against a weaker one a gain is partly the choice.
    """
    for slug, claim in paper.claims.items():
        found = _entry(paper, claim.against)
        if claim.split == "none" or not found or found[1].use != "best-parent":
            continue
        # Averaged statistics would spoil a parent: it is measured as trained.
        measured = "re-estimate" if claim.batchnorm == "re-estimate" else "keep"
        if (picked := found[1].fitness.batchnorm) != measured:
            yield doubt(
                f"claims.{slug}.against",
                f"measured with BatchNorm {measured}; {found[0]} was picked under {picked}",
                f"against: a best parent whose fitness.batchnorm is {measured}",
            )


def _replicates(paper: Paper) -> Iterator[Finding]:
    """Claims that get no verdict, for there are too few replicates."""
    run = paper.subjects()
    for slug, claim in paper.claims.items():
        sides = {claim.subject, claim.against}
        if not sides <= run.keys():
            continue
        count = min(len({replicate_of(seed) for seed in paper.seeds(name)}) for name in sides)
        if count < FEWEST:
            yield doubt(
                f"claims.{slug}",
                f"{count} replicates; there is no verdict with fewer than {FEWEST}",
                f"replicates: {FEWEST}, and seeds (or files) for as many",
            )


def _leaks(paper: Paper) -> Iterator[Finding]:
    """Leaky searches beside which nothing shows what the leak alone is worth."""
    for slug, entry in paper.methods.items():
        if entry.leaky and _is_search(entry) and not entry.twin:
            yield doubt(
                f"methods.{slug}",
                "leaky, and no twin does the same on held-out images",
                "twin: ENTRY, one with the same settings and fitness.split: search",
            )
    for slug, claim in paper.claims.items():
        found = _entry(paper, claim.subject)
        if found and found[1].twin and paper.twin_of(claim.subject) is None:
            yield doubt(
                f"claims.{slug}",
                f"{found[1].twin}, the twin of {found[0]}, is not run on its population",
                f"add the population to methods.{found[1].twin}.populations",
            )


def _calibration(paper: Paper) -> Iterator[Finding]:
    """Networks that were trained on padded crops, and get BatchNorm statistics of plain images."""
    for slug in paper.active():
        models = paper.trained_for(slug)
        if models and all(
            paper.models[model].recipe.augment.startswith("crop")
            and not paper.data_of(model).batchnorm_augment.startswith("crop")
            for model in models
        ):
            yield doubt(
                f"populations.{slug}",
                "members are trained on padded crops, BatchNorm is re-estimated on plain images",
                "data.batchnorm_augment: crop-flip, or crop, as the recipes have it",
            )


ALIKE = ("use", "params", "part", "parents", "searches")
FITNESS_ALIKE = ("metric", "batchnorm", "batchnorm_images", "augment", "batch_mean", "redraw")


def _twins(paper: Paper) -> Iterator[Finding]:
    """Twins that differ in more than the images that they see: then not only the leak is shown."""
    for slug, entry in paper.methods.items():
        if not entry.twin:
            continue
        other = paper.methods[entry.twin]
        differing = [k for k in ALIKE if getattr(entry, k) != getattr(other, k)]
        differing += [
            f"fitness.{k}"
            for k in FITNESS_ALIKE
            if getattr(entry.fitness, k) != getattr(other.fitness, k)
        ]
        if differing:
            yield doubt(
                f"methods.{slug}.twin",
                f"{entry.twin} differs in more than its images: {', '.join(differing)}",
                "give both the same, so that the difference is the leak alone",
            )


def _few_images(paper: Paper) -> Iterator[Finding]:
    """Search splits so small that fitness values tie."""
    for model in paper.active_models():
        size = paper.data_of(model).sizes.get("search")
        if size is not None and size < FEW_IMAGES:
            where = f"models.{model}.data" if paper.models[model].data else "data"
            yield doubt(
                f"{where}.sizes.search",
                f"{size} images: fitness values will tie",
                f"at least {FEW_IMAGES}",
            )
            return


def _controls(paper: Paper) -> Iterator[Finding]:
    """Comparisons that every table needs."""
    used = {entry.use for entry in paper.methods.values() if not entry.leaky}
    for name in ("best-parent", "uniform-average"):
        if name not in used:
            yield doubt("methods", f"no entry uses {name}", "add it, or say controls:")


def _smaller(paper: Paper, base: Paper) -> Iterator[Finding]:
    """Searches that a profile makes smaller: it should shrink networks and data, not the method."""
    for slug, entry in paper.methods.items():
        full = base.methods.get(slug)
        if not full or full.use != entry.use:
            continue
        if declared.method_fields(entry.use).kind != "population":
            continue
        there = declared.check_params(entry.use, full.params)
        for name, value in declared.check_params(entry.use, entry.params).items():
            if type(value) is int and type(there[name]) is int and value < there[name]:
                yield doubt(
                    f"methods.{slug}",
                    f"{name} is {value}, at full {there[name]}: the method is made smaller",
                    "shrink networks, images and epochs instead",
                )


def _nobody_uses(paper: Paper) -> Iterator[Finding]:
    """Models and entries of the base that nothing is made of."""
    used = {name for slug in paper.populations for name in paper.trained_for(slug)}
    used |= {spec.model for spec in paper.populations.values() if spec.model}
    used |= {model.start_model for model in paper.models.values() if model.start_model}
    compared = {s for c in paper.claims.values() for s in (c.subject, c.against)}
    for slug in paper.models:
        if slug not in used | compared:
            yield doubt(f"models.{slug}", "in no population", "add it to one, or remove it")
    for slug in paper.methods:
        if not any(paper.is_for(slug, population) for population in paper.active()):
            yield doubt(f"methods.{slug}", "run on no population", "add one, or remove it")


def _not_said(paper: Paper) -> Iterator[Finding]:
    """A smaller profile that passes for the paper's scale."""
    if not paper.reduced:
        yield doubt("reduced", "this profile does not say what it reduces", "say it in a sentence")


CHECKS: list[Callable[[Paper], Iterator[Finding]]] = [
    _batchnorm, _best_parents, _replicates, _leaks, _calibration, _twins, _few_images, _controls,
]  # fmt: skip
