"""Composed images in the cache: the same bytes, whatever the cache holds."""

import numpy as np
import pytest

from mergesuite import data
from mergesuite.data import composed, digits, reduced_digits, stored


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGESUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def images():
    return data.load("digits12", sizes={"test": 40}).test.images.numpy()


@pytest.fixture(scope="module")
def expected():
    """Composed without any cache."""
    planned = digits.plan("digits", "test")
    everything = reduced_digits.reduced(digits.compose(planned, np.arange(len(planned.labels))), 12)
    (chosen,) = (data.load("digits12", sizes={"test": 40})._rows["test"],)
    return everything[chosen]


def test_images_from_the_cache_are_those_that_are_composed(cache, expected, monkeypatch):
    assert np.array_equal(images(), expected)
    assert len(list(cache.rglob(f"*{stored.SUFFIX}"))) == 1
    monkeypatch.setattr(digits, "compose", None)  # not needed again
    assert np.array_equal(images(), expected)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_made_anew(cache, expected, damage):
    images()
    (file,) = cache.rglob(f"*{stored.SUFFIX}")
    whole = file.read_bytes()
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    file.write_bytes({"flip": flipped, "cut": whole[:-1], "empty": b""}[damage])
    assert np.array_equal(images(), expected)
    assert file.read_bytes() == whole


def test_where_no_cache_can_be_written_images_are_composed(cache, expected):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file, where a folder should be")
    assert np.array_equal(images(), expected)


def test_rows_are_those_asked_for_in_any_order(cache):
    made = composed.Composed(
        lambda rows: np.full((len(rows), 3, 2, 2), rows[:, None, None, None] % 251, np.uint8),
        3000,
        2,
    )
    rows = np.array([2999, 0, 1500, 0])
    assert made.kept_as("numbers")(rows)[:, 0, 0, 0].tolist() == [2999 % 251, 0, 1500 % 251, 0]
