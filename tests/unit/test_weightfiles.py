"""Weights from anywhere: damaged, hostile, or of another kind of number."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mergesuite.core import store, weightfiles
from mergesuite.errors import UserError
from mergesuite.experiment.settings import Data, Network
from mergesuite.stages import members, train
from mergesuite.stages.problem import Problem


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def header(entries) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def packed(file: Path, count: int) -> None:
    """A file of `torch.save` whose parts are compressed."""
    plain, made = io.BytesIO(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
    torch.save({"a": torch.zeros(count)}, plain)
    with zipfile.ZipFile(plain) as source, made:
        for name in source.namelist():
            made.writestr(name, source.read(name))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.safetensors", lambda f: f.write_bytes(b"")),
        ("a.safetensors", lambda f: f.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")),
        ("a.safetensors", lambda f: f.write_bytes(header(b"[" * 100_000))),
        ("a.safetensors", lambda f: f.write_bytes(header(b"{" + b" " * (1 << 23) + b"}"))),
        ("a.safetensors", lambda f: f.write_bytes(
            header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}))),
        ("a.pt", lambda f: packed(f, 1_000_000)),
        ("a.pt", lambda f: f.write_text("hello")),
        ("a.pt", lambda f: f.write_bytes(b"PK\x03\x04" + b"\0" * 100)),
        ("a.pt", lambda f: f.write_bytes(b"(" * 100_000)),
        ("a.pt", lambda f: f.write_bytes(pickle.dumps({"a": Code()}))),
        ("a.pt", lambda f: torch.save({"a": Code()}, f)),
        ("a.pt", lambda f: torch.save({1: torch.zeros(1)}, f)),
        ("a.pt", lambda f: torch.save([1], f)),
        ("a.pt", lambda f: torch.save({"a": torch.zeros(2, 2).to_sparse()}, f)),
        ("a.pt", lambda f: torch.save({"a": torch.zeros(2, device="meta")}, f)),
        ("a.pt", lambda f: torch.save({"a": torch.zeros(1).expand(1 << 40)}, f)),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_is_no_file_of_weights_is_one_line(tmp_path, monkeypatch, name, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(UserError) as caught:
        store.load_weights(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    packed(tmp_path / "a.pt", 1_000_000)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(UserError, match="unpacks to 4,00"):
        store.load_weights(tmp_path / "a.pt")


@pytest.fixture(scope="module")
def problem():
    sizes = {"fit": 20, "search": 10, "test": 10}
    return Problem(
        Network(build="resnet8-w8"), Data.model_validate({"name": "digits", "sizes": sizes}),
        torch.device("cpu"),
    )  # fmt: skip


CHANGES = {
    "whole numbers": ("conv.weight", lambda t: t.long()),
    "truth values": ("conv.weight", lambda t: t > 0),
    "complex": ("conv.weight", lambda t: t.to(torch.complex64)),
    "eight bits": ("conv.weight", lambda t: t.to(torch.float8_e4m3fn)),
    "beyond 32 bits": ("conv.weight", lambda t: t.double() * 1e300),
    "nan": ("bn.bias", lambda t: t * torch.nan),
    "negative variances": ("bn.running_var", lambda t: -t),
    "a counter that is nan": ("bn.num_batches_tracked", lambda t: t.float() * torch.nan),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_weights_that_no_network_has_are_refused_wherever_they_enter(problem, tmp_path, what):
    name, change = CHANGES[what]
    state = problem.network().state_dict()
    state[name] = change(state[name])
    save_file(state, tmp_path / "a.safetensors")
    ways = (problem.load, lambda file: train._start_from(problem.network(), file))
    for way in ways:
        with pytest.raises(UserError, match=name):
            way(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_precisions_are_those_of_the_network_once_they_are_read(problem, tmp_path, kind):
    state = {k: v.to(kind) for k, v in problem.network().state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    found = problem.load(tmp_path / "a.safetensors")
    own = problem.network().state_dict()
    assert {k: v.dtype for k, v in found.items()} == {k: v.dtype for k, v in own.items()}


def test_a_file_much_larger_than_the_network_is_not_read(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(weightfiles, "SPARE", 0)
    state = problem.network().state_dict()
    most = weightfiles.most_bytes(state)
    save_file({**state, "more": torch.zeros(most // 4)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="8 times what this model"):
        problem.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("said", ["[1", "[]", '{"members": "x"}', '{"members": "99"}'])
def test_metadata_that_are_not_ours_are_one_line(tmp_path, said):
    save_file({"a": torch.zeros(2, 3)}, tmp_path / "a.safetensors", {"mergesuite": said})
    with pytest.raises(UserError, match="make it again"):
        members.members_of(tmp_path / "a.safetensors")
