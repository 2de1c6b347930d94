"""Other images to evaluate on: made here, published with numpy, or folders; and their claims."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mergesuite import data
from mergesuite.cli.commands import _others
from mergesuite.data import corrupt, corrupted
from mergesuite.data.sources import LazySplit, Source
from mergesuite.errors import UserError
from mergesuite.experiment import declared
from mergesuite.experiment.recipe import Recipe
from mergesuite.experiment.settings import GENERATED, Data, Network, Other
from mergesuite.experiment.strict import checked
from mergesuite.stages import evaluate, sets, train
from mergesuite.stages.problem import Problem

SIZES = {"fit": 60, "search": 20, "test": 30}


@pytest.fixture(scope="module")
def problem() -> Problem:
    torch.set_num_threads(1)
    asked = Data.model_validate({"name": "digits", "sizes": SIZES})
    return Problem(Network(build="resnet8-w4"), asked, torch.device("cpu"))


# Corruptions that are made here


def test_every_kind_that_a_spec_may_say_is_made():
    assert tuple(corrupt.KINDS) == GENERATED
    assert all(len(levels) == 5 for _, levels in corrupt.KINDS.values())


@pytest.mark.parametrize("kind", GENERATED)
def test_the_highest_severity_is_further_from_the_clean_image_than_the_lowest(
    kind: str, problem: Problem
):
    images = problem.scored("test")
    index = torch.arange(len(images))
    away = [
        float((corrupt.corruption(kind, s)(images, index).float() - images.float()).abs().mean())
        for s in range(1, 6)
    ]
    assert 0 < away[0] < away[4]
    assert len(set(away)) == 5


@pytest.mark.parametrize("kind", GENERATED)
def test_what_happens_to_an_image_does_not_depend_on_its_batch(kind: str, problem: Problem):
    images = problem.scored("test")
    change = corrupt.corruption(kind, 4)
    whole = change(images, torch.arange(len(images)))
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    assert torch.equal(change(images[[7, 2]], torch.tensor([7, 2])), whole[[7, 2]])


def test_noise_has_the_deviation_that_its_level_says():
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = corrupt.corruption("gaussian-noise", 3)(grey, torch.arange(40))
    assert float((noisy.float() / 255).std()) == pytest.approx(0.08, rel=0.01)
    assert not torch.equal(noisy[0], noisy[1])


def test_contrast_keeps_the_mean_grey_and_blur_the_mean(problem: Problem):
    image = problem.scored("test")[3:4]
    flat = corrupt.corruption("contrast", 5)(image, torch.tensor([3]))
    assert float(flat.float().std()) < 0.3 * float(image.float().std())
    blurred = corrupt.corruption("gaussian-blur", 5)(image, torch.tensor([3]))
    assert float(blurred.float().mean()) == pytest.approx(float(image.float().mean()), abs=3)


def test_images_in_a_file_are_corrupted_as_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MERGESUITE_WORKERS", "0")
    rng = np.random.default_rng(2)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    asked = {"noise": Other(corruption="gaussian-noise", severity=2)}
    found = []
    for most in (1 << 28, 100):
        monkeypatch.setattr(data, "IN_MEMORY", most)
        where = Data(name=f"folder:{tmp_path / 'images'}")
        made = Problem(Network(build="resnet8-w4"), where, torch.device("cpu"))
        found.append(torch.cat(list(sets.others(made, asked)["noise"].images.split(4))))
    assert torch.equal(*found)


# Published ones


def fake_cifar(root: Path) -> Source:
    """A CIFAR-10-C of four images, and the clean data set that belongs to it."""
    labels = np.array([3, 0, 9, 3])
    rng = np.random.default_rng(4)
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    np.save(folder / "fog.npy", rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    clean = LazySplit(labels, np.arange(4), lambda rows: np.zeros((len(rows), 3, 32, 32), np.uint8))
    return Source({"test": clean}, tuple("abcdefghij"), {})


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> data.Splits:
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path))
    monkeypatch.setattr(corrupted, "EACH", 4)
    return data.Splits("cifar10", fake_cifar(tmp_path), {"test": np.arange(4)}, 0)


FOG = Other(name="cifar10-c", corruption="fog", severity=3)


def test_a_severity_of_cifar_c_is_its_part_of_the_file(cifar: data.Splits, tmp_path: Path):
    found = data.load_test(FOG, cifar)
    images = np.load(tmp_path / "CIFAR-10-C" / "fog.npy")[8:12]
    assert np.array_equal(found.test.images.numpy(), images.transpose(0, 3, 1, 2))
    assert found.test.labels.tolist() == [3, 0, 9, 3]


def test_mnist_c_is_padded_as_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path))
    monkeypatch.setattr(corrupted, "EACH", 4)
    folder = tmp_path / "mnist_c" / "shot_noise"
    folder.mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    np.save(folder / "test_images.npy", images)
    np.save(folder / "test_labels.npy", np.arange(4))
    clean = Source({"test": LazySplit(np.arange(4), np.arange(4), lambda _: images)}, ("0",), {})
    asked = Other(name="mnist-c", corruption="shot-noise")
    found = data.load_test(asked, data.Splits("mnist", clean, {"test": np.arange(4)}, 0)).test
    assert found.images.shape == (4, 3, 32, 32)
    assert np.array_equal(found.images[:, 1, 2:30, 2:30].numpy(), images[..., 0])
    assert not found.images[:, :, :2].any()


def break_name(folder: Path) -> str:
    (folder / "fog.npy").rename(folder / "frog.npy")
    return r"expected .*fog.npy, found none \(did you mean 'frog'\?\)"


def break_labels(folder: Path) -> str:
    np.save(folder / "labels.npy", np.zeros(20, np.uint8))
    return "should be those of the clean test images"


def break_shape(folder: Path) -> str:
    np.save(folder / "fog.npy", np.zeros((20, 3, 32, 32), np.uint8))
    return r"should have shape \(20, 32, 32, 3\)"


def break_array(folder: Path) -> str:
    np.save(folder / "fog.npy", np.array([{}], dtype=object), allow_pickle=True)
    return "is no array of numpy"


def cut_array(folder: Path) -> str:
    file = folder / "fog.npy"
    file.write_bytes(file.read_bytes()[:-10])
    return "is no array of numpy"


@pytest.mark.parametrize("damage", [break_name, break_labels, break_shape, break_array, cut_array])
def test_damaged_files_are_named(cifar: data.Splits, tmp_path: Path, damage):
    message = damage(tmp_path / "CIFAR-10-C")
    with pytest.raises(UserError, match=message):
        data.load_test(FOG, cifar)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "say which corruption"),
        ({"corruption": "gaussian-noise"}, "say which severity"),
        ({"corruption": "gausian-noise", "severity": 1}, "did you mean 'gaussian-noise'"),
        ({"corruption": "fog", "severity": 1}, "no corruption 'fog' is made here"),
        ({"name": "cifar10-c"}, "say which corruption"),
        ({"name": "cifar10-c", "corruption": "fog"}, "say which severity"),
        ({"name": "mnist-c", "corruption": "fog", "severity": 2}, "comes at one severity"),
        ({"name": "cifar10-d", "corruption": "fog", "severity": 2}, "did you mean 'cifar10-c'"),
        ({"name": "cifar10-c", "corruption": "fog", "severity": 6}, "severity"),
        ({"name": "imagenet-a", "severity": 2}, "say which corruption"),
    ],
)
def test_sets_that_cannot_be_meant_are_refused(given: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        checked(Other, given, "evaluate.x")


def test_sets_that_can_be_meant():
    for given in (
        {"corruption": "jpeg", "severity": 5},
        {"name": "cifar100-c", "corruption": "jpeg-compression", "severity": 5},
        {"name": "mnist-c", "corruption": "zigzag"},
        {"name": "imagenet-r"},
        {"name": "imagenet-v2", "corruption": "jpeg", "severity": 1},
        {"name": "folder:photos"},
    ):
        checked(Other, given, "evaluate.x")


# The stage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, problem: Problem) -> Path:
    out = tmp_path_factory.mktemp("runs") / "net" / "s0"
    train.run(problem.asked, problem.data, Recipe(epochs=1, batch=20), seed=0, out=out)
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


NOISE = {"corruption": "gaussian-noise", "severity": 5}


def test_a_set_has_the_rows_of_its_name_and_the_others_stay(run: Path, tmp_path: Path):
    evaluate.run([run], out=tmp_path / "plain.csv")
    asked = {"noise-5": Other.model_validate(NOISE), "fog": FOG}
    evaluate.run([run], out=tmp_path / "more.csv", others=asked)
    plain, more = rows(tmp_path / "plain.csv"), rows(tmp_path / "more.csv")
    added = [row for row in more if row["split"] == "noise-5"]
    assert [row for row in more if row not in added] == plain
    assert {row["n"] for row in added} == {"30"}
    assert {(row["metric"], row["batchnorm"]) for row in added} == {
        (metric, way) for metric in ("accuracy", "cross_entropy") for way in ("keep", "re-estimate")
    }
    # Digits are no CIFAR: that set is for other networks.
    assert "fog" not in {row["split"] for row in more}


def test_the_accuracy_is_that_of_the_corrupted_images(run: Path, tmp_path: Path, problem: Problem):
    evaluate.run([run], out=tmp_path / "m.csv", others={"noise-5": Other.model_validate(NOISE)})
    (found,) = (
        float(row["value"])
        for row in rows(tmp_path / "m.csv")
        if (row["split"], row["metric"], row["batchnorm"]) == ("noise-5", "accuracy", "keep")
    )
    module = problem.network()
    module.load_state_dict(problem.load(run / "model.safetensors"))
    images = corrupt.corruption("gaussian-noise", 5)(problem.scored("test"), torch.arange(30))
    with torch.no_grad():
        right = module.eval()(problem.normalise(images)).argmax(1) == problem.labels("test")
    assert found == pytest.approx(float(right.double().mean()))


def test_a_folder_with_some_classes_counts_these_alone(
    run: Path, tmp_path: Path, problem: Problem, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "cache"))
    names = [problem.class_names[i] for i in (7, 2)]
    images, labels = problem.scored("test"), problem.labels("test")
    for label, name in zip((7, 2), names, strict=True):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number, image in enumerate(images[labels == label]):
            file = tmp_path / "set" / name / f"{number:02}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    asked = {"some": Other(name=f"folder:{tmp_path / 'set'}")}
    evaluate.run([run], out=tmp_path / "m.csv", others=asked)
    (found,) = (
        row
        for row in rows(tmp_path / "m.csv")
        if (row["split"], row["metric"], row["batchnorm"]) == ("some", "accuracy", "keep")
    )
    module = problem.network()
    module.load_state_dict(problem.load(run / "model.safetensors"))
    chosen = (labels == 7) | (labels == 2)
    with torch.no_grad():
        logits = module.eval()(problem.normalise(images[chosen]))[:, [2, 7]]
    right = torch.tensor([2, 7])[logits.argmax(1)] == labels[chosen]
    assert int(found["n"]) == int(chosen.sum())
    assert float(found["value"]) == pytest.approx(float(right.double().mean()))
    (tmp_path / "set" / "unknown").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "set" / "unknown" / "1.png")
    with pytest.raises(UserError, match="a class 'unknown' that networks were not trained on"):
        evaluate.run([run], out=tmp_path / "m.csv", others=asked)


def test_the_command_line_says_sets():
    found = _others(["noise={corruption: jpeg, severity: 2}", "v2={name: imagenet-v2}"])
    assert found["noise"] == Other(corruption="jpeg", severity=2)
    assert found["v2"] == Other(name="imagenet-v2")
    for words, message in (
        (["test={name: imagenet-v2}"], "--on test"),
        (["a=b"], "expected {key: value"),
        (["a={name: imagenet-v3}"], "--on a: .*did you mean"),
    ):
        with pytest.raises(UserError, match=message):
            _others(words)


def test_published_sets_are_listed_with_what_they_are_of():
    known = declared.test_sets()
    assert set(known) >= {"cifar10-c", "cifar100-c", "mnist-c", "imagenet-v2", "imagenet-a"}
    for facts in known.values():
        assert facts["of"] in declared.datasets()
        assert facts["cite"]
        assert facts["origin"]
