"""The published data sets, where a copy is at hand: MERGESUITE_DATA names its folder."""

import os
from pathlib import Path

import numpy as np
import pytest

from mergesuite import data
from mergesuite.experiment import declared

FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
}
# Channel means of all 50,000 training images, as commonly published: the fit split is nine tenths.
MEANS = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4865, 0.4409)}
STDS = {"cifar10": (0.2470, 0.2435, 0.2616), "cifar100": (0.2673, 0.2564, 0.2762)}


@pytest.fixture(params=list(FOLDERS))
def published(request: pytest.FixtureRequest) -> tuple[str, data.Splits]:
    root = os.environ.get("MERGESUITE_DATA")
    if not root:
        pytest.skip("set MERGESUITE_DATA to a folder with published data sets to run this")
    if not (Path(root) / FOLDERS[request.param]).is_dir():
        pytest.skip(f"{root} holds no {FOLDERS[request.param]}")
    return request.param, data.load(request.param, root=root)


def test_published_data_are_what_the_catalogue_promises(published: tuple[str, data.Splits]):
    name, splits = published
    assert splits.manifest["sizes"] == declared.datasets()[name]["splits"]
    assert splits.classes == declared.datasets()[name]["classes"]
    counts = np.bincount(splits.test.labels.numpy(), minlength=splits.classes)
    assert counts.min() > 0.8 * counts.mean()
    if name in MEANS:
        assert splits.mean == pytest.approx(MEANS[name], abs=1e-3)
        assert splits.std == pytest.approx(STDS[name], abs=1e-3)


def test_fit_and_search_together_are_the_training_images(published: tuple[str, data.Splits]):
    from torchvision import datasets

    name, splits = published
    if name not in MEANS:
        pytest.skip("compared with torchvision's own arrays for CIFAR only")
    cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    train = cls(os.environ["MERGESUITE_DATA"], train=True)
    ours = sorted(
        image.transpose(1, 2, 0).tobytes()
        for split in (splits.fit, splits.search)
        for image in split.images.numpy()
    )
    assert ours == sorted(image.tobytes() for image in train.data)


def test_test_split_keeps_the_published_order(published: tuple[str, data.Splits]):
    from torchvision import datasets

    name, splits = published
    cls = {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
    }[name]
    test = cls(os.environ["MERGESUITE_DATA"], train=False)
    assert splits.test.labels.tolist() == list(map(int, test.targets))
