"""`data.load`: subsets, statistics, manifest, image folders, and every error a user can cause."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mergesuite import data
from mergesuite.errors import UserError
from mergesuite.experiment import declared

SMALL = {"fit": 60, "search": 30, "test": 40}


def paint(file: Path, colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


def paint_classes(folder: Path, count: int, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    """Every image has its own colour: class in red, number in green."""
    for label, name in enumerate(classes):
        for number in range(count):
            paint(folder / name / f"{number:03}.png", (100 * label, number, 7))


def identities(split: data.Split) -> list[tuple[int, int]]:
    return [(int(i[0, 0, 0]), int(i[1, 0, 0])) for i in split.images]


@pytest.mark.parametrize("name", ["digits", "digits5"])
def test_shapes_and_types_are_the_contract(name: str):
    splits = data.load(name, sizes=SMALL)
    for split, n in SMALL.items():
        images, labels = getattr(splits, split)
        assert images.shape == (n, 3, 32, 32)
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert labels.shape == (n,)
        assert labels.dtype == torch.int64
    assert splits.classes == declared.datasets()[name]["classes"]


def test_whole_digits_have_the_sizes_that_the_catalogue_promises():
    splits = data.load("digits")
    assert splits.manifest["sizes"] == declared.datasets()["digits"]["splits"]
    assert len(splits.fit.labels) == 8000


def test_subsets_are_nested_and_follow_the_seed():
    small = data.load("digits", sizes={"fit": 20, "search": 5, "test": 5})
    large = data.load("digits", sizes={"fit": 40, "search": 5, "test": 5})
    other = data.load("digits", sizes={"fit": 20, "search": 5, "test": 5}, seed=1)
    kept = {image.numpy().tobytes() for image in large.fit.images}
    assert all(image.numpy().tobytes() in kept for image in small.fit.images)
    assert small.manifest["indices"]["fit"] != other.manifest["indices"]["fit"]


def test_channel_statistics_agree_with_float64_numpy():
    images = torch.randint(0, 256, (3000, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    images = images.to(torch.uint8)
    mean, std = data.channel_statistics(images)
    values = images.numpy().astype(np.float64) / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)), abs=1e-12)
    assert std == pytest.approx(values.std((0, 2, 3)), abs=1e-12)


def test_statistics_are_of_the_fit_split_only():
    splits = data.load("digits", sizes=SMALL)
    assert splits.mean == data.channel_statistics(splits.fit.images)[0]


def test_manifest_is_json_and_its_digests_are_over_images_then_labels():
    splits = data.load("digits", sizes=SMALL)
    json.dumps(splits.manifest, allow_nan=False)
    images, labels = splits.test
    expected = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert splits.manifest["content"]["test"] == expected


def test_manifest_is_the_same_in_another_process():
    code = (
        "import json; from mergesuite import data;"
        f"print(json.dumps(data.load('digits', sizes={SMALL!r}).manifest))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == data.load("digits", sizes=SMALL).manifest


def test_folder_is_divided_per_class_without_overlap(tmp_path: Path):
    paint_classes(tmp_path, 20)
    splits = data.load(f"folder:{tmp_path}")
    seen = [identities(split) for split in (splits.fit, splits.search, splits.test)]
    assert [len(part) for part in seen] == [28, 6, 6]
    assert len({image for part in seen for image in part}) == 40
    assert all(
        (red == 100) == bool(label)
        for (red, _), label in zip(seen[0], splits.fit.labels.tolist(), strict=True)
    )


def test_a_new_class_moves_no_image_of_the_others(tmp_path: Path):
    paint_classes(tmp_path, 20)
    before = set(identities(data.load(str(tmp_path)).test))
    paint_classes(tmp_path, 20, ("cat", "dog", "eel"))
    after = set(identities(data.load(str(tmp_path)).test))
    assert before < after


def test_own_splits_of_a_folder_are_kept(tmp_path: Path):
    for split, count in (("fit", 4), ("search", 2), ("test", 3)):
        paint_classes(tmp_path / split, count)
    sizes = data.load(f"folder:{tmp_path}").manifest["sizes"]
    assert sizes == {"fit": 8, "search": 4, "test": 6}


def test_train_and_val_become_fit_search_and_test(tmp_path: Path):
    paint_classes(tmp_path / "train", 20)
    paint_classes(tmp_path / "val", 5)
    sizes = data.load(f"folder:{tmp_path}").manifest["sizes"]
    assert sizes == {"fit": 34, "search": 6, "test": 10}


def test_images_are_scaled_by_the_shorter_side_and_cut_to_the_centre(tmp_path: Path):
    paint_classes(tmp_path, 3)
    wide = Image.new("RGB", (120, 40), (255, 0, 0))
    wide.paste((0, 255, 0), (40, 0, 80, 40))
    for name in ("cat", "dog"):
        for number in range(3):
            wide.save(tmp_path / name / f"{number:03}.png")
    image = data.load(f"folder:{tmp_path}@16").fit.images[0]
    assert image.shape == (3, 16, 16)
    image = image[:, :, 1:-1]  # the outermost columns mix with what was cut off
    assert image[1].min() == 255
    assert image[0].max() == 0


def test_manifest_of_a_folder_names_each_file_with_its_checksum(tmp_path: Path):
    paint_classes(tmp_path, 3)
    files = data.load(f"folder:{tmp_path}").manifest["files"]
    content = (tmp_path / "cat" / "000.png").read_bytes()
    assert files["cat/000.png"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert len(files) == 6


def break_nothing(folder: Path) -> str:
    return "cifar11"


def break_empty_class(folder: Path) -> str:
    (folder / "eel").mkdir()
    return f"folder:{folder}"


def break_small_class(folder: Path) -> str:
    paint(folder / "eel" / "1.png", (0, 0, 0))
    return f"folder:{folder}"


def break_one_class(folder: Path) -> str:
    paint(folder / "deep" / "only" / "1.png", (0, 0, 0))
    return f"folder:{folder / 'deep'}"


def break_image(folder: Path) -> str:
    for file in (folder / "cat").iterdir():
        file.write_text("not an image")
    return f"folder:{folder}"


def break_path(folder: Path) -> str:
    return f"folder:{folder / 'nowhere'}"


def break_classes_between_splits(folder: Path) -> str:
    for split in ("fit", "search", "test"):
        paint_classes(folder / "own" / split, 2)
    paint_classes(folder / "own" / "fit", 2, ("cat", "dog", "eel"))
    return f"folder:{folder / 'own'}"


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (break_nothing, r"no data set is called 'cifar11' \(did you mean 'cifar10'\?\)"),
        (break_empty_class, "class 'eel' .* found none"),
        (break_small_class, "class 'eel' has 1 images"),
        (break_one_class, "one folder per class, found 1"),
        (break_image, "should be an image"),
        (break_path, "expected a folder of images, found none"),
        (break_classes_between_splits, "the same classes, found .*eel"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, breakage: Callable[[Path], str], message: str):
    paint_classes(tmp_path, 4)
    name = breakage(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        data.load(name).manifest  # noqa: B018 - reads every image
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"fit": 8001}, "digits has 8000 fit images, 8001 were asked for"),
        ({"test": 0}, "0 were asked for"),
        ({"train": 5}, r"sizes has \['train'\]"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, int], message: str):
    with pytest.raises(UserError, match=message):
        data.load("digits", sizes=sizes)


def test_a_folder_named_by_the_environment_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="MERGESUITE_DATA should name a folder"):
        data.load("cifar10")


def test_a_damaged_cifar_file_is_named(tmp_path: Path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cut")
    with pytest.raises(UserError, match="data_batch_1 should have md5 c99cafc1"):
        data.load("cifar10", root=tmp_path)


def test_an_incomplete_cifar_folder_names_what_is_missing(tmp_path: Path):
    (tmp_path / "cifar-100-python").mkdir()
    with pytest.raises(UserError, match=r"expected train in .* found no such file"):
        data.load("cifar100", root=tmp_path)
