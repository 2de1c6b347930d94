"""Image folders beyond `test_data`: held out by number, preprocessing, ImageNet."""

import os
import re
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mergesuite import data
from mergesuite.core import imagefiles
from mergesuite.data import imagenet
from mergesuite.data.ondisk import OnDisk
from mergesuite.data.pictures import WHOLE
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Other, Preprocess
from mergesuite.experiment.strict import checked


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("MERGESUITE_WORKERS", "0")


def paint(top: Path, classes: list[str], count: int, first: int = 0) -> Path:
    """Every image has its own colour: class in red, number in green."""
    for label, name in enumerate(classes):
        (top / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            colour = (10 * label, number, 7)
            Image.new("RGB", (40, 32), colour).save(top / name / f"{number:03}.png")
    return top


def ids(images: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(i[0, 0, 0]), int(i[1, 0, 0])) for i in images}


def test_a_number_of_each_class_is_held_out_of_train(tmp_path: Path):
    paint(tmp_path / "train", ["cat", "dog"], 30)
    paint(tmp_path / "val", ["cat", "dog"], 4, first=100)
    splits = data.load(f"folder:{tmp_path}", held_out=26)
    assert torch.bincount(splits.labels("search")).tolist() == [26, 26]
    assert torch.bincount(splits.labels("fit")).tolist() == [4, 4]
    assert len(splits.labels("test")) == 8
    assert not ids(splits.search.images) & ids(splits.fit.images)
    more = data.load(f"folder:{tmp_path}", held_out=28)
    assert ids(splits.search.images) < ids(more.search.images)


def test_a_share_of_each_class_is_held_out(tmp_path: Path):
    paint(tmp_path, ["cat", "dog"], 20)
    sizes = data.load(f"folder:{tmp_path}", held_out=0.3).manifest["sizes"]
    assert sizes == {"fit": 22, "search": 12, "test": 6}


@pytest.mark.parametrize(
    ("layout", "held_out", "message"),
    [
        (("train", "val"), 30, "class 'cat' has 30 images, too few to divide .* give 31"),
        (("fit", "search", "test"), 5, "has a search split of its own: remove held_out"),
    ],
)
def test_what_cannot_be_held_out_is_refused(tmp_path: Path, layout, held_out: int, message: str):
    for part in layout:
        paint(tmp_path / part, ["cat", "dog"], 30)
    with pytest.raises(UserError, match=message):
        data.load(f"folder:{tmp_path}", held_out=held_out)


def test_images_are_cut_as_preprocess_says(tmp_path: Path):
    paint(tmp_path, ["cat", "dog"], 3)
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[10:30, 50:70] = 255
    for file in tmp_path.rglob("*.png"):
        Image.fromarray(wide).save(file)
    cut = Preprocess.model_validate({"resize": 20, "crop": 10, "interpolation": "nearest"})
    images = data.load(f"folder:{tmp_path}", preprocess=cut).fit.images
    assert images.shape == (2, 3, 10, 10)
    assert images.min() == 255  # the white square, 10 pixels wide after scaling, and nothing else


