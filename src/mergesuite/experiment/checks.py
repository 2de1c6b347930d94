"""Whether the parts of a paper.yaml fit each other: names lead somewhere, nothing goes in a circle.

Each check answers with phrases that say where, what is wrong and what to change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mergesuite.errors import nearest
from mergesuite.experiment import declared
from mergesuite.experiment.spec import Paper, replicate_of

SPLITS = ("fit", "search", "test", "none")


def problems(made: Paper) -> list[str]:
    """All that does not fit; what builds on names is checked once all names lead somewhere."""
    return (_names(made) + _same_names(made)) or _circles(made) or _misfits(made)


def _names(made: Paper) -> list[str]:
    """References to models, populations, entries and subjects that do not exist."""
    errors = []
    for slug, model in made.models.items():
        errors += _missing(f"models.{slug}.start", model.start_model, made.models)
    for slug, population in made.populations.items():
        errors += _missing(f"populations.{slug}.model", population.model, made.models)
        for name in population.models:
            errors += _missing(f"populations.{slug}.models", name, made.all_subjects())
        for name in population.entries:
            errors += _missing(f"populations.{slug}.entries", name, made.methods)
    for slug, entry in made.methods.items():
        for name in entry.populations:
            errors += _missing(f"methods.{slug}.populations", name, made.populations)
        errors += _missing(f"methods.{slug}.budget_of", entry.budget_of, made.methods)
        errors += _missing(f"methods.{slug}.twin", entry.twin, made.methods)
    for name in made.run:
        errors += _missing("run", name, made.populations)
    for slug, claim in made.claims.items():
        for name in (claim.subject, claim.against):
            errors += _missing(f"claims.{slug}", name, made.all_subjects())
        errors += _missing(f"claims.{slug}.split", claim.split, (*SPLITS, *made.evaluate))
    for slug, step in made.waterfall.items():
        errors += _missing(f"waterfall.{slug}", step.subject, made.all_subjects())
    for slug, trend in made.trends.items():
        for name in trend.populations:
            errors += _missing(f"trends.{slug}.populations", name, made.populations)
        for key, line in trend.lines.items():
            for name in (line.entry, line.against):
                errors += _missing(f"trends.{slug}.lines.{key}", name, made.methods)
    errors += [
        f"evaluate.{name}: a split has this name: choose another"
        for name in made.evaluate
        if name in SPLITS
    ]
    return errors


def _missing(where: str, name: str | None, known: Collection[str]) -> list[str]:
    if name is None or name in known:
        return []
    return [f"{where}: there is no {name!r}{nearest(name, known)}"]


def _same_names(made: Paper) -> list[str]:
    """Two things that would be called the same: results of one would replace the other's."""
    seen: dict[str, str] = {}
    errors = []
    for name, parts in made.named_subjects():
        what = f"entry {parts[0]} on population {parts[1]}" if parts else f"model {name}"
        if name in seen:
            errors.append(f"{seen[name]} and {what} are both called {name!r}: rename one of them")
        seen[name] = what
    twice = sorted(made.claims.keys() & made.untested.keys())
    return errors + [f"untested.{slug}: a claim that is tested has this name" for slug in twice]


def _circles(made: Paper) -> list[str]:
    """Models, budgets and populations that wait for themselves."""
    starts = {slug: [model.start_model] for slug, model in made.models.items()}
    budgets = {slug: [entry.budget_of] for slug, entry in made.methods.items()}
    merged = {slug: made.merged_from(slug) for slug in made.populations}
    return [
        *_circle("models", "start", starts),
        *_circle("methods", "budget_of", budgets),
        *_circle("populations", "models", merged),
    ]


def _circle(table: str, key: str, leads: Mapping[str, Sequence[str | None]]) -> list[str]:
    """The first circle among what leads to what, as a phrase."""
    finished: set[str] = set()
    for first in leads:
        path: list[str] = []
        if circle := _walk(first, leads, path, finished):
            chain = " -> ".join(circle)
            return [f"{table}: {key} goes in a circle ({chain}): one of them must not wait"]
    return []


def _walk(
    at: str, leads: Mapping[str, Sequence[str | None]], path: list[str], finished: set[str]
) -> list[str]:
    """The circle that is met on the way from `at`, or nothing."""
    if at in path:
        return [*path[path.index(at) :], at]
    if at in finished:
        return []
    for other in leads[at]:
        if other and (circle := _walk(other, leads, [*path, at], finished)):
            return circle
    finished.add(at)
    return []


