"""The stage that trains one network. The loop itself is in `trainer`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mergesuite.core import ranks, runtime, store
from mergesuite.core.runtime import Meter, log
from mergesuite.errors import UserError
from mergesuite.experiment import declared, identity
from mergesuite.experiment.settings import Data, Network, Recipe
from mergesuite.stages import record
from mergesuite.stages.problem import Problem
from mergesuite.stages.resume import Resume
from mergesuite.stages.trainer import Trainer
from mergesuite.stages.trainer import train as train_to_the_end


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

    An interrupted run with the same settings is continued.

    Raises:
        UserError: data or start do not fit, the loss is not finite, or `out` holds a result of
            other settings.
    """
    ranks.refuse("train")
    runtime.settle()
    origin = record.checkpoint(start) if start else None
    this = record.Run(
        stage="train",
        out=out,
        seed=seed,
        asked=identity.training(network, data, recipe, origin["spec"] if origin else None),
        modules=declared.modules(build=network.build, data=data.name),
        device=runtime.device(device),
        command=command,
        force=force,
    )
    if this.is_finished():
        return
    meter = Meter()
    problem = Problem(network, data, this.device)
    module = problem.network(seed)
    if start:
        _start_from(module, start)
    images, labels = problem.images("fit")
    trainer = Trainer(
        module, recipe, images, labels,
        normalise=problem.normalise, stream=("train", seed), meter=meter,
    )  # fmt: skip

    resume = Resume(out, this.key(problem.content, origin["sha256"] if origin else ""))
    described = {"model": network.build, "classes": str(problem.classes)}

    def keep(epoch: int, trained: nn.Module) -> None:
        resume.keep(_file(epoch), _on_cpu(trained), {**described, "spec": this.spec})

    curve = train_to_the_end(
        trainer, resume, meter=meter, held_out=problem.images("search"), keep=keep
    )
    this.save_weights(record.WEIGHTS, _on_cpu(module), **described)
    _clear(out / "epochs")
    for epoch in recipe.kept_epochs()[:-1]:
        this.copy_weights(_file(epoch), resume.kept(_file(epoch)))
    store.write_rows(out / "curve.csv", curve)
    this.finish(
        meter, kind="parent", method="train", start=origin, parents=[], content=problem.content
    )


def _start_from(module: Any, path: Path) -> None:
    """Take over a checkpoint; a classifier of another shape keeps its fresh weights.

    Source: CADE's `create_model.py` lines 47-48.
    """
    state = store.load_weights(path)
    own = module.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    # A published file may lack BatchNorm's batch counters, which no result depends on.
    fresh = sorted(k for k in own.keys() - fitting.keys() if own[k].is_floating_point())
    if len({name.rpartition(".")[0] for name in fresh}) > 1:
        raise UserError(
            f"{path} does not fit this model: {fresh[0]!r} and {len(fresh) - 1} more differ; "
            "only the classifier may"
        )
    module.load_state_dict({**own, **fitting})
    log(f"starting from {path}; fresh: {', '.join(fresh) or 'nothing'}")


def _file(epoch: int) -> str:
    """The name of a kept epoch's weights; those of the last epoch are the model's."""
    return f"epochs/{epoch:03d}.safetensors"


def _clear(folder: Path) -> None:
    """Make an empty folder; files of a result that was replaced are not of this one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}