def test_images_are_not_held_twice_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    top = paint(tmp_path / "top", ["cat", "dog"], 100)
    splits = data.load(f"folder:{top}", sizes={"fit": 140})
    pictures = splits.pictures("fit")
    assert isinstance(pictures, OnDisk)
    alive: list[weakref.ref[torch.Tensor]] = []

    def batches(indexes: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        for index in indexes:
            assert not any(batch() is not None for batch in alive[:-1])
            part = torch.stack([pictures.decoded(int(i), WHOLE) for i in index])
            alive.append(weakref.ref(part))
            yield part

    expected = torch.cat(list(pictures.all()))
    monkeypatch.setattr(pictures, "batches", batches)
    assert torch.equal(torch.from_numpy(pictures.whole()), expected)
    assert len(alive) == 3  # of 64, 64 and 12


def test_means_that_are_given_are_taken_and_others_measured(tmp_path: Path):
    paint(tmp_path, ["cat", "dog"], 6)
    given = Preprocess.model_validate({"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
    assert data.load(f"folder:{tmp_path}", preprocess=given).mean == (0.5, 0.4, 0.3)
    splits = data.load(f"folder:{tmp_path}")
    expected = data.channel_statistics(splits.fit.images)
    assert splits.statistics == expected
    assert data.load(f"folder:{tmp_path}").statistics == expected  # from the cache
    (kept,) = (imagefiles.cache() / "statistics").glob("*.json")
    whole = kept.read_bytes()
    kept.write_bytes(re.sub(rb'("std": \[\s+\d)\.\d', rb"\1.9", whole))
    assert kept.read_bytes() != whole
    assert data.load(f"folder:{tmp_path}").statistics == expected  # a damaged one is made again
    assert kept.read_bytes() == whole
    paint(tmp_path, ["cat", "dog"], 6, first=50)
    assert data.load(f"folder:{tmp_path}").statistics != expected


def test_a_class_folder_may_be_a_link(tmp_path: Path):
    paint(tmp_path / "elsewhere", ["cat"], 8)
    paint(tmp_path / "images", ["dog"], 8)
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    name = f"folder:{tmp_path / 'images'}"
    assert data.load(name).manifest["sizes"] == {"fit": 12, "search": 2, "test": 2}
    before = imagefiles.listing(name)
    paint(tmp_path / "elsewhere", ["cat"], 1, first=9)
    assert imagefiles.listing(name) != before


def test_a_file_that_is_no_image_is_found_when_it_is_listed(tmp_path: Path):
    paint(tmp_path, ["cat", "dog"], 6)
    (tmp_path / "cat" / "003.png").write_text("%!PS")
    with pytest.raises(UserError, match=r"003\.png should be an image"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "cat" / "003.png").unlink()
    (tmp_path / "cat" / "003.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"cannot read .*003.png"):
        data.load(f"folder:{tmp_path}")


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paint(tmp_path, ["cat", "dog"], 6)
    for file in tmp_path.rglob("*.png"):
        os.utime(file, (1, 1))
    data.load(f"folder:{tmp_path}")
    monkeypatch.setattr("mergesuite.data.folders.check", lambda _: pytest.fail("read again"))
    data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar10", "held_out": 26}, "held_out and preprocess are for image folders"),
        ({"name": "cifar10", "preprocess": {"crop": 32}}, "are for image folders, not cifar10"),
        ({"name": "imagenet", "held_out": 0}, "held_out"),
        ({"name": "imagenet", "preprocess": {"resize": 200, "crop": 224}}, "crop 224 is more"),
        ({"name": "imagenet", "preprocess": {"mean": [0, 0, 0]}}, "give both or neither"),
        (
            {"name": "imagenet", "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
            "say normalise: true",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        checked(Data, given, "data")


def test_settings_that_are_not_used_are_no_part_of_a_spec():
    assert Data(name="cifar10").model_dump() == {"name": "cifar10", "sizes": {}, "normalise": False}
    asked = Data.model_validate({"name": "imagenet", "held_out": 26, "preprocess": {"crop": 192}})
    assert asked.model_dump()["held_out"] == 26
    assert Data.model_validate(asked.model_dump(mode="json")) == asked


# ImageNet


WORDNET = ["n01440764", "n01443537", "n01484850"]


@pytest.fixture
def ilsvrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small ImageNet below MERGESUITE_DATA."""
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path))
    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "TRAIN", 90)
    monkeypatch.setattr(imagenet, "VAL", 12)
    monkeypatch.setattr(data, "_check_promise", lambda name, source: None)
    paint(tmp_path / "imagenet" / "train", WORDNET, 30)
    paint(tmp_path / "imagenet" / "val", WORDNET, 4, first=100)
    return tmp_path


def test_imagenet_is_found_and_divided_as_model_soups_does(ilsvrc: Path):
    splits = data.load("imagenet")
    assert splits.manifest["sizes"] == {"fit": 12, "search": 78, "test": 12}
    assert splits.manifest["classes"] == WORDNET
    assert splits.test.images.shape == (12, 3, 224, 224)
    assert splits.statistics == (imagenet.MEAN, imagenet.STD)
    assert data.load("imagenet", held_out=0.1).manifest["sizes"]["search"] == 9


def test_an_imagenet_that_is_not_there_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"imagenet should lie in .* MERGESUITE_DATA"):
        data.load("imagenet")


def test_half_an_imagenet_is_refused(ilsvrc: Path):
    (ilsvrc / "imagenet" / "train" / WORDNET[0] / "000.png").unlink()
    with pytest.raises(UserError, match=r"should hold 90 images in 3 folders .* found 89 in 3"):
        data.load("imagenet")


def test_other_test_sets_have_the_classes_that_they_have(
    ilsvrc: Path, monkeypatch: pytest.MonkeyPatch
):
    paint(ilsvrc / "imagenet-a", WORDNET[1:], 5)
    paint(ilsvrc / "imagenetv2-matched-frequency-format-val", ["0", "1", "2"], 2)
    monkeypatch.setitem(imagenet.TESTS, "imagenet-a", (("imagenet-a",), 10))
    folders = imagenet.TESTS["imagenet-v2"][0]
    monkeypatch.setitem(imagenet.TESTS, "imagenet-v2", (folders, 6))
    trained_on = data.load("imagenet")
    some = data.load_test(Other(name="imagenet-a"), trained_on)
    assert some.source.classes == tuple(WORDNET[1:])
    assert some.labels("test").tolist() == [0] * 5 + [1] * 5
    assert some.scored("test").shape == (10, 3, 224, 224)
    every = data.load_test(Other(name="imagenet-v2"), trained_on)
    assert every.source.classes == tuple(WORDNET)
    (ilsvrc / "imagenet-a" / WORDNET[1] / "000.png").unlink()
    with pytest.raises(UserError, match="should hold 10 images, found 9"):
        data.load_test(Other(name="imagenet-a"), trained_on)
    with pytest.raises(UserError, match="imagenet-r should lie in"):
        data.load_test(Other(name="imagenet-r"), trained_on)
