"""CIFAR-10-C, CIFAR-100-C and MNIST-C as published: corrupted test images in files of numpy.

They are looked for in `MERGESUITE_DATA` and not downloaded. Checksums are published of the archives
(md5 of CIFAR-10-C.tar 56bf5dcef84df0e2308c6dcbcbbd8499, CIFAR-100-C.tar
11f0ed0f1191edbf9fa23466ae6021d3, mnist_c.zip 4b34b33045869ee6d424616cd3a65da3) and of no file in
them: what is checked here is that shapes are right, and labels those of the clean test images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mergesuite.data import archives
from mergesuite.data.sources import LazySplit, Source, test_set
from mergesuite.errors import UserError, nearest
from mergesuite.experiment.settings import Other

FOLDERS = {"cifar10-c": "CIFAR-10-C", "cifar100-c": "CIFAR-100-C", "mnist-c": "mnist_c"}
SEVERITIES, EACH = 5, 10_000


@test_set(
    "cifar10-c",
    of="cifar10",
    severities=5,
    origin="MERGESUITE_DATA (CIFAR-10-C, from zenodo.org/records/2535967)",
    cite="Hendrycks & Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and "
    "Perturbations, ICLR (2019)",
)
@test_set(
    "cifar100-c",
    of="cifar100",
    severities=5,
    origin="MERGESUITE_DATA (CIFAR-100-C, from zenodo.org/records/3555552)",
    cite="Hendrycks & Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and "
    "Perturbations, ICLR (2019)",
)
def cifar(asked: Other, root: Path, clean: Source) -> Source:
    """One corruption of CIFAR-10 or -100 at one severity: the 10,000 test images in their order."""
    folder = root / FOLDERS[asked.name]
    images, file = _array(folder, f"{_underscored(asked)}.npy", (SEVERITIES * EACH, 32, 32, 3))
    labels, _ = _array(folder, "labels.npy", (SEVERITIES * EACH,))
    part = slice(EACH * ((asked.severity or 1) - 1), EACH * (asked.severity or 1))
    return _source(file, images[part].transpose(0, 3, 1, 2), labels[part], clean)


@test_set(
    "mnist-c",
    of="mnist",
    severities=0,
    origin="MERGESUITE_DATA (mnist_c, from zenodo.org/records/3239543); padded from 28 x 28",
    cite="Mu & Gilmer: MNIST-C: A Robustness Benchmark for Computer Vision, arXiv 1906.02337v1",
)
def mnist(asked: Other, root: Path, clean: Source) -> Source:
    """One corruption of MNIST, whose severity its authors chose; padded and grey as `mnist`."""
    folder = root / FOLDERS[asked.name] / _underscored(asked)
    images, file = _array(folder, "test_images.npy", (EACH, 28, 28, 1))
    labels, _ = _array(folder, "test_labels.npy", (EACH,))
    return _source(file, archives.padded(images[..., 0]), labels, clean)


def _underscored(asked: Other) -> str:
    return asked.corruption.replace("-", "_")


def _array(folder: Path, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, Path]:
    """An array that is read when it is needed."""
    file = folder / name
    if not file.is_file():
        there = [other.stem for other in folder.glob("*.npy")]
        there += [other.parent.name for other in folder.parent.glob(f"*/{name}")]
        wanted = folder.name if file.stem.startswith("test_") else file.stem
        raise UserError(
            f"expected {file}, found none{nearest(wanted, there)}: correct the corruption, or "
            "unpack the published archive into the folder that MERGESUITE_DATA names"
        )
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file} is no array of numpy ({error}): unpack it again") from None
    if array.shape != shape:
        raise UserError(f"{file} should have shape {shape}, found {array.shape}: unpack it again")
    return array, file


def _source(file: Path, images: np.ndarray, labels: np.ndarray, clean: Source) -> Source:
    known = clean.splits["test"].labels
    if not np.array_equal(labels.astype(np.int64), known):
        raise UserError(
            f"the labels beside {file} should be those of the clean test images, found others: "
            "unpack the published archive again"
        )
    split = LazySplit(known, np.arange(len(known)), lambda rows: images[rows])
    return Source({"test": split}, clean.classes, {file.name: f"{file.stat().st_size} bytes"})
