"""Tables, records, hits, weights, images and figures, with bytes changed."""

import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save as save_bits
from safetensors.torch import save as save_tensors

from mergesuite.core import frames, sealed
from mergesuite.data.decode import Cut, picture
from mergesuite.experiment.settings import Data, Network
from mergesuite.judge import compare, samples
from mergesuite.judge.compare import VERDICT_COLUMNS
from mergesuite.report import svg
from mergesuite.stages import hits, members, train
from mergesuite.stages.columns import COLUMNS, WHOLE
from mergesuite.stages.problem import Problem

from .outcome import changed, settled, values

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "laptop" / "mega"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def _runs() -> bytes:
    row = {name: "a" for name in COLUMNS} | dict.fromkeys(WHOLE, 1) | {"value": 0.5}
    return pd.DataFrame([row, row | {"seed": 2}]).to_csv(index=False).encode()


def _verdicts() -> bytes:
    words = dict.fromkeys(compare.VERDICT_WORDS, "a") | {"verdict": "no gain"}
    row = dict.fromkeys(VERDICT_COLUMNS, 0.25) | words | {"n": 5, "leaky": True}
    return pd.DataFrame([row, row]).to_csv(index=False).encode()


TABLES = {"runs.csv": _runs(), "verdicts.csv": _verdicts()}


@given(st.data())
def test_tables(folder, data):
    name = data.draw(st.sampled_from(sorted(TABLES)))
    file = folder / name
    file.write_bytes(changed(data.draw, TABLES[name]))
    settled(frames.read_csv, file)
    read = {"runs.csv": samples.read_runs, "verdicts.csv": lambda _: compare.read(folder)}[name]
    found = settled(read, file)
    if found is not None and name == "runs.csv":
        samples.samples(found, "a", samples.Where("a", "a", "a"))


@given(values, st.data())
def test_records(folder, value, data):
    file = folder / "run.json"
    sealed.write(file, {"spec": str(value).encode("utf-8", "replace").decode()})
    file.write_bytes(changed(data.draw, file.read_bytes()))
    settled(sealed.read, file)


@given(st.data())
def test_hits(folder, data):
    whole = save_bits({"a/0/keep": np.zeros(9, np.uint8), "b/1/keep": np.ones(9, np.uint8)})
    (folder / "a.hits.safetensors").write_bytes(changed(data.draw, whole))
    settled(hits.read, folder / "a.csv")


@pytest.fixture(scope="module")
def problem():
    torch.set_num_threads(1)
    sizes = {"fit": 20, "search": 10, "test": 10}
    asked = Data.model_validate({"name": "digits", "sizes": sizes})
    return Problem(Network(build="resnet8-w8"), asked, torch.device("cpu"))


@pytest.fixture(scope="module")
def weights(problem):
    """The same network in each format."""
    state = problem.network().state_dict()
    made = {".safetensors": save_tensors(state, {"mergesuite": '{"members": "1"}'})}
    for suffix, new in ((".pt", True), (".pth", False)):
        opened = io.BytesIO()
        torch.save(state, opened, _use_new_zipfile_serialization=new)
        made[suffix] = opened.getvalue()
    return made


@given(st.data())
def test_weights(folder, problem, weights, data):
    suffix = data.draw(st.sampled_from(sorted(weights)))
    content = weights[suffix]
    # Most of a file is numbers, of which any is as good: its structure is at both ends.
    head = data.draw(st.integers(1, 3)) < 3
    cut = min(len(content), 6000)
    parts = (content[:cut], content[cut:]) if head else (content[-cut:], content[:-cut])
    damaged = changed(data.draw, parts[0])
    file = folder / f"a{suffix}"
    file.write_bytes(damaged + parts[1] if head else parts[1] + damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = settled(problem.load, file)
        settled(train._start_from, problem.network(), file)
        if suffix == ".safetensors":
            settled(members.members_of, file)
    if found:
        assert all(bool(torch.isfinite(t).all()) for t in found.values())


@st.composite
def states(draw):
    """A state dict whose entries are anything that `torch.save` takes."""
    kinds = [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16]
    names = st.sampled_from(["conv.weight", "bn.running_var", "bn.bias", "x", "module.bn.weight"])
    tensors = st.builds(
        lambda shape, kind, fill: torch.full(shape, fill).to(kind),
        st.lists(st.integers(0, 3), max_size=4),
        st.sampled_from(kinds),
        st.sampled_from([0.0, -1.0, 3.4e38, torch.inf, torch.nan]),
    )
    return draw(st.dictionaries(st.one_of(names, st.integers()), st.one_of(tensors, values)))


@given(states(), st.sampled_from([None, "state_dict", "model", "optimizer"]))
def test_state_dicts(folder, problem, state, key):
    made = {**problem.network().state_dict(), **state}
    torch.save({key: made} if key else made, folder / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settled(problem.load, folder / "a.pt")
        settled(train._start_from, problem.network(), folder / "a.pt")


def _images() -> dict[str, bytes]:
    colour = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    made = {}
    shown = Image.fromarray(colour)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image, options in (
        ("a.png", shown, {}), ("b.png", deep, {}), ("c.png", shown.quantize(9), {}),
        ("a.jpg", shown, {"exif": exif}), ("b.jpg", shown.convert("CMYK"), {"progressive": True}),
        ("a.bmp", shown, {}), ("a.webp", shown, {}), ("b.webp", shown, {"lossless": True}),
    ):  # fmt: skip
        opened = io.BytesIO()
        formats = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "webp": "WEBP"}
        image.save(opened, format=formats[name[2:]], **options)
        made[name] = opened.getvalue()
    return made


IMAGES = _images()


@given(st.data())
def test_images(folder, data):
    name = data.draw(st.sampled_from(sorted(IMAGES)))
    (folder / name).write_bytes(changed(data.draw, IMAGES[name]))
    image = settled(picture, folder / name)
    if image is not None:
        assert image.mode == "RGB"
        cut = settled(Cut(36, 32).whole, image)
        assert cut is None or cut.size == (32, 32)


FIGURE = (PUBLISHED / "figures" / "gains.svg").read_bytes()[:6000] + b"</g></g></svg>"


@given(st.data())
def test_figures(folder, data):
    (folder / "a.svg").write_bytes(changed(data.draw, FIGURE))
    text = settled(svg.read, folder / "a.svg", "p", "t")
    assert text is None or ("<script" not in text and "<!" not in text)