def _misfits(made: Paper) -> list[str]:
    """What is run and cannot be made of what is trained, merged or given."""
    errors = []
    for slug in made.active():
        unfilled = _unfilled(made, slug)
        errors += unfilled + _not_networks(made, slug) + _no_average(made, slug)
        errors += [] if unfilled else _too_few_members(made, slug)
    for slug in made.active_models():
        errors += _too_few_starts(made, slug)
    for slug, entry in made.methods.items():
        if entry.twin and (not entry.leaky or made.methods[entry.twin].leaky):
            errors.append(f"methods.{slug}.twin: a leaky entry has a twin that is not leaky")
    for slug, parts in made.all_subjects().items():
        if parts and (other := made.methods[parts[0]].budget_of):
            errors += _without_budget(made, slug, parts, other)
    return errors


def _without_budget(made: Paper, slug: str, parts: tuple[str, str], other: str) -> list[str]:
    """A search whose budget is that of one which is not run on the same parents."""
    entry, population = parts
    if f"{other}-{population}" not in made.all_subjects():
        return [
            f"methods.{entry}.budget_of: {other} is not run on {population}, so there is no "
            f"budget for {slug}: add {population} to its populations, or restrict these"
        ]
    there = {replicate_of(seed) for seed in made.seeds(f"{other}-{population}")}
    if {replicate_of(seed) for seed in made.seeds(slug)} <= there:
        return []
    return [
        f"methods.{entry}.budget_of: {other} has {len(there)} replicates on {population}, fewer "
        f"than {slug}: give both the same `replicates`"
    ]


def _too_few_members(made: Paper, slug: str) -> list[str]:
    """Methods that a population has not members enough for."""
    members = len(made.parents(slug, 0))
    errors = []
    for name, entry in made.methods.items():
        least = declared.method_fields(entry.use).facts["least"] or 1
        if made.is_for(name, slug) and members < least:
            errors.append(
                f"methods.{name}: {entry.use} needs {least} parents, population {slug} has "
                f"{members}: leave {slug} out of its populations, or add members"
            )
    return errors


def _unfilled(made: Paper, slug: str) -> list[str]:
    """A population that the kept epochs, seeds or files do not fill once."""
    population = made.populations[slug]
    model = made.models[population.model] if population.model else None
    if model and population.epochs and population.epochs > model.recipe.keep:
        return [
            f"populations.{slug}.epochs: {population.epochs} asked, "
            f"models.{population.model}.recipe.keep is {model.recipe.keep}"
        ]
    if made.count(slug):
        return []
    there = f"models.{population.model}.seeds is {model.seeds if model else 0}"
    if population.files:
        there = f"populations.{slug}.files are {len(population.files)}"
    return [f"populations.{slug}.take: {population.take} asked, {there}"]


def _no_average(made: Paper, slug: str) -> list[str]:
    """Members of a population whose runs do not keep the average that is asked for."""
    population = made.populations[slug]
    names = population.models or [population.model or ""]
    return [
        f"populations.{slug}.average: {name} keeps no {population.average}: set models.{name}."
        f"recipe.{'swa_start' if population.average == 'swa' else 'ema'}"
        for name in names
        if population.average
        and not (name in made.models and population.average in made.models[name].recipe.averages())
    ]


def _not_networks(made: Paper, slug: str) -> list[str]:
    """Members of a population that are no single network: an ensemble stays several."""
    found = [made.all_subjects()[name] for name in made.populations[slug].models]
    return [
        f"populations.{slug}.models: {parts[0]} is an ensemble, which is no network to be merged"
        for parts in found
        if parts and made.methods[parts[0]].use == "ensemble"
    ]


def _too_few_starts(made: Paper, slug: str) -> list[str]:
    """A model with more seeds than the one that it starts at, unless that has only one."""
    model = made.models[slug]
    if not model.start_model:
        return []
    there = made.models[model.start_model].seeds
    if there == 1 or there >= model.seeds:
        return []
    return [
        f"models.{slug}.start: {model.seeds} seeds start at {there} of {model.start_model}: give "
        f"models.{model.start_model}.seeds as many, or 1 to start all at the same"
    ]
