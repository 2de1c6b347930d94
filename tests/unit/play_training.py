"""Trainings on several processes, for `test_train_ranks.py`; rank 0 writes their weights.

As a program it is torchrun: its processes are forked from it, so that torch is imported once.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from play_ranks import launched
from torch import nn

from mergesuite import models
from mergesuite.cli import run
from mergesuite.core import ranks, store, streams
from mergesuite.core.runtime import Meter
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.experiment.recipe import Recipe
from mergesuite.stages.trainer import Trainer, accuracy
from mergesuite.stages.updates import Updates

N = 52
COMMON = {"optimiser": "sgd", "lr": 0.02, "epochs": 2, "batch": 20, "micro_batch": 5}
CASES = {
    "batchnorm": ("resnet8-w4", {"augment": "crop-flip", "schedule": "cosine"}),
    "dropout": ("dropout", {"mixup": 0.4, "label_smoothing": 0.1, "clip": 0.5, "ema": 0.9}),
    "mixed": ("resnet8-w4", {"cutmix": 1.0, "rand_augment": 1, "erasing": 0.5, "swa_start": 1}),
}
TRAIN = [
    "train", "--model", "resnet8-w4", "--data", "digits", "--sizes", "fit=90", "search=30",
    "test=10", "--set", "epochs=3", "batch=20", "micro_batch=10", "optimiser=sgd", "keep=2",
    "augment=crop-flip", "ema=0.9", "swa_start=1", "--seed", "0", "--device", "cpu", "--out",
]  # fmt: skip
"""Five updates an epoch."""


def network(name):
    if name != "dropout":
        return models.build(name, 10, streams.generator("training"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 30), nn.Dropout(0.5), nn.Linear(30, 10))
    rng = streams.generator("training")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=rng))
    return net


def outcome(name, settings, group):
    """Weights, averages and curve of one training, as tensors by name."""
    torch.set_num_threads(1)
    rng = streams.generator("training", "images")
    x = torch.randint(256, (N, 3, 16, 16), generator=rng, dtype=torch.uint8)
    pictures = InMemory(x, torch.randint(10, (N,), generator=rng))
    recipe = Recipe.model_validate({**COMMON, **settings})
    trainer = Trainer(
        network(name), recipe, pictures,
        normalise=Normalise(), stream=("t",), meter=Meter(), ranks=group,
    )  # fmt: skip
    curve = [trainer.epoch(epoch) for epoch in range(recipe.epochs)]
    scored = accuracy(trainer.module, pictures, trainer.normalise, group)
    found = {f"last.{key}": tensor for key, tensor in trainer.module.state_dict().items()}
    for kind, module in trainer.averages.modules().items():
        found |= {f"{kind}.{key}": tensor for key, tensor in module.state_dict().items()}
    found["curve"] = torch.tensor([[row["loss"], row["fit_accuracy"]] for row in curve])
    found["accuracy"] = torch.tensor([scored])
    return found


def play(out):
    """Every case, as one of the ranks."""
    group = ranks.join(torch.device("cpu"))
    results = {case: outcome(*how, group) for case, how in CASES.items()}
    if group.rank == 0:
        for case, tensors in results.items():
            store.save_weights(Path(out) / f"{case}-{group.size}.safetensors", tensors)
    ranks.leave()


def train(out, killed_in):
    """The command, as one of the ranks; `killed_in`: the update (from 1) in which all die."""
    done, end = 0, Updates.end

    def count(self):
        nonlocal done
        done += 1
        if done == killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self)

    Updates.end = count
    assert run([*TRAIN, out]) == 0


if __name__ == "__main__":
    folder = sys.argv[1]
    for processes in (2, 3):
        launched(processes, play, folder)
    launched(2, train, f"{folder}/whole", 0)
    # In the second epoch, and in the third after the second was resumed.
    for update in (8, 7):
        try:
            launched(2, train, f"{folder}/killed", update)
        except Exception as error:  # whatever torchrun makes of it
            print("killed:", type(error).__name__)
        else:
            sys.exit("nothing was killed")
    launched(2, train, f"{folder}/killed", 0)
