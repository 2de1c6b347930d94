"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, read by torchvision and verified.

Addresses, file names and checksums are those of the installed torchvision, read at run time.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from mergesuite.core import store, writing
from mergesuite.core.portable import permutation
from mergesuite.data import download
from mergesuite.data.sources import LazySplit, Source, dataset
from mergesuite.errors import UserError

RAW = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
"""MD5 of the unpacked files; torchvision has those of the packed ones only."""
SEARCH_SHARE = 10
"""One training image in so many goes to the search split."""


@dataset(
    "cifar10",
    classes=10,
    size=32,
    splits={"fit": 45000, "search": 5000, "test": 10000},
    origin="MERGESUITE_DATA (cifar-10-batches-py) or a verified download",
    cite="Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
)
@dataset(
    "cifar100",
    classes=100,
    size=32,
    splits={"fit": 45000, "search": 5000, "test": 10000},
    origin="MERGESUITE_DATA (cifar-100-python) or a verified download",
    cite="Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
)
def cifar(name: str, root: Path) -> Source:
    """CIFAR-10 or CIFAR-100 (fine labels) from `root`, downloaded if it is not there.

    Fit and search split are a fixed permutation of the 50,000 training images.

    Raises:
        UserError: a file is missing or damaged, or the download failed.
    """
    from torchvision import datasets

    cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = root / cls.base_folder
    if not folder.is_dir():
        archive = download.fetch(
            [cls.url],
            root / cls.filename,
            {"md5": cls.tgz_md5},
            f"a folder with {folder.name}",
        )
        _unpack(archive, folder)
    listed = {
        **dict(cls.train_list),
        **dict(cls.test_list),
        str(cls.meta["filename"]): str(cls.meta["md5"]),
    }
    for file, md5 in listed.items():
        _verify(folder / file, md5)
    # The sums were just verified, so that the pickles inside are the published ones.
    train, test = (cls(str(root), train=part, download=False) for part in (True, False))
    files = {f"{folder.name}/{file}": f"md5:{md5}" for file, md5 in listed.items()}
    return _source(name, _planar(train), _planar(test), tuple(train.classes), files)


@dataset(
    "mnist",
    classes=10,
    size=32,
    splits={"fit": 54000, "search": 6000, "test": 10000},
    origin="MERGESUITE_DATA (MNIST/raw) or a verified download; padded from 28 x 28",
    cite="LeCun et al.: Gradient-Based Learning Applied to Document Recognition, "
    "Proc. IEEE 86 (1998)",
)
@dataset(
    "fashion-mnist",
    classes=10,
    size=32,
    splits={"fit": 54000, "search": 6000, "test": 10000},
    origin="MERGESUITE_DATA (FashionMNIST/raw) or a verified download; padded from 28 x 28",
    cite="Xiao, Rasul & Vollgraf: Fashion-MNIST, arXiv 1708.07747 (2017)",
)
def mnist(name: str, root: Path) -> Source:
    """MNIST or Fashion-MNIST from `root`, zero-padded to 32x32, the grey channel three times.

    Raises:
        UserError: a file is missing or damaged, or the download failed.
    """
    from torchvision import datasets

    cls = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]
    folder = root / cls.__name__ / "raw"
    names = [file.removesuffix(".gz") for file, _ in cls.resources]
    for file, md5 in cls.resources:
        plain = folder / file.removesuffix(".gz")
        if not plain.is_file():
            urls = [mirror + file for mirror in cls.mirrors]
            packed = download.fetch(
                urls, folder / file, {"md5": md5}, f"a folder with {cls.__name__}"
            )
            _gunzip(packed, plain)
        _verify(plain, RAW[name][plain.name])
    try:
        train, test = (cls(str(root), train=part, download=False) for part in (True, False))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the files in {folder} should be those of {name}, found others ({error}): "
            "delete the folder and fetch it again"
        ) from None
    files = {
        f"{cls.__name__}/raw/{file}": f"sha256:{download.digest(folder / file, 'sha256')}"
        for file in names
    }
    return _source(name, _padded(train), _padded(test), tuple(train.classes), files)


def _source(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: tuple[str, ...],
    files: dict[str, str],
) -> Source:
    """Three splits: training images are divided, test images stay as they are."""
    images, labels = train
    order = permutation(len(labels), "data", name, "division")
    held = len(labels) // SEARCH_SHARE
    splits = {}
    for split, rows in (
        ("fit", np.sort(order[held:])),
        ("search", np.sort(order[:held])),
    ):
        splits[split] = LazySplit(
            labels[rows], rows, lambda chosen, rows=rows: images[rows[chosen]]
        )
    splits["test"] = LazySplit(test[1], np.arange(len(test[1])), lambda chosen: test[0][chosen])
    return Source(splits, classes, files)


def _planar(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 3, 32, 32)` and labels of a torchvision CIFAR."""
    return dataset.data.transpose(0, 3, 1, 2), np.asarray(dataset.targets, dtype=np.int64)


def _padded(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 3, 32, 32)` and labels of a torchvision MNIST."""
    return padded(dataset.data.numpy()), dataset.targets.numpy().astype(np.int64)


def padded(grey: np.ndarray) -> np.ndarray:
    """Grey images `(n, 28, 28)` with zeros around them, three times: `(n, 3, 32, 32)`."""
    grey = np.pad(grey, ((0, 0), (2, 2), (2, 2)))
    return np.broadcast_to(grey[:, None], (len(grey), 3, *grey.shape[1:]))


def _verify(file: Path, md5: str) -> None:
    """Refuse a file of a data set that is missing or has another checksum than published."""
    if not file.is_file():
        raise UserError(
            f"expected {file.name} in {file.parent}, found no such file: "
            f"delete {file.parent} to have it fetched again, or copy the whole data set"
        )
    found = download.digest(file, "md5")
    if found != md5:
        raise UserError(
            f"{file} should have md5 {md5}, found {found}: "
            f"it is damaged; delete {file.parent} and fetch the data set again"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a verified archive so that `folder` appears whole, then drop the archive."""
    with writing.beside(folder) as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        try:
            (scratch / folder.name).rename(folder)
        except OSError:
            # Another process may have been faster: its copy is as good as ours.
            if not folder.is_dir():
                raise
    archive.unlink(missing_ok=True)


def _gunzip(packed: Path, plain: Path) -> None:
    """Unpack one verified file under a temporary name, then rename it."""
    with store.whole(plain) as scratch, gzip.open(packed) as source, scratch.open("wb") as target:
        shutil.copyfileobj(source, target)
