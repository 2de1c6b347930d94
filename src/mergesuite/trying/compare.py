"""Parents in, an answer out: every documented method and every free control, at clean protocol.

Read `compare`, then `_run`. Searches score on the search split; BatchNorm statistics of every merge
are re-estimated on the fit split; the test split is opened once, when all results are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from mergesuite import data as datasets
from mergesuite.core import runtime
from mergesuite.core.progress import quiet
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Augmented, Data, Network
from mergesuite.methods import Method
from mergesuite.models.batchnorm import has_batchnorm, reestimate
from mergesuite.report.wording import counted
from mergesuite.stages import merge
from mergesuite.stages.measure import REESTIMATE_IMAGES, Outputs, combine, right
from mergesuite.trying import doubts
from mergesuite.trying.budget import affordable
from mergesuite.trying.entries import Entry, Skipped, entries, own
from mergesuite.trying.given import Given, Pairs, Parents, splits_of
from mergesuite.trying.own import Function, as_method
from mergesuite.trying.progress import Watch
from mergesuite.trying.result import Comparison, Result

State = dict[str, Tensor]


def compare(
    parents: Parents,
    *,
    data: str | Data | datasets.Splits | Mapping[str, Pairs],
    model: str | Network | nn.Module | None = None,
    budget: int | None = None,
    methods: Mapping[str, Function | Method] | None = None,
    only: Iterable[str] | None = None,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batchnorm_augment: Augmented | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Comparison:
    """What merging these parents is worth, next to what is free.

    Args:
        parents: two or more modules, state dicts or files of weights, by name or in a row.
        data: `digits`, `folder:PATH@SIDE`, ..., or for each of fit, search and test the images
            (uint8, or in [0, 1]) and labels, as two tensors, a data set or a loader.
        model: the architecture, by name or as a module; parents that are modules say it themselves.
        budget: candidates that each search may have scored; default: as many as take minutes.
        methods: methods of one's own by name: functions of parents `(k, d)` and a scorer, or
            made methods (`methods.Population`).
        only: the names of the documented methods and controls to run; default: all.
        seed: names every random stream.
        mean: channel means of the images in [0, 1] that inputs are normalised by, with std.
        std: channel standard deviations.
        batchnorm_augment: what training did to images, where statistics of BatchNorm are made anew;
            default: what `data` says, or nothing.
        device: cpu, cuda, cuda:N or auto.
        progress: whether stderr tells how far it is.

    Raises:
        UserError: parents, images or names that cannot be compared; before anything is computed.
    """
    if budget is not None and budget < 1:
        raise UserError(f"budget should be 1 evaluation or more, found {budget}")
    if (mean is None) != (std is None):
        raise UserError("mean and std belong together: give both or neither")
    if batchnorm_augment not in (None, *get_args(Augmented)):
        raise UserError(
            f"batchnorm_augment should be one of {', '.join(get_args(Augmented))}, found "
            f"{batchnorm_augment!r}"
        )
    network = Network.model_validate({"build": model}) if isinstance(model, str) else model
    asked = Data.model_validate({"name": data}) if isinstance(data, str) else data
    splits = splits_of(asked)
    statistics = (mean, std) if mean is not None and std is not None else None
    if isinstance(asked, Data) and asked.normalise and statistics is None:
        statistics = splits.statistics
    augment = batchnorm_augment or (asked.batchnorm_augment if isinstance(asked, Data) else "none")
    given = Given(parents, network, splits, statistics, runtime.device(device), augment)
    doubts.refuse(given)
    normed = has_batchnorm(given.network())
    budget = budget or affordable(given)
    todo, skipped = entries(len(given.parents), budget, batchnorm=normed, only=only)
    mine = {name: as_method(name, one) for name, one in (methods or {}).items()}
    if both := mine.keys() & {entry.name for entry in todo}:
        raise UserError(f"{min(both)} is the name of a documented method: choose another")
    if not todo and not mine:
        raise UserError(
            f"nothing is left to run: {'; '.join(f'{s.name}: {s.why}' for s in skipped)}"
        )
    found = Comparison(budget=budget, images=len(given.labels("test")), skipped=skipped)
    watch = Watch(sum(entry.evaluations for entry in todo), progress)
    watch.say(f"{counted(watch.total, 'evaluation')} in all, {budget} at most for each search")
    _warn(found, watch, doubts.of_data(given, asked if isinstance(asked, Data) else None))
    todo += [Entry(name, own(normed), 0, "your own") for name in mine]
    with runtime.settled():
        _run(given, todo, mine, found, seed, watch)
    return found


def _warn(found: Comparison, watch: Watch, warnings: Iterable[str]) -> None:
    for warning in warnings:
        found.warnings.append(warning)
        watch.say(f"careful: {warning}")


def _run(
    given: Given,
    todo: Sequence[Entry],
    mine: Mapping[str, Method],
    found: Comparison,
    seed: int,
    watch: Watch,
) -> None:
    """Parents, methods, and the test split at the end; Ctrl-C leaves what is done by then."""
    search = Outputs(given, splits=("search",))
    _add_parents(given, search, found, watch)
    hits = {row.name: row.search_hits for row in found.results}
    _warn(found, watch, doubts.of_parents(given, hits))
    try:
        for number, entry in enumerate(todo):
            try:
                row = _made(given, entry, mine.get(entry.name), seed, watch)
                _score(row, search, given)
                if row.kind == "ensemble":
                    row = _better_ensemble(row, search, given)
            except UserError as error:
                found.skipped.append(Skipped(entry.name, str(error)))
                continue
            except KeyboardInterrupt:
                found.skipped += [Skipped(left.name, "interrupted") for left in todo[number:]]
                found.interrupted = True
                break
            watch.ended(entry.name, row.search)
            found.results.append(row)
            if entry.name == "uniform-average":
                _warn(found, watch, doubts.of_average(row.search_hits, hits))
    finally:
        watch.close()
    test = Outputs(given, splits=("test",))
    for row in found.results:
        row.test_hits = _hits(row, test, "test", given)
    found.judge()


def _add_parents(given: Given, search: Outputs, found: Comparison, watch: Watch) -> None:
    """A row for each parent as it is, and one more if the best is one with new statistics."""
    again: list[Result] = []
    for name, state in given.parents.items():
        row = Result(name, "parent", [state])
        _score(row, search, given)
        found.results.append(row)
        if has_batchnorm(given.network()):
            other = Result(f"{name}, BatchNorm re-estimated", "parent", [_settled(given, state)])
            _score(other, search, given)
            again.append(other)
            hits = row.search_hits, other.search_hits
            _warn(found, watch, doubts.of_statistics(name, *hits))
    found.best_parent = max([*found.results, *again], key=lambda row: row.search)
    if found.best_parent in again:
        found.results.append(found.best_parent)


def _made(given: Given, entry: Entry, method: Method | None, seed: int, watch: Watch) -> Result:
    """What one method makes of the parents, as it is used: with statistics of its own weights."""
    meter = watch.meter()
    with quiet():
        merged = merge.merge(
            given,
            entry.how,
            [Path(name) for name in given.parents],
            seed=seed,
            out=None,
            key="",
            meter=meter,
            by=method,
        )
    kind = "merge" if merged.combine == "single" else "ensemble"
    states = [_settled(given, state) for state in merged.state_dicts]
    return Result(entry.name, kind, states, merged.combine, entry.note, dict(meter.cost))


def _better_ensemble(row: Result, search: Outputs, given: Given) -> Result:
    """The ensemble, or that of the parents as they are if search images like it no less."""
    states = list(given.parents.values())
    other = Result(row.name, row.kind, states, row.rule, row.note, row.cost)
    _score(other, search, given)
    best = other if other.search >= row.search else row
    if has_batchnorm(given.network()):
        best.note += ", as they are" if best is other else ", BatchNorm re-estimated"
    return best


def _settled(given: Given, state: Mapping[str, Tensor]) -> State:
    """A network with BatchNorm statistics that belong to its weights."""
    module = given.network()
    module.load_state_dict(state)
    if has_batchnorm(module):
        images = given.calibration(REESTIMATE_IMAGES)
        reestimate(module, images, normalise=given.normalise)
    return {name: tensor.cpu().clone() for name, tensor in module.state_dict().items()}


def _score(row: Result, search: Outputs, given: Given) -> None:
    row.search_hits = _hits(row, search, "search", given)


@torch.inference_mode()
def _hits(row: Result, outputs: Outputs, split: str, given: Given):
    """`(n,)` bool: which images of a split a result gets right."""
    logits = torch.stack([outputs.of(state, "keep", [])[split] for state in row.states])
    return right(combine(logits, row.rule), given.labels(split).cpu()).numpy()
