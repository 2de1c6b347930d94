"""Published data sets on files of their formats that are made here; the real ones: contracts."""

import io
import platform
import struct
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mergesuite import data
from mergesuite.data import archives
from mergesuite.data.download import digest
from mergesuite.errors import UserError


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The four files of MNIST, with the same content for training and test."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        head = struct.pack(">IIII", 2051, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">II", 2049, len(labels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def small_mnist(root: Path) -> tuple[np.ndarray, np.ndarray]:
    grey = np.arange(20 * 28 * 28, dtype=np.int64).reshape(20, 28, 28) % 251
    labels = np.arange(20, dtype=np.uint8) % 10
    write_idx(root / "MNIST" / "raw", grey.astype(np.uint8), labels)
    return grey, labels


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """A small MNIST whose checksums are those that are expected."""
    made = small_mnist(tmp_path)
    sums = {f.name: digest(f, "md5") for f in (tmp_path / "MNIST" / "raw").iterdir()}
    monkeypatch.setitem(archives.RAW, "mnist", sums)
    return made


def test_mnist_is_padded_to_32_with_three_equal_channels(tmp_path: Path, trusted):
    grey, labels = trusted
    test = archives.mnist("mnist", tmp_path).splits["test"]
    images = test.read(np.arange(20))
    assert images.shape == (20, 3, 32, 32)
    for channel in range(3):
        assert np.array_equal(images[:, channel, 2:-2, 2:-2], grey)
    assert images.sum() == 3 * grey.sum()
    assert np.array_equal(test.labels, labels)


def test_fit_and_search_divide_the_training_images(tmp_path: Path, trusted):
    splits = archives.mnist("mnist", tmp_path).splits
    fit, search = splits["fit"].indices.tolist(), splits["search"].indices.tolist()
    assert len(search) == 2
    assert sorted(fit + search) == list(range(20))


def test_fewer_images_than_published_are_refused(tmp_path: Path, trusted):
    with pytest.raises(UserError, match="mnist should have 54000 fit images, found 18"):
        data.load("mnist", root=tmp_path)


def test_files_that_are_not_mnist_are_refused(tmp_path: Path, trusted):
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte should have md5") as caught:
        data.load("mnist", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_unpacked_files_are_those_that_were_published(tmp_path: Path):
    small_mnist(tmp_path)  # of the right names and format
    with pytest.raises(UserError, match="should have md5 6bbc9ace898e44ae57da46a324031adb"):
        archives.mnist("mnist", tmp_path)


def test_an_archive_is_unpacked_whole_and_dropped(tmp_path: Path):
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("set/batch")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    archives._unpack(archive, tmp_path / "set")
    assert (tmp_path / "set" / "batch").read_bytes() == b"abc"
    assert [file.name for file in tmp_path.iterdir()] == ["set"]


def test_what_a_killed_unpacking_left_is_swept_by_the_next(tmp_path: Path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".set.{platform.node()}.{ended.pid}.part"
    (left / "set").mkdir(parents=True)
    test_an_archive_is_unpacked_whole_and_dropped(tmp_path)


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    archive = root / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../escaped"))
    with pytest.raises(tarfile.OutsideDestinationError):
        archives._unpack(archive, root / "set")
    assert not (tmp_path / "escaped").exists()
