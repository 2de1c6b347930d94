"""Pictures from files and from memory: the same bytes for any number of workers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop, v2

from mergesuite.core import streams
from mergesuite.data import ondisk
from mergesuite.data.decode import Cut
from mergesuite.data.ondisk import OnDisk
from mergesuite.data.pictures import WHOLE, InMemory, View
from mergesuite.errors import UserError

COUNT = 23
PART = View(scale=(0.08, 1.0), stream=("train", 3, "view", 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of many sizes and kinds."""
    made = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    for number in range(COUNT):
        size = rng.integers(40, 90, 2)
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        mode = ("RGB", "L", "CMYK")[number % 3]
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        image.convert(mode).save(made / f"{number:02} ü.jpg", exif=exif, quality=90)
    return made


def encoded(names: list[str]) -> np.ndarray:
    return np.array([os.fsencode(name) for name in names])


@pytest.fixture
def pictures(folder: Path) -> OnDisk:
    names = sorted(file.name for file in folder.iterdir())
    return OnDisk(folder, encoded(names), np.arange(COUNT) % 4, Cut(36, 32))


def batches(pictures: OnDisk, view: View = WHOLE) -> list[torch.Tensor]:
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(2))
    return list(pictures.batches(order.split(6), view))


@pytest.mark.parametrize("view", [WHOLE, PART], ids=["whole", "part"])
def test_bytes_and_order_do_not_depend_on_the_workers(
    pictures: OnDisk, view: View, monkeypatch: pytest.MonkeyPatch
):
    found = {}
    for count in (0, 1, 2):
        monkeypatch.setenv("MERGESUITE_WORKERS", str(count))
        found[count] = batches(pictures, view)
    assert [len(batch) for batch in found[0]] == [6, 6, 6, 5]
    for count in (1, 2):
        assert all(map(torch.equal, found[0], found[count]))


def test_a_batch_is_uint8_and_contiguous(pictures: OnDisk):
    (batch,) = pictures.batches([torch.tensor([4, 0])])
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous()
    assert pictures.shape == (COUNT, 3, 32, 32)
    assert pictures.labels.dtype == torch.int64


def test_what_happens_to_an_image_is_its_own(pictures: OnDisk):
    together = next(iter(pictures.batches([torch.arange(COUNT)], PART)))
    (alone,) = pictures.batches([torch.tensor([17])], PART)
    assert torch.equal(alone[0], together[17])
    (other,) = pictures.batches([torch.tensor([17])], View(PART.scale, stream=("train", 3, "x")))
    assert not torch.equal(alone, other)


def test_a_part_is_what_random_resized_crop_draws(pictures: OnDisk, folder: Path):
    (found,) = pictures.batches([torch.tensor([9])], PART)
    image = Image.open(folder / "09 ü.jpg")  # in colour, and mirrored by its EXIF orientation 2
    upright = Image.fromarray(np.asarray(image)[:, ::-1])
    with torch.random.fork_rng([]):
        torch.manual_seed(streams.derive(*PART.stream, 9))
        theirs = RandomResizedCrop(32)(upright)
    assert torch.equal(found[0], v2.functional.pil_to_tensor(theirs))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_global_generator_is_left_alone(
    pictures: OnDisk, workers: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MERGESUITE_WORKERS", workers)
    before = torch.random.get_rng_state()
    batches(pictures, PART)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_damaged_image_is_one_line(tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MERGESUITE_WORKERS", workers)
    (tmp_path / "a.png").write_text("no image")
    damaged = OnDisk(tmp_path, encoded(["a.png"]), np.zeros(1, np.int64), Cut(32, 32))
    with pytest.raises(UserError, match=r"a\.png should be an image") as caught:
        list(damaged.all())
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_told_apart(pictures: OnDisk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MERGESUITE_WORKERS", "1")
    monkeypatch.setattr(ondisk, "picture", lambda file: __import__("os")._exit(9))
    with pytest.raises(UserError, match="a process that decodes images was killed"):
        batches(pictures)


@pytest.mark.parametrize("said", ["two", "-1", ""])
def test_workers_are_a_number(said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MERGESUITE_WORKERS", said)
    with pytest.raises(UserError, match="MERGESUITE_WORKERS should be a number"):
        ondisk.workers()


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MERGESUITE_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    assert ondisk.workers() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert ondisk.workers() == 1


def test_images_in_memory_are_the_rows_that_are_asked_for():
    images = torch.randint(0, 256, (9, 3, 16, 16), generator=torch.Generator().manual_seed(3))
    held = InMemory(images.to(torch.uint8), torch.arange(9))
    first, second = held.batches([torch.tensor([8, 2]), torch.tensor([0])])
    assert torch.equal(first, held.images[[8, 2]])
    assert torch.equal(second, held.images[:1])
    assert len(held) == 9


def test_a_part_of_an_image_in_memory_has_its_size_and_is_its_own():
    images = torch.randint(0, 256, (5, 3, 16, 16), generator=torch.Generator().manual_seed(3))
    held = InMemory(images.to(torch.uint8), torch.arange(5))
    (together,) = held.batches([torch.arange(5)], PART)
    (alone,) = held.batches([torch.tensor([3])], PART)
    assert together.shape == (5, 3, 16, 16)
    assert together.dtype == torch.uint8
    assert torch.equal(alone[0], together[3])
    with torch.random.fork_rng([]):
        torch.manual_seed(streams.derive(*PART.stream, 3))
        theirs = v2.RandomResizedCrop(16, antialias=True)(held.images[3])
    assert torch.equal(alone[0], theirs)
