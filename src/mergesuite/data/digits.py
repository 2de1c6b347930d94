"""The embedded data set: ten classes of 3x32x32 images composed from scikit-learn's digits.

Real handwriting (1,797 digits of 8x8 pixels) is enlarged, turned, sheared, placed, coloured and
laid over a colour gradient, pieces of other digits, bars and noise. The handwriting is divided into
fit, search and test before anything is composed, and the pieces come from the same split: no source
image is in two splits. `digits5` has the digits 0 to 4 only, from other streams but with the same
division, so that pre-training on it shows nothing of the test split of `digits`.

Bytes are the same on every machine: raw random bits, and elementwise IEEE arithmetic without
transcendental functions, reductions or matrix products.

`sheet` draws a contact sheet and measures what a linear model and nearest neighbours reach.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mergesuite.core import digests
from mergesuite.core.portable import permutation, rows_of_bits, rows_of_uniforms, uniforms
from mergesuite.data.composed import Composed
from mergesuite.data.sources import SPLITS, LazySplit, Source, dataset
from mergesuite.errors import UserError

SIDE = 32
SIZES = {"fit": 8000, "search": 2000, "test": 5000}
CLASSES = {"digits": 10, "digits5": 5, "digits10": 10, "digits5-10": 5}
SHARES = {"fit": 60, "search": 15, "test": 25}
"""Per cent of each digit's handwriting that goes into each split."""
SOURCE_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""Of the 1,797 x 64 values 0..16 and the labels, as bytes."""

DIGIT = {"scale": (2.0, 3.1), "turn": 0.18, "shear": 0.2, "shift": 4.0}
PIECE = {"scale": (1.5, 2.5), "turn": 1.0, "shear": 0.3, "shift": 12.0}
"""Pixels per source pixel; largest tan(angle / 2); largest shear; largest shift in pixels."""
INK = (np.float32(3), np.float32(8))
"""Source values up to the first are paper; full ink is that much above."""
BARS, BAR_LENGTH = 2, 8.0
RAMP = 0.8
CONTRAST = 0.25
"""How much lighter than the ground a digit is at least in each channel, of 1."""
NOISE = 0.15
"""Largest noise of a pixel, of 1; its distribution is triangular."""
COLUMN = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2)[None, None, :].astype(np.float32)
ROW = COLUMN.reshape(1, SIDE, 1)
CHUNK = 50
"""Images composed at a time: small enough for the processor's cache."""


@dataclass(frozen=True)
class Plan:
    """What one split is composed of: one row per image, before any pixel is computed."""

    labels: np.ndarray
    """`(n,)` int64."""
    sources: np.ndarray
    """`(n,)` int64: which of the 1,797 digits is shown."""
    pieces: np.ndarray
    """`(n,)` int64: which other digit clutters the image."""
    stream: tuple[str, str]


@functools.cache
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """The source digits: uint8 `(1797, 8, 8)` with values 0..16, and int64 labels `(1797,)`.

    Raises:
        UserError: scikit-learn ships other digits than those the data set was pinned with.
    """
    rows = np.loadtxt(_source_file(), delimiter=",", dtype=np.uint8)
    glyphs, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    found = hashlib.sha256(glyphs.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise UserError(
            f"expected scikit-learn's 1,797 digits with SHA-256 {SOURCE_SHA256[:12]}, found "
            f"{found[:12]}: install the scikit-learn of requirements.lock"
        )
    return glyphs, labels


def _source_file() -> Path:
    """The file behind `sklearn.datasets.load_digits`; importing sklearn would take a second.

    Raises:
        UserError: scikit-learn is not installed, or keeps its digits elsewhere.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return file
    raise UserError(
        "data set digits needs datasets/data/digits.csv.gz of scikit-learn: "
        "install the scikit-learn of requirements.lock"
    )


@functools.cache
def divide() -> dict[str, np.ndarray]:
    """Sorted source indices per split; each digit's handwriting is divided by `SHARES`."""
    _, labels = handwriting()
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SHARES}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        members = members[permutation(len(members), "digits", "divide", digit)]
        start, share = 0, 0
        for split, per_cent in SHARES.items():
            share += per_cent
            stop = len(members) * share // 100
            parts[split].append(members[start:stop])
            start = stop
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


@functools.cache
def plan(name: str, split: str, n: int | None = None) -> Plan:
    """Which digits the `n` images of `split` of data set `name` show; classes are balanced."""
    _, labels = handwriting()
    pool = divide()[split]
    n = SIZES[split] if n is None else n
    wanted = permutation(n, name, split, "labels") % CLASSES[name]
    draw = uniforms((2, n), name, split, "sources")
    sources = np.empty(n, dtype=np.int64)
    for digit in range(CLASSES[name]):
        rows, members = wanted == digit, pool[labels[pool] == digit]
        sources[rows] = members[(draw[0, rows] * len(members)).astype(np.int64)]
    pieces = pool[(draw[1] * len(pool)).astype(np.int64)]
    return Plan(wanted, sources, pieces, (name, split))


