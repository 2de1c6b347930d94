"""The stage that merges parents into one result. Read `merge`; the ask/tell loop is in `search`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergesuite.core import ranks, runtime, sealed, streams
from mergesuite.core.progress import log
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.core.runtime import Meter
from mergesuite.errors import UserError
from mergesuite.experiment import declared, identity
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.fitness import Evaluator
from mergesuite.methods import (
    Calling,
    Combination,
    FurtherTraining,
    Method,
    OneStep,
    Population,
    create,
    named,
)
from mergesuite.models.alignment import aligned
from mergesuite.models.batchnorm import has_batchnorm
from mergesuite.stages import fisher, members, record
from mergesuite.stages.averages import estimate_statistics
from mergesuite.stages.budget import asked_of, with_budget
from mergesuite.stages.calling import found_by
from mergesuite.stages.problem import Problem
from mergesuite.stages.resume import Resume
from mergesuite.stages.search import Rows, best_of, make_evaluator, search
from mergesuite.stages.trainer import Trainer, train
from mergesuite.weights import WeightSpace, check_same

TOGETHER = ("all", "aligned")
"""The values of `parents` with which every parent takes part, and not one of them alone."""


@dataclass
class Merged:
    """A finished merge.

    Attributes:
        state_dicts: one per member.
        combine: how the members' outputs become one prediction (see `methods.Combination`).
        trace: rows of trace.csv.
        score: fitness of the result as the search counted it; None where nothing was searched.
        begun: that of the best parent, where the search began.
        fitness_images: images behind one fitness value; 0 where nothing was scored.
    """

    state_dicts: list[dict[str, Tensor]]
    combine: str
    trace: Rows
    score: float | None
    begun: float | None
    fitness_images: int


def run(
    network: Network,
    data: Data,
    how: Merge,
    parents: Sequence[Path],
    *,
    seed: int,
    out: Path,
    budget_of: Path | None = None,
    device: str = "auto",
    command: str = "",
    force: bool = False,
) -> None:
    """Merge `parents`: model.safetensors, trace.csv and run.json in `out`.

    An interrupted run with the same settings is continued.

    Raises:
        UserError: parents that do not fit the model or each other, two that are the same, a search
            that found nothing, or `out` holds a result of other settings.
    """
    runtime.settle()
    origins = [record.checkpoint(path) for path in parents]
    source = sealed.read(budget_of) if budget_of else None
    this = record.Run(
        stage="merge",
        out=out,
        seed=seed,
        asked=identity.merging(
            network, data, how, [o["spec"] for o in origins], source["spec"] if source else None
        ),
        modules=declared.modules(build=network.build, data=data.name, method=how.use),
        origins=origins,
        device=runtime.device(device),
        command=command,
        force=force,
    )
    group = ranks.join(this.device)
    with this.alone():
        if not group.agree(this.is_finished):
            budget = asked_of(source["cost"], budget_of) if source and budget_of else None
            _merge(this, network, data, how, origins, budget, group)
    ranks.leave()


def _merge(
    this: record.Run,
    network: Network,
    data: Data,
    how: Merge,
    origins: list[dict[str, Any]],
    budget: Mapping[str, int] | None,
    group: Ranks,
) -> None:
    """Merge, in every process of `group`; the first writes."""
    problem = Problem(network, data, this.device)
    meter = Meter()
    merged = merge(
        problem, how, [Path(o["path"]) for o in origins],
        seed=this.seed, budget=budget, out=this.out, meter=meter, ranks=group,
        key=this.key(problem.content, *(o["sha256"] for o in origins), str(budget)),
    )  # fmt: skip
    if group.rank == 0:
        described = {"model": network.build, "classes": str(problem.classes)}
        tensors, more = members.stacked(merged.state_dicts, merged.combine)
        this.save_weights(record.WEIGHTS, tensors, **described, **more)
        fitness = {"batchnorm": how.fitness.batchnorm, "split": how.fitness.split}
        this.write_rows(
            "trace.csv",
            [{**row, **fitness, "fitness_images": merged.fitness_images} for row in merged.trace],
            ["step", "evaluations", "images", "best"],
        )
        this.finish(
            meter,
            kind="merged",
            processes=group.size,
            method=how.use,
            protocol=how.protocol,
            leaky=how.leaky,
            mixes=len(origins) > 1 and how.parents in TOGETHER and named(how.use).mixes,
            parents=origins,
            budget=budget,
            content=problem.content,
            score=merged.score,
            begun=merged.begun,
            metric=how.fitness.metric,
            fitness_images=merged.fitness_images,
            combine=merged.combine,
        )


def merge(
    problem: Problem,
    how: Merge,
    parents: list[Path],
    *,
    seed: int,
    budget: Mapping[str, int] | None = None,
    out: Path | None,
    key: str,
    meter: Meter,
    ranks: Ranks = ALONE,
    by: Method | None = None,
) -> Merged:
    """Run a method on the parents' checkpoints, resuming what a run with `key` left in `out`.

    `by`: a method of the caller's own, in the place of `how.use`. Without `out` nothing is saved.

    Raises:
        UserError: parents that do not fit the model or each other, two that are the same, or a
            budget for a method that has none.
    """
    for path in parents:
        if parents.count(path) > 1:
            raise UserError(
                f"--parents names {path} twice, the same weights: give different parents"
            )
    method = by or create(how.use, **with_budget(how.use, how.params, budget))
    state_dicts = {str(path): problem.load(path) for path in parents}
    check_same(state_dicts)
    module = problem.network().eval()
    if how.parents == "aligned":
        state_dicts = aligned(module, state_dicts, problem.scored("fit", 1).shape[1:])
    space = WeightSpace(module, how.part)
    vectors = torch.stack([space.flatten(s) for s in state_dicts.values()]).to(problem.device)
    scored = method.chooses or how.part == "parameters"  # then a base is chosen for the rest

    @functools.cache
    def evaluator() -> Evaluator:  # it traces the network: an average does without
        return make_evaluator(problem, space, module, how.fitness, seed, ranks)

    # Statistics that are kept, and in no vector: one vector scores differently beside others.
    beside = how.part == "parameters" and how.fitness.batchnorm == "keep" and has_batchnorm(module)
    fitness = torch.zeros(len(vectors), dtype=torch.float64)
    for i, state in enumerate(state_dicts.values() if scored else ()):
        module.load_state_dict(state)  # what is not in the vector is the parent's own
        fitness[i] = evaluator().scores(vectors[i : i + 1]).fitness[0]
        if beside:
            evaluator().forget()
    top = int(torch.nan_to_num(fitness, nan=-torch.inf, posinf=-torch.inf).argmax())
    base = list(state_dicts.values())[top]
    if isinstance(method, OneStep) and method.wants:
        own = list(state_dicts.values()) if how.parents in TOGETHER else [base] * len(vectors)
        method.squared = fisher.squared_gradients(
            problem, space, own, method.wants, seed=seed, meter=meter
        )
        del own
    module.load_state_dict(base)
    del state_dicts
    if scored:
        meter.add(forward_images=len(vectors) * evaluator().n + evaluator().calibration_images)
        log(f"parents score {', '.join(f'{f:.6g}' for f in fitness)} on {evaluator().n} images")
    if how.parents == "best":
        vectors = vectors[top].expand_as(vectors).clone()
        fitness = fitness[top].expand_as(fitness).clone()
    if how.parents == "copies":
        vectors = _copies(vectors[top], len(vectors), seed)
        fitness = evaluator().scores(vectors).fitness
        meter.add(forward_images=len(vectors) * evaluator().n)

    trace: Rows = []
    score: float | None = None
    begun: float | None = None
    method.tensors = space.sizes
    method.statistics = space.statistics.to(problem.device)
    if isinstance(method, Population):
        if beside:  # the search starts at scores of the kind that it will count
            answer = evaluator().scores(vectors)
            fitness = answer.fitness
            meter.add(forward_images=int(answer.images.sum()))
        begun = float(torch.nan_to_num(fitness, nan=-torch.inf, posinf=-torch.inf).max())
        if method.noisy and how.protocol != "released":
            method.mutable = ~method.statistics
        lift = None if how.protocol == "released" else space.clamp
        trace = search(
            method, evaluator(), vectors, fitness, how.fitness, seed=seed, out=out, key=key,
            meter=meter, lift=lift, ranks=ranks,
        )  # fmt: skip
        vector, score = best_of(method, lift)
        result = Combination(vector[None])
    elif isinstance(method, Calling):
        vector, score = found_by(method, evaluator(), vectors, meter=meter, lift=space.clamp)
        result = Combination(vector[None])
    elif isinstance(method, OneStep):
        result = method.combine(vectors, fitness)
    else:
        assert isinstance(method, FurtherTraining)
        assert out is not None
        _train_on(method, problem, module, seed, meter, Resume(out, key, ranks))
        base = _on_cpu(module.state_dict())
        result = Combination(space.flatten(base)[None])
    made = [{**base, **_on_cpu(space.unflatten(member))} for member in result.members]
    if method.estimates:
        fit = problem.pictures("fit")
        for state in made:
            module.load_state_dict(state)
            estimate_statistics(module, fit, problem, stream=(method.name, seed), meter=meter)
            state.update(_on_cpu(module.state_dict()))
    return Merged(
        made,
        result.combine,
        trace,
        score,
        begun,
        evaluator().n if scored else 0,
    )


COPY_NOISE = 1e-3
"""Relative noise of a copied parent: far below what changes a prediction, and not nothing."""


def _copies(vector: Tensor, count: int, seed: int) -> Tensor:
    """`(count, d)` copies of a parent `(d,)`, all but the first with relative noise."""
    drawn = streams.generator("copies", seed)
    noise = torch.randn((count, len(vector)), generator=drawn, dtype=torch.float32)
    noise[0] = 0
    return vector * (1 + COPY_NOISE * noise.to(vector))


def _train_on(
    method: FurtherTraining,
    problem: Problem,
    module: torch.nn.Module,
    seed: int,
    meter: Meter,
    resume: Resume,
) -> None:
    """Train the loaded (best) parent on."""
    fit = problem.pictures("fit")
    images = method.asked(len(fit))
    recipe = method.recipe(images, len(fit))
    trainer = Trainer(
        module, recipe, fit, normalise=problem.normalise, stream=("train-on", seed), meter=meter
    )
    train(trainer, resume, meter=meter, images=images)


def _on_cpu(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in entries.items()}
