"""The embedded data set: same bytes everywhere, no handwriting in two splits, balanced classes."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from mergesuite.core import portable
from mergesuite.data import digits, sheet
from mergesuite.errors import UserError

# SHA-256 over the bytes of every image of a split, in order. A change of any of these is a change
# of the data set: every published number on it is void.
PINNED = {
    ("digits", "fit"): "9d1bc6850ff3f5e427d9cead37f1b1d168d267507ad1010d83a7ce45c25a431b",
    ("digits", "search"): "de9fca650fdf5f583567c268f4b715086ac64f84c670140c2429f908367f41dc",
    ("digits", "test"): "b5d9cad06c3083b1095d4d2f681228be1bf90023321fa7b69d267bccacbdd796",
    ("digits5", "fit"): "e35ae9cec560b98366a5ac00bcf11e6057bd45c1d4014d1a375baf8dbc77a641",
    ("digits5", "search"): "c33c8fe398712e5e2c3e94c0d85cb3ae0fc8df2234ba643af704718995d4beca",
    ("digits5", "test"): "804fc89354da6dcf7048a90f781b595d7497add45f3176f404962672929955e3",
}


def all_images(name: str, split: str) -> np.ndarray:
    planned = digits.plan(name, split)
    return digits.compose(planned, np.arange(len(planned.labels)))


@pytest.mark.parametrize(("name", "split"), list(PINNED))
def test_every_byte_is_pinned(name: str, split: str):
    images = all_images(name, split)
    assert hashlib.sha256(images.tobytes()).hexdigest() == PINNED[name, split]


def test_raw_bits_are_those_of_pcg64():
    # Reference: PCG XSL-RR 128/64 written out here, from the state that numpy's seeding gives.
    state = np.random.PCG64(portable.derive("a", 1)).state["state"]
    multiplier, mask = 0x2360ED051FC65DA44385DF649FCCF645, (1 << 128) - 1
    value, expected = state["state"], []
    for _ in range(5):
        value = (value * multiplier + state["inc"]) & mask
        word, turn = (value >> 64) ^ (value & (2**64 - 1)), value >> 122
        expected.append(((word >> turn) | (word << (-turn & 63))) & (2**64 - 1))
    assert portable.bits(5, "a", 1).tolist() == expected


@pytest.mark.parametrize("rows", [[0, 1, 2], [5, 3, 99, 7, 3], range(40, 60), []])
def test_rows_of_a_table_are_drawn_as_in_the_whole_table(rows):
    rows = np.array(rows, dtype=int)
    bits, uniforms = portable.bits(100 * 7, "a"), portable.uniforms((100, 7), "a")
    assert np.array_equal(portable.rows_of_bits(rows, 7, "a"), bits.reshape(100, 7)[rows])
    assert np.array_equal(portable.rows_of_uniforms(rows, 7, "a"), uniforms[rows])


def test_permutation_holds_every_number_once_and_follows_its_names():
    order = portable.permutation(1000, "x")
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != portable.permutation(1000, "y").tolist()


def test_handwriting_is_divided_without_overlap_or_loss():
    parts = digits.divide()
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1797))


@pytest.mark.parametrize("name", ["digits", "digits5"])
def test_no_source_is_in_two_splits(name: str):
    used = {}
    for split in digits.SIZES:
        planned = digits.plan(name, split)
        used[split] = set(planned.sources.tolist()) | set(planned.pieces.tolist())
    assert not used["fit"] & used["search"]
    assert not used["fit"] & used["test"]
    assert not used["search"] & used["test"]


def test_pretraining_on_digits5_sees_no_source_of_another_split_of_digits():
    seen = digits.plan("digits5", "fit")
    held = digits.plan("digits", "test")
    assert not (set(seen.sources) | set(seen.pieces)) & (set(held.sources) | set(held.pieces))


@pytest.mark.parametrize("name", ["digits", "digits5"])
def test_labels_are_those_of_the_handwriting_and_balanced(name: str):
    _, truth = digits.handwriting()
    for split, size in digits.SIZES.items():
        planned = digits.plan(name, split)
        assert np.array_equal(truth[planned.sources], planned.labels)
        assert set(np.bincount(planned.labels)) == {size // digits.CLASSES[name]}


def test_an_image_does_not_depend_on_which_others_are_composed():
    planned = digits.plan("digits", "search")
    some = np.array([3, 1999, 700, digits.CHUNK, digits.CHUNK - 1])
    together = all_images("digits", "search")
    assert np.array_equal(digits.compose(planned, some), together[some])


def test_an_unturned_digit_of_scale_one_is_its_source():
    # With scale 1 and an offset of half a pixel the sampled points are the source's own pixels.
    glyphs, _ = digits.handwriting()
    draw = np.full((1, 6, 1, 1), 0.5, dtype=np.float32)
    draw[0, 5] = 1.0
    cover = digits._glyph(np.array([7]), draw, {"scale": (1, 1), "turn": 0, "shear": 0, "shift": 0})
    middle = slice(digits.SIDE // 2 - 4, digits.SIDE // 2 + 4)
    ink = np.clip((glyphs[7].astype(np.float32) - digits.INK[0]) / digits.INK[1], 0, 1)
    assert np.array_equal(cover[0, middle, middle], ink)
    cover[0, middle, middle] = 0
    assert not cover.any()


def test_a_quarter_turn_of_the_sampler_is_a_rotation():
    draw = np.full((2, 6, 1, 1), 0.5, dtype=np.float32)
    draw[1, 1] = 1.0  # tan(angle / 2) = 1: ninety degrees
    limits = {"scale": (2, 2), "turn": 1.0, "shear": 0, "shift": 0}
    straight, turned = digits._glyph(np.array([7, 7]), draw, limits)
    assert np.abs(turned - straight).max() > 0.5
    assert np.array_equal(turned, np.rot90(straight)) or np.array_equal(
        turned, np.rot90(straight, -1)
    )


def test_another_process_with_another_hash_seed_composes_the_same_bytes():
    code = (
        "import hashlib, numpy as np; from mergesuite.data import digits as d;"
        "p = d.plan('digits', 'test');"
        "print(hashlib.sha256(d.compose(p, np.arange(50)).tobytes()).hexdigest())"
    )
    planned = digits.plan("digits", "test")
    here = hashlib.sha256(digits.compose(planned, np.arange(50)).tobytes()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == here


def test_other_handwriting_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(digits, "SOURCE_SHA256", "0" * 64)
    digits.handwriting.cache_clear()
    try:
        with pytest.raises(UserError, match="expected scikit-learn's 1,797 digits"):
            digits.handwriting()
    finally:
        digits.handwriting.cache_clear()


def test_contact_sheet_is_written_and_small(tmp_path):
    sheet.main(["--sheet", str(tmp_path / "sheet.png")])
    assert 10_000 < (tmp_path / "sheet.png").stat().st_size < 300_000
