"""Decoded images in a file: whole or made again, equal to a tensor, their size said before."""

import csv
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mergesuite import data, fitness, models
from mergesuite.core import streams
from mergesuite.data import stored
from mergesuite.data.images import Augment
from mergesuite.errors import UserError
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import Data, Merge, Network
from mergesuite.models.batchnorm import reestimate
from mergesuite.stages import evaluate, merge, train
from mergesuite.stages.columns import CLOCK
from mergesuite.weights import WeightSpace

SIDE, COUNT = 32, 60


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MERGESUITE_WORKERS", "0")
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    for split in ("fit", "search", "test"):
        for name in ("cat", "dog", "eel"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(COUNT // 3):
                image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
                image.save(tmp_path / "images" / split / name / f"{number}.png")
    return tmp_path / "images"


def load(folder: Path) -> data.Splits:
    return data.load(f"folder:{folder}@{SIDE}")


@pytest.fixture
def held(folder: Path) -> Tensor:
    """The search images in memory."""
    return load(folder).search.images


@pytest.fixture
def kept(folder: Path, held: Tensor, monkeypatch: pytest.MonkeyPatch) -> stored.Stored:
    """The same in a file."""
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    found = load(folder).scored("search")
    assert isinstance(found, stored.Stored)
    return found


def test_few_images_stay_in_memory(folder: Path, held: Tensor, cache: Path):
    found = load(folder).scored("search")
    assert isinstance(found, Tensor)
    assert torch.equal(found, held)
    assert not cache.exists()


def test_a_file_holds_what_a_tensor_would(kept: stored.Stored, held: Tensor):
    assert kept.shape == held.shape
    assert len(kept) == COUNT
    index = torch.tensor([5, 0, 59, 5])
    assert torch.equal(kept.index_select(0, index), held[index])
    for mine, theirs in (
        (kept.split(7), held.split(7)),
        (kept.tensor_split(7), held.tensor_split(7)),
    ):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_draw_is_read_when_it_is_asked_for(kept: stored.Stored, held: Tensor):
    rows = torch.tensor([9, 3, 30])
    changes = [Augment("crop-flip", 3, streams.generator("draw")) for _ in range(2)]
    drawn = kept.drawn(rows, changes[0])
    assert drawn.shape == (3, 3, SIDE, SIDE)
    expected = changes[1](held[rows], torch.arange(3))
    assert torch.equal(drawn.index_select(0, torch.tensor([2, 0])), expected[[2, 0]])
    assert torch.equal(torch.cat(list(drawn.split(2))), expected)


def test_only_the_images_that_are_asked_for_are_decoded(
    folder: Path, held: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    found = load(folder).scored("search", 10)
    assert torch.equal(next(iter(found.split(10))), held[:10])
    (file,) = cache.glob("*.pixels")
    assert file.stat().st_size == 10 * 3 * SIDE * SIDE + 32


def decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the next search decodes anything."""
    found: list[int] = []
    plain = stored._write
    monkeypatch.setattr(stored, "_write", lambda *a: found.append(plain(*a) or 1))
    load(folder).scored("search")
    return bool(found)


def test_the_next_search_takes_the_same_file(
    folder: Path, kept: stored.Stored, monkeypatch: pytest.MonkeyPatch
):
    assert not decoded_again(folder, monkeypatch)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, file.stat().st_size - 5),
        lambda file: os.truncate(file, 0),
        lambda file: file.write_bytes(file.read_bytes()[:-40] + b"\7" * 40),
        lambda file: file.unlink(),
    ],
    ids=["cut", "empty", "a byte", "gone"],
)
def test_a_damaged_file_is_made_again(
    folder: Path, kept: stored.Stored, held: Tensor, cache: Path, damage, monkeypatch
):
    (file,) = cache.glob("*.pixels")
    whole = file.read_bytes()
    damage(file)
    assert decoded_again(folder, monkeypatch)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: Image.new("RGB", (40, 50)).save(folder / "search" / "cat" / "3.png"),
        lambda folder: (folder / "search" / "cat" / "3.png").rename(
            folder / "search" / "cat" / "99.png"
        ),
    ],
    ids=["other content", "other order"],
)
def test_other_images_are_another_file(folder: Path, kept: stored.Stored, change, monkeypatch):
    change(folder)
    assert decoded_again(folder, monkeypatch)


def test_another_cut_is_another_file(folder: Path, kept: stored.Stored, cache: Path):
    data.load(f"folder:{folder}@{SIDE + 8}").scored("search")
    assert len(list(cache.glob("*.pixels"))) == 2


Usage = namedtuple("Usage", "free")


def test_a_full_disk_is_told_before_anything_is_decoded(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(UserError, match=r"60 decoded images in .*: 0.00 GB, and there are 0.00 GB"):
        load(folder).scored("search")
    assert not list(cache.iterdir())


def test_the_file_that_was_used_longest_ago_makes_room(
    folder: Path, kept: stored.Stored, held: Tensor, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    (old,) = cache.glob("*.pixels")
    load(folder).scored("test")
    (new,) = set(cache.glob("*.pixels")) - {old}
    os.utime(old, (1, 1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000 if old.exists() else 1 << 40))
    load(folder).scored("fit")
    assert not old.exists()
    assert new.exists()
    # Whoever reads a file that is removed goes on reading it.
    assert torch.equal(kept.index_select(0, torch.arange(COUNT)), held)


def test_what_a_killed_process_left_is_removed(
    folder: Path, kept: stored.Stored, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    (file,) = cache.glob("*.pixels")
    file.unlink()
    left = cache / f".{file.name}.12345.part"
    left.write_text("half")
    assert decoded_again(folder, monkeypatch)
    assert [other.name for other in cache.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(data, "IN_MEMORY", 1000)
    with pytest.raises(UserError, match="a folder that can be written in MERGESUITE_CACHE"):
        load(folder).scored("search")


# Scoring from a file gives what scoring from memory gives


def net() -> nn.Module:
    return models.build("resnet8-w4", 3, streams.generator("net"))


def candidates(space: WeightSpace, module: nn.Module) -> Tensor:
    vector = space.flatten(module.state_dict())
    noise = torch.randn(4, len(vector), generator=streams.generator("noise"))
    return vector + 0.05 * vector.abs() * noise


@pytest.mark.parametrize("metric", ["accuracy", "cross-entropy"])
@pytest.mark.parametrize("redraw", [None, ("none", 30), ("crop-flip", None), ("crop-flip", 30)])
def test_scores_are_those_of_images_in_memory(
    folder: Path, kept: stored.Stored, held: Tensor, metric: str, redraw
):
    splits, found = load(folder), []
    for images in (held, kept):
        module = net()
        space = WeightSpace(module, "parameters")
        fit = splits.first("fit", 40).images
        evaluator = fitness.Evaluator(
            module, space, images, splits.labels("search"), metric=metric, reestimate_on=fit
        )
        if redraw:
            augment, size = redraw
            evaluator.redraw(streams.generator("again"), augment=augment, size=size)
        first = evaluator.scores(candidates(space, module))
        bound = torch.full((4,), float(first.fitness.median()), dtype=torch.float64)
        evaluator.forget()
        again = evaluator.scores(candidates(space, module), bound)
        found.append((first.fitness, first.images, again.fitness, again.images, again.exact))
    assert all(map(torch.equal, *found))


def test_statistics_are_those_of_images_in_memory(kept: stored.Stored, held: Tensor):
    states = []
    for images in (held, kept):
        module = net()
        reestimate(module, images, batch=16)
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_merge_and_its_numbers_are_those_of_images_in_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    network, asked = Network(build="resnet8-w4"), Data(name=f"folder:{folder}@{SIDE}")
    parents = []
    for seed in range(2):
        out = tmp_path / "train" / f"s{seed}"
        train.run(network, asked, Recipe(epochs=1, batch=20), seed=seed, out=out)
        parents.append(out / "model.safetensors")
    how = Merge.model_validate(
        {
            "use": "mega",
            "params": {"population": 4, "generations": 3},
            "fitness": {"batchnorm": "re-estimate", "batchnorm_images": 30, "images": 50},
        }
    )
    made = {}
    for most in (1 << 28, 1000):
        monkeypatch.setattr(data, "IN_MEMORY", most)
        out = tmp_path / f"merge-{most}"
        merge.run(network, asked, how, parents, seed=0, out=out / "mega")
        evaluate.run([out / "mega"], out=out / "metrics.csv")
        with (out / "metrics.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["metric"] not in CLOCK]
        made[most] = [
            (out / "mega" / "model.safetensors").read_bytes(),
            (out / "mega" / "trace.csv").read_bytes(),
            rows,
            (out / "metrics.hits.safetensors").read_bytes(),
        ]
    assert made[1 << 28] == made[1000]


def test_processes_at_once_decode_once(folder: Path, cache: Path):
    code = (
        "import sys; from mergesuite import data; data.IN_MEMORY = 1000; data.stored.SAID = 0;"
        "images = data.load(sys.argv[1]).scored('search');"
        "import hashlib; print(hashlib.sha256(next(images.split(99)).numpy()).hexdigest())"
    )
    command = [sys.executable, "-c", code, f"folder:{folder}@{SIDE}"]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [run.communicate() for run in runs]
    assert len({out for out, _ in said}) == 1
    assert sum(err.count("decoded images in") for _, err in said) == 1
    assert len(list(cache.iterdir())) == 1
