"""Searching: the evaluator that a protocol asks for, and the ask/tell loop. Read `search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergesuite.core import streams
from mergesuite.core.progress import Count, log
from mergesuite.core.ranks import ALONE, Ranks
from mergesuite.core.runtime import Meter
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Fitness
from mergesuite.fitness import Evaluator
from mergesuite.methods import Population
from mergesuite.stages.problem import Problem
from mergesuite.stages.resume import Resume
from mergesuite.weights import WeightSpace

Rows = list[dict[str, Any]]


def make_evaluator(
    problem: Problem,
    space: WeightSpace,
    module: torch.nn.Module,
    fitness: Fitness,
    seed: int,
    ranks: Ranks = ALONE,
) -> Evaluator:
    """The evaluator that a protocol asks for."""
    labels = problem.labels(fitness.split)
    if fitness.labels == "permuted":
        drawn = streams.generator("labels", fitness.split, seed)
        labels = labels[torch.randperm(len(labels), generator=drawn).to(labels.device)]
    if fitness.images is not None and fitness.images > len(labels):
        raise UserError(
            f"fitness images={fitness.images}, but split {fitness.split} has {len(labels)}: "
            "ask for fewer"
        )
    images = problem.scored(fitness.split, None if fitness.redraw else fitness.images)
    labels = labels[: len(images)]
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
        reestimate_on=problem.calibration(fitness.batchnorm_images)
        if fitness.batchnorm == "re-estimate"
        else None,
    )
    if fitness.augment != "none" or fitness.redraw:
        redraw(evaluator, fitness, seed, 0)
    return evaluator


def redraw(evaluator: Evaluator, fitness: Fitness, seed: int, epoch: int) -> None:
    """Go over to the images of a DE epoch."""
    evaluator.redraw(
        streams.generator("fitness", seed, epoch),
        augment=fitness.augment,
        size=fitness.images,
    )


def search(
    method: Population,
    evaluator: Evaluator,
    parents: Tensor,
    scores: Tensor,
    fitness: Fitness,
    *,
    seed: int,
    out: Path | None,
    key: str,
    meter: Meter,
    lift: Any = None,
    ranks: Ranks = ALONE,
) -> Rows:
    """The ask/tell loop. The state is saved between generations; `lift` clamps candidates.

    All `ranks` run it alike; the first saves. Without `out` nothing is saved.

    Raises:
        RuntimeError: the best does not score again what the search believes; that would be a bug.
    """
    resume = Resume(out, key, ranks)
    rows: Rows = []
    draw = 0
    if state := resume.load(parents.device):
        method.restore(state["method"])
        rows, draw = state["rows"], state["draw"]
        if draw:
            redraw(evaluator, fitness, seed, draw)
        evaluator.restore(state["evaluator"])
        meter.restore(state["meter"])
        log(f"resuming after {meter.cost['evaluations_asked']} evaluations")
    else:
        method.start(parents, scores, streams.generator("search", method.name, seed))

    def state_now() -> dict[str, Any]:
        return {
            "method": method.state(),
            "evaluator": evaluator.state(),
            "rows": rows,
            "draw": draw,
            "meter": meter.state(),
        }

    last = rows[-1].get("generation") if rows else None
    done = rows[-1]["evaluations"] if rows else 0
    count = Count(method.name, done, method.candidates(len(parents)), "evaluations")
    while True:
        epoch = int(method.trace().get("epoch", 0))
        if fitness.redraw and epoch != draw:
            draw = epoch
            redraw(evaluator, fitness, seed, draw)
        proposal = method.ask()
        if proposal is None:
            break
        candidates = proposal.candidates if lift is None else lift(proposal.candidates)
        calibrated = evaluator.calibration_images
        answer = evaluator.scores(candidates, proposal.thresholds)
        method.tell(answer.fitness, answer.exceeded)
        asked = len(proposal)
        del proposal, candidates  # or the next trials would be bred beside these
        meter.add(
            forward_images=int(answer.images.sum()) + evaluator.calibration_images - calibrated,
            images_asked=asked * evaluator.images_each,
            evaluations_asked=asked,
            evaluations_computed=int((answer.images > 0).sum()),
        )
        count.add(asked)
        rows.append(
            {
                "step": len(rows) + 1,
                "evaluations": meter.cost["evaluations_asked"],
                "images": meter.cost["forward_images"],
                **method.trace(),
            }
        )
        if rows[-1].get("generation") != last or "generation" not in rows[-1]:
            last = rows[-1].get("generation")
            resume.save(state_now)
            count.say(f"best {_share(rows[-1]['best'], fitness, evaluator.n)}")
    count.close()
    _recheck(method, evaluator, lift)
    return rows


def _share(score: float, fitness: Fitness, images: int) -> str:
    """A score for a reader: an accuracy where images were counted, else as it is."""
    counts = fitness.metric == "accuracy" and not fitness.batch_mean
    return f"{score / images:.4f}" if counts else f"{score:.6g}"


def best_of(method: Population, lift: Any) -> tuple[Tensor, float]:
    """The best of a search `(d,)` and its score, clamped as it was when it was scored.

    A method that composes its candidates makes its best anew, as it was before that.
    """
    vector, score = method.best
    return (vector if lift is None else lift(vector)), score


def _recheck(method: Population, evaluator: Evaluator, lift: Any) -> None:
    """The best must score again, from nothing, what the search says that it scores."""
    vector, score = best_of(method, lift)
    if not torch.isfinite(torch.tensor(score)):
        raise UserError(
            f"method {method.name} found nothing with a finite score: "
            "every candidate failed; lower its mutation or scale factor"
        )
    evaluator.forget()
    again = float(evaluator.scores(vector[None]).fitness[0])
    if again != score:
        raise RuntimeError(f"{method.name}: best scores {again} when scored again, not {score}")
