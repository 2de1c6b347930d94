"""An interruption changes nothing: neither the result, nor the trace, nor the cost.

A search runs once to its end, and every state that it had on disk on the way is set aside. A kill
at any moment, in the middle of a generation too, leaves one of these and nothing else, so each is
continued to the end and compared.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mergesuite.core import store
from mergesuite.core.runtime import Meter
from mergesuite.core.streams import generator
from mergesuite.data import digits
from mergesuite.data.images import Normalise
from mergesuite.data.pictures import InMemory
from mergesuite.data.stored import Stored
from mergesuite.errors import UserError
from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Fitness
from mergesuite.fitness import passes
from mergesuite.methods import create
from mergesuite.stages import search as stage
from mergesuite.stages.trainer import Trainer
from mergesuite.weights import WeightSpace

SEARCH, FIT, MEMBERS = 90, 60, 6
SMALL = {
    "population": 4, "generations": 3, "evaluations": 20, "batch": 5, "points": 5, "de_epochs": 2,
    "F": 0.5, "CR": 0.5, "f_init": 0.5, "cr_init": 0.5,
}  # fmt: skip
"""A short search that changes much, by the parameters that a method declares."""

METHODS = [name for name, entry in declared.methods().items() if entry.kind == "population"]
FITNESS: dict[str, dict[str, Any]] = {
    "accuracy": {},
    "cross-entropy": {"metric": "cross-entropy"},
    "augmented": {"augment": "crop-flip"},
    "augmented and drawn again": {"augment": "crop-flip", "redraw": True},
    "other images": {"redraw": True, "images": 70},
    "mean of batches": {"batch_mean": 20},
    "re-estimated": {"batchnorm": "re-estimate", "batchnorm_images": 20},
}


class Net(nn.Sequential):
    """Two convolutions that fold, for 8 x 8 pixels."""

    def __init__(self) -> None:
        parts = [
            layer
            for channels in (3, 8)
            for layer in (nn.Conv2d(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        ]
        super().__init__(*parts, nn.Flatten(), nn.Linear(8, 10))


@dataclass
class Tiny:
    """What `make_evaluator` wants of a problem."""

    splits: dict[str, tuple[Tensor, Tensor]]
    mean = std = None

    def labels(self, split: str) -> Tensor:
        return self.splits[split][1]

    def scored(self, split: str, count: int | None = None) -> Tensor:
        return self.splits[split][0][:count]

    def calibration(self, count: int) -> Any:
        return self.scored("fit", count)


@dataclass
class InFiles(Tiny):
    """The same problem, whose images are read from files in a folder."""

    folder: Path

    def scored(self, split: str, count: int | None = None) -> Stored:
        images = super().scored(split, count)
        file = self.folder / f"{split}-{count}"
        file.write_bytes(images.contiguous().numpy().tobytes())
        return Stored(file, images.shape)


@pytest.fixture(scope="module")
def tiny():
    """A problem, a net, and its last epochs as vectors."""
    torch.set_num_threads(1)
    glyphs, numbers = digits.handwriting()
    images = torch.from_numpy(glyphs * 15)[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(numbers)
    splits = {
        "fit": (images[:FIT], labels[:FIT]),
        "search": (images[FIT : FIT + SEARCH], labels[FIT : FIT + SEARCH]),
    }
    net = Net()
    rng = generator("interruption")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    space = WeightSpace(net, "parameters+statistics")
    recipe = Recipe(lr=0.05, batch=30, epochs=25)
    trainer = Trainer(
        net, recipe, InMemory(*splits["fit"]), normalise=Normalise(), stream=("t",), meter=Meter()
    )
    members = []
    for epoch in range(recipe.epochs):
        trainer.epoch(epoch)
        members.append(space.flatten(net.state_dict()))
    return Tiny(splits), net, space, torch.stack(members[-MEMBERS:])


def small(name: str) -> dict[str, Any]:
    known = declared.method_fields(name).params.model_fields
    return {key: value for key, value in SMALL.items() if key in known}


@dataclass
class Ended:
    """How a search ended."""

    vector: bytes
    score: float
    rows: list[dict[str, Any]]
    cost: dict[str, int]
    started: bool


def finish(tiny, name: str, settings: dict[str, Any], out: Path) -> Ended:
    """Search to the end, from what is in `out`."""
    problem, net, space, members = tiny
    fitness = Fitness.model_validate(settings)
    evaluator = stage.make_evaluator(problem, space, net, fitness, 0)
    method = create(name, **small(name))
    started = []

    def start(parents: Tensor, *more: Any, begin=method.start) -> None:
        try:
            begin(parents, *more)
        except UserError:  # as the grid, which takes two
            begin(parents[:2], more[0][:2], *more[1:])
        started.append(True)

    method.start = start
    method.tensors = space.sizes
    scores, meter = evaluator.scores(members).fitness, Meter()
    rows = stage.search(
        method, evaluator, members, scores, fitness,
        seed=0, out=out, key="k", meter=meter, lift=space.clamp,
    )  # fmt: skip
    vector, score = method.best
    return Ended(vector.numpy().tobytes(), score, rows, meter.cost, bool(started))


@pytest.fixture
def saved(monkeypatch, tmp_path, every_state):
    """The folders with each state that was ever saved."""
    found: list[Path] = []
    original = store.save_state

    def save(path, state):
        original(path, state)
        found.append(tmp_path / f"state-{len(found)}")
        shutil.copytree(path.parent, found[-1] / path.parent.name)

    monkeypatch.setattr(store, "save_state", save)
    return found


@pytest.mark.parametrize("kind", FITNESS)
@pytest.mark.parametrize("name", METHODS)
def test_a_search_cut_anywhere_ends_the_same(tiny, name, kind, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK_MOST", 16)  # so that rejection saves a part of the images
    monkeypatch.setattr(passes, "CHUNK_UNFOLDED", 16)
    whole = finish(tiny, name, FITNESS[kind], tmp_path / "whole")
    states = list(saved)
    assert whole.started
    assert len(states) >= 3
    for state in states:
        again = finish(tiny, name, FITNESS[kind], state)
        assert not again.started, "it began anew instead of going on"
        again.started = True
        assert again == whole


@pytest.mark.parametrize("kind", FITNESS)
def test_a_search_on_images_in_files_is_the_same_search(tiny, kind, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "CHUNK", 16)
    monkeypatch.setattr(passes, "CHUNK_UNFOLDED", 16)
    problem, *rest = tiny
    in_files = (InFiles(problem.splits, tmp_path), *rest)
    whole = finish(tiny, "cade", FITNESS[kind], tmp_path / "memory")
    state = saved[1]
    assert finish(in_files, "cade", FITNESS[kind], tmp_path / "files") == whole
    again = finish(in_files, "cade", FITNESS[kind], state)
    assert not again.started
    again.started = True
    assert again == whole


def test_these_searches_reject_and_remember(tiny, tmp_path, monkeypatch):
    """Else the test above would say little."""
    monkeypatch.setattr(passes, "CHUNK_MOST", 16)
    sparing = set()
    for name in METHODS:
        cost = finish(tiny, name, {}, tmp_path / name).cost
        if cost["forward_images"] < cost["images_asked"]:
            sparing.add(name)
    assert len(sparing) > len(METHODS) / 2


def test_a_state_of_another_key_or_with_a_flipped_bit_is_not_continued(tiny, saved, tmp_path):
    whole = finish(tiny, "de", {}, tmp_path / "whole")
    file = saved[1] / "resume/state.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    again = finish(tiny, "de", {}, saved[1])
    assert again == whole
    assert again.started
