"""Running a method on parents: the one driver of all methods. Read `search`, then `merge`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergesuite.core import store, streams
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.core.runtime import Meter, log, progress
from mergesuite.errors import UserError
from mergesuite.experiment.declared import method_fields
from mergesuite.experiment.spec import Fitness
from mergesuite.fitness import Evaluator
from mergesuite.methods import (
    Combination,
    FurtherTraining,
    Method,
    OneStep,
    Population,
    create,
)
from mergesuite.stages.problem import Problem
from mergesuite.stages.train import Trainer
from mergesuite.weights import WeightSpace, check_same

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """How a method is run, beside its own parameters; the fields are those of `spec.Method`."""

    protocol: str
    part: str
    fitness: Fitness
    parents: str
    leaky: bool
    seed: int
    budget: Mapping[str, int] | None = None
    """Cost of the run whose budget this one gets."""


@dataclass
class Merged:
    """A finished run.

    Attributes:
        state_dicts: one per member.
        combine: how the members' outputs become one prediction (see `methods.Combination`).
        trace: rows of trace.csv.
        score: fitness of the result as the search counted it; None where nothing was searched.
        fitness_images: images behind one fitness value.
    """

    state_dicts: list[dict[str, Tensor]]
    combine: str
    trace: Rows
    score: float | None
    fitness_images: int


def merge(
    problem: Problem,
    name: str,
    params: dict[str, Any],
    parents: list[Path],
    settings: Settings,
    *,
    out: Path,
    key: str,
    meter: Meter,
    ranks: Ranks = ALONE,
) -> Merged:
    """Run method `name` on the parents' checkpoints, resuming what a run with `key` left in `out`.

    Raises:
        UserError: parents that do not fit the model or each other, two that are the same, a search
            on the test split that is not marked leaky, or parameters the method refuses.
    """
    if settings.fitness.split == "test" and not settings.leaky:
        raise UserError(
            "fitness split=test would search on the test data: use split=search, or say --leaky "
            "to reproduce a leak on purpose"
        )
    for path in parents:
        if parents.count(path) > 1:
            raise UserError(
                f"--parents names {path} twice, the same weights: give different parents"
            )
    method = create(name, **with_budget(name, params, settings.budget))
    state_dicts = {str(path): problem.load(path) for path in parents}
    check_same(state_dicts)
    module = problem.network()
    space = WeightSpace(module, settings.part)
    vectors = torch.stack([space.flatten(s) for s in state_dicts.values()]).to(problem.device)
    evaluator = make_evaluator(problem, space, module, settings, ranks)

    fitness = torch.empty(len(vectors), dtype=torch.float64)
    for i, state in enumerate(state_dicts.values()):
        module.load_state_dict(state)  # what is not in the vector is the parent's own
        fitness[i] = evaluator.scores(vectors[i : i + 1]).fitness[0]
    top = int(torch.nan_to_num(fitness, nan=-torch.inf, posinf=-torch.inf).argmax())
    base = list(state_dicts.values())[top]
    module.load_state_dict(base)
    del state_dicts
    meter.add(forward_images=len(vectors) * evaluator.n + evaluator.calibration_images)
    log(f"parents score {', '.join(f'{f:.6g}' for f in fitness)} on {evaluator.n} images")
    if settings.parents == "best":
        vectors = vectors[top].expand_as(vectors).clone()
        fitness = fitness[top].expand_as(fitness).clone()

    trace: Rows = []
    score: float | None = None
    if isinstance(method, Population):
        method.tensors = space.sizes
        if method.noisy and settings.protocol != "released":
            method.mutable = ~space.statistics.to(problem.device)
        trace = search(
            method, evaluator, vectors, fitness, settings, out=out, key=key, meter=meter,
            lift=None if settings.protocol == "released" else space.clamp, ranks=ranks,
        )  # fmt: skip
        vector, score = method.best
        result = Combination(vector[None])
    elif isinstance(method, OneStep):
        result = method.combine(vectors, fitness)
    else:
        _train_on(method, problem, module, settings, meter)
        base = _on_cpu(module.state_dict())
        result = Combination(space.flatten(base)[None])
    return Merged(
        [{**base, **_on_cpu(space.unflatten(member))} for member in result.members],
        result.combine,
        trace,
        score,
        evaluator.n,
    )


def with_budget(
    name: str, params: dict[str, Any], budget: Mapping[str, int] | None
) -> dict[str, Any]:
    """`params` with what a budget sets: `evaluations` or `images`, where the method has it."""
    if budget is None:
        return params
    known = method_fields(name).params.model_fields
    if "evaluations" in known:
        return {"evaluations": budget["evaluations_asked"], **params}
    if "images" in known:
        return {"images": budget["forward_images"], **params}
    raise UserError(f"method {name} has no budget to set: remove budget_of")


def make_evaluator(
    problem: Problem,
    space: WeightSpace,
    module: torch.nn.Module,
    settings: Settings,
    ranks: Ranks = ALONE,
) -> Evaluator:
    """The evaluator that a protocol asks for."""
    fitness = settings.fitness
    images, labels = problem.images(fitness.split)
    if fitness.images is not None:
        if fitness.images > len(images):
            raise UserError(
                f"fitness images={fitness.images}, but split {fitness.split} has {len(images)}: "
                "ask for fewer"
            )
        if not fitness.redraw:
            images, labels = images[: fitness.images], labels[: fitness.images]
    evaluator = Evaluator(
        module,
        space,
        images,
        labels,
        problem.mean,
        problem.std,
        metric=fitness.metric,
        batch_mean=fitness.batch_mean,
        precision=fitness.precision,
        ranks=ranks,
        reestimate_on=problem.first("fit", fitness.batchnorm_images)
        if fitness.batchnorm == "re-estimate"
        else None,
    )
    if fitness.augment != "none" or fitness.redraw:
        _redraw(evaluator, settings, 0)
    return evaluator


def _redraw(evaluator: Evaluator, settings: Settings, epoch: int) -> None:
    evaluator.redraw(
        streams.generator("fitness", settings.seed, epoch),
        augment=settings.fitness.augment,
        size=settings.fitness.images,
    )


def search(
    method: Population,
    evaluator: Evaluator,
    parents: Tensor,
    fitness: Tensor,
    settings: Settings,
    *,
    out: Path,
    key: str,
    meter: Meter,
    lift: Any = None,
    ranks: Ranks = ALONE,
) -> Rows:
    """The ask/tell loop. The state is saved once a generation; `lift` clamps candidates.

    All `ranks` run it alike; the first saves.

    Raises:
        RuntimeError: the best does not score again what the search believes; that would be a bug.
    """
    resume = out / "resume.pt"
    rows: Rows = []
    if state := store.load_state(resume, key):
        method.restore(state["method"])
        rows = state["rows"]
        meter.restore(state["meter"])
        log(f"resuming after {meter.cost['evaluations_asked']} evaluations")
    else:
        method.start(parents, fitness, streams.generator("search", method.name, settings.seed))
    ranks.wait()  # all have read the state before the first replaces it
    epoch = rows[-1].get("epoch", 0) if rows else 0
    if epoch:
        _redraw(evaluator, settings, epoch)
    saved = rows[-1].get("generation") if rows else None
    for _ in progress(iter(int, 1), method.name):
        if (epoch_now := int(method.trace().get("epoch", 0))) != epoch and settings.fitness.redraw:
            epoch = epoch_now
            _redraw(evaluator, settings, epoch)
        proposal = method.ask()
        if proposal is None:
            break
        candidates = proposal.candidates if lift is None else lift(proposal.candidates)
        calibrated = evaluator.calibration_images
        scores = evaluator.scores(candidates, proposal.thresholds)
        method.tell(scores.fitness, scores.exceeded)
        asked = len(proposal)
        del proposal, candidates  # or the next trials would be bred beside these
        meter.add(
            forward_images=int(scores.images.sum()) + evaluator.calibration_images - calibrated,
            evaluations_asked=asked,
            evaluations_computed=int((scores.images > 0).sum()),
        )
        rows.append(
            {
                "step": len(rows) + 1,
                "evaluations": meter.cost["evaluations_asked"],
                "images": meter.cost["forward_images"],
                **method.trace(),
            }
        )
        if rows[-1].get("generation") != saved or "generation" not in rows[-1]:
            saved = rows[-1].get("generation")
            state = {"key": key, "method": method.state(), "rows": rows, "meter": meter.state()}
            if ranks.rank == 0:
                store.save_state(resume, state)
    _recheck(method, evaluator)
    return rows


def _recheck(method: Population, evaluator: Evaluator) -> None:
    """The best must score again, from nothing, what the search says that it scores."""
    vector, score = method.best
    if not torch.isfinite(torch.tensor(score)):
        raise UserError(
            f"method {method.name} found nothing with a finite score: "
            "every candidate failed; lower its mutation or scale factor"
        )
    evaluator.forget()
    again = float(evaluator.scores(vector[None]).fitness[0])
    if again != score:
        raise RuntimeError(f"{method.name}: best scores {again} when scored again, not {score}")


def _train_on(
    method: Method,
    problem: Problem,
    module: torch.nn.Module,
    settings: Settings,
    meter: Meter,
) -> None:
    """Train the loaded (best) parent on."""
    assert isinstance(method, FurtherTraining)
    if not method.images:
        raise UserError("method train-on needs a budget: set images, or budget_of in the spec")
    images, labels = problem.images("fit")
    recipe = method.recipe(method.images, len(images))
    trainer = Trainer(
        module, recipe, images, labels, normalise=problem.normalise,
        stream=("train-on", settings.seed), meter=meter,
    )  # fmt: skip
    left = method.images
    for epoch in range(recipe.epochs):
        trainer.epoch(epoch, stop_after=left)
        left -= len(images)


def _on_cpu(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in entries.items()}
