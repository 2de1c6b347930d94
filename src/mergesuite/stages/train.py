"""The stage that trains one network. The loop itself is in `trainer`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mergesuite.core import ranks, runtime, store, weightfiles
from mergesuite.core.progress import log
from mergesuite.core.ranks import Ranks
from mergesuite.core.runtime import Meter
from mergesuite.errors import UserError
from mergesuite.experiment import declared, identity
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Network
from mergesuite.stages import record
from mergesuite.stages.averages import estimate_statistics
from mergesuite.stages.problem import Problem
from mergesuite.stages.resume import Resume
from mergesuite.stages.trainer import Trainer
from mergesuite.stages.trainer import train as train_to_the_end
from mergesuite.weights import as_stored


def run(
    network: Network,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    out: Path,
    start: Path | None = None,
    device: str = "auto",
    command: str = "",
    force: bool = False,
) -> None:
    """Train `network`: model.safetensors, epochs/, curve.csv and run.json in `out`.

    Started by torchrun, the processes divide each batch among them, and the first one writes. An
    interrupted run with the same settings is continued.

    Raises:
        UserError: data or start do not fit, the loss is not finite, or `out` holds a result of
            other settings.
    """
    runtime.settle()
    where = runtime.device(device)
    group = ranks.join(where)
    origin = record.checkpoint(start) if start else None
    this = record.Run(
        stage="train",
        out=out,
        seed=seed,
        asked=identity.training(network, data, recipe, origin["spec"] if origin else None),
        modules=declared.modules(build=network.build, data=data.name),
        origins=[origin] if origin else [],
        device=where,
        command=command,
        force=force,
    )
    with this.alone():
        if not group.agree(this.is_finished):
            _train(this, network, data, recipe, origin, group)
    ranks.leave()


def _train(
    this: record.Run,
    network: Network,
    data: Data,
    recipe: Recipe,
    origin: dict[str, Any] | None,
    group: Ranks,
) -> None:
    """Train, in every process of `group`; the first writes."""
    meter = Meter()
    problem = Problem(network, data, this.device)
    module = problem.network(this.seed)
    if origin:
        _start_from(module, Path(origin["path"]))
    fit = problem.pictures("fit", recipe.leave_out)
    trainer = Trainer(
        module, recipe, fit,
        normalise=problem.normalise, stream=("train", this.seed), meter=meter, ranks=group,
    )  # fmt: skip

    key = this.key(problem.content, origin["sha256"] if origin else "", str(group.size))
    resume = Resume(this.out, key, group)
    described = {"model": network.build, "classes": str(problem.classes)}

    def keep(epoch: int, trained: nn.Module) -> None:
        resume.keep(_file(epoch), _on_cpu(trained), {**described, "spec": this.spec})

    held_out = problem.pictures("search")
    curve = train_to_the_end(trainer, resume, meter=meter, held_out=held_out, keep=keep)
    if group.rank:
        return
    made = {"last": module, **trainer.averages.modules()}
    if "swa" in made:
        estimate_statistics(
            made["swa"], fit, problem, stream=("train", this.seed, "swa"), meter=meter
        )
    this.save_weights(record.WEIGHTS, _on_cpu(made[recipe.result]), **described)
    _clear(this.out / "epochs")
    for epoch in recipe.kept_epochs()[:-1]:
        this.copy_weights(_file(epoch), resume.kept(_file(epoch)))
    if recipe.result != "last":
        this.save_weights(_file(recipe.epochs), _on_cpu(module), **described)
    for name in recipe.averages():
        this.save_weights(_file(name), _on_cpu(made[name]), **described)
    this.write_rows("curve.csv", curve)
    this.finish(
        meter, kind="parent", method="train", start=origin, parents=[], content=problem.content,
        processes=group.size,
    )  # fmt: skip


def _start_from(module: Any, path: Path) -> None:
    """Take over a checkpoint; a classifier of another shape keeps its fresh weights.

    Source: CADE's `create_model.py` lines 47-48.
    """
    own = module.state_dict()
    state = store.load_weights(path, weightfiles.most_bytes(own))
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    # A published file may lack BatchNorm's batch counters, which no result depends on.
    fresh = sorted(k for k in own.keys() - fitting.keys() if own[k].is_floating_point())
    if len({name.rpartition(".")[0] for name in fresh}) > 1:
        raise UserError(
            f"{path} does not fit this model: {fresh[0]!r} and {len(fresh) - 1} more differ; "
            "only the classifier may"
        )
    fitting = as_stored(fitting, own, f"the weights in {path}")
    module.load_state_dict({**own, **fitting})
    log(f"starting from {path}; fresh: {', '.join(fresh) or 'nothing'}")


def _file(kept: int | str) -> str:
    """The name of the weights of a kept epoch or average, where they are not the model's."""
    return f"epochs/{kept if isinstance(kept, str) else f'{kept:03d}'}.safetensors"


def _clear(folder: Path) -> None:
    """Make an empty folder; files of a result that was replaced are not of this one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}