def compose(planned: Plan, rows: np.ndarray) -> np.ndarray:
    """The images of the given rows of a plan, uint8 `(len(rows), 3, 32, 32)`.

    An image depends on its row alone, not on which others are asked for.
    """
    draws = {
        part: rows_of_uniforms(rows, width, *planned.stream, part).astype(np.float32)
        for part, width in (
            ("digit", 6),
            ("piece", 8),
            ("bars", 5 * BARS),
            ("colours", 21),
        )
    }
    # The triangular noise of a pixel is the difference of two bytes of one stream.
    grain = rows_of_bits(rows, 3 * SIDE * SIDE // 4, *planned.stream, "noise")
    images = np.empty((len(rows), 3, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        images[part] = _paint(
            planned.sources[rows[part]],
            planned.pieces[rows[part]],
            {name: draw[part] for name, draw in draws.items()},
            grain[part],
        )
    return images


def _paint(
    sources: np.ndarray,
    pieces: np.ndarray,
    draws: dict[str, np.ndarray],
    grain: np.ndarray,
) -> np.ndarray:
    """Ground, bars, a piece of another digit, the digit, noise: in this order."""
    colours = draws["colours"].reshape(-1, 7, 3, 1, 1)
    ground = np.float32(1 - CONTRAST) * colours[:, 0]
    slope = (colours[:, 1, :2] - 0.5) * np.float32(RAMP / SIDE)
    canvas = ground + (slope[:, 0] * COLUMN + slope[:, 1] * ROW)[:, None]
    bars = draws["bars"].reshape(-1, BARS, 5, 1, 1)
    for k in range(BARS):
        canvas = _lay(canvas, _bar(bars[:, k]), colours[:, 2 + k])
    place = draws["piece"][:, :, None, None]
    cut = (place[:, 6] - 0.5) * COLUMN + (place[:, 7] - 0.5) * ROW > 0
    canvas = _lay(canvas, _glyph(pieces, place[:, :6], PIECE) * cut, colours[:, 5])
    # The digit is lighter than the ground, by CONTRAST at least in every channel: with either sign
    # a small network needs far more than six epochs before it learns anything.
    ink = ground + np.float32(CONTRAST) + (np.float32(1 - CONTRAST) - ground) * colours[:, 6]
    canvas = _lay(canvas, _glyph(sources, draws["digit"][:, :, None, None], DIGIT), ink)
    pairs = grain.astype("<u8").view(np.uint8).reshape(-1, 2, 3, SIDE, SIDE).astype(np.int16)
    canvas += (pairs[:, 0] - pairs[:, 1]) * np.float32(NOISE / 256)
    return np.clip(canvas * 255 + np.float32(0.5), 0, 255).astype(np.uint8)


def _lay(canvas: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """`colour` over `canvas` `(n, 3, h, w)` where `cover` `(n, h, w)` is 1; a mixture between."""
    return canvas + cover[:, None] * (colour - canvas)


def _turn(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the angle whose half has tangent `t`: exact rational arithmetic."""
    square = t * t
    return (1 - square) / (1 + square), 2 * t / (1 + square)


def _bar(draw: np.ndarray) -> np.ndarray:
    """Cover `(n, h, w)` of a straight bar: centre, direction, width and length are drawn."""
    dx, dy = COLUMN - (draw[:, 0] - 0.5) * SIDE, ROW - (draw[:, 1] - 0.5) * SIDE
    cosine, sine = _turn(2 * draw[:, 2] - 1)
    across, along = np.abs(cosine * dx + sine * dy), np.abs(cosine * dy - sine * dx)
    width, length = draw[:, 3] + 0.7, (draw[:, 4] + 0.5) * np.float32(BAR_LENGTH)
    return np.clip(np.minimum(width - across, length - along), 0, 1)


def _glyph(which: np.ndarray, draw: np.ndarray, limits: dict[str, Any]) -> np.ndarray:
    """Cover `(n, h, w)` of digits, sampled bilinearly where each pixel falls in the source."""
    glyphs, _ = handwriting()
    low, high = limits["scale"]
    scale = low + np.float32(high - low) * draw[:, 0]
    cosine, sine = _turn((2 * draw[:, 1] - 1) * np.float32(limits["turn"]))
    dx = COLUMN - (2 * draw[:, 2] - 1) * np.float32(limits["shift"])
    dy = ROW - (2 * draw[:, 3] - 1) * np.float32(limits["shift"])
    v = (cosine * dy - sine * dx) / scale
    u = (cosine * dx + sine * dy) / scale + (2 * draw[:, 4] - 1) * np.float32(limits["shear"]) * v
    # A border of zeros stands for everything outside the 8 x 8 source pixels.
    u, v = np.clip(u + 4.5, 0, 9), np.clip(v + 4.5, 0, 9)
    left, top = u.astype(np.int64), v.astype(np.int64)
    u, v = u - left.astype(np.float32), v - top.astype(np.float32)
    padded = np.zeros((len(which), 11, 11), dtype=np.float32)
    padded[:, 1:9, 1:9] = glyphs[which]
    corner = np.arange(len(which))[:, None, None] * 121 + top * 11 + left
    flat = padded.ravel()
    upper = flat[corner] * (1 - u) + flat[corner + 1] * u
    lower = flat[corner + 11] * (1 - u) + flat[corner + 12] * u
    ink = upper * (1 - v) + lower * v
    return np.clip((ink - INK[0]) / INK[1], 0, 1) * (np.float32(0.7) + np.float32(0.3) * draw[:, 5])


@dataset(
    "digits",
    classes=10,
    size=SIDE,
    splits=SIZES,
    origin="embedded: composed from scikit-learn's digits",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
@dataset(
    "digits5",
    classes=5,
    size=SIDE,
    splits=SIZES,
    origin="embedded: the digits 0 to 4, for pre-training before `digits`",
    cite="Alpaydin & Kaynak: Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository (1998)",
)
def load(name: str, root: Path) -> Source:
    """The splits of `digits` or `digits5`; only the images asked for are composed."""
    splits = {}
    for split in SPLITS:
        planned = plan(name, split)
        composed = Composed(partial(compose, planned), len(planned.labels), SIDE)
        key = f"{name} {split} {digests.code('data.digits')}"
        splits[split] = LazySplit(planned.labels, planned.sources, composed.kept_as(key))
    return Source(splits, tuple(str(digit) for digit in range(CLASSES[name])), {})
