"""`mergesuite verify RUN`: equal, otherwise, and why it may be."""

import json
import shutil

import pytest
import torch

from mergesuite.cli import rerun, run
from mergesuite.core import sealed, store

PROBLEM = ["--model", "resnet8-w8", "--data", "digits", "--sizes", "fit=100", "search=40",
           "test=40"]  # fmt: skip


def call(*words):
    return run([str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A merge of two networks, relative to the folder that it was started from."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (0, 1):
            assert call("train", *PROBLEM, "--set", "epochs=1", "batch=50", "--seed", seed,
                        "--out", f"net{seed}") == 0  # fmt: skip
        assert call("merge", "--method", "mega", "--set", "population=4", "generations=2",
                    *PROBLEM, "--parents", "net0/model.safetensors", "net1/model.safetensors",
                    "--seed", 3, "--out", "merged") == 0  # fmt: skip
    return folder


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """A copy of it, in which a test may change what it likes."""
    shutil.copytree(made, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def changed(folder, **other):
    """The record of a run, changed and sealed anew."""
    record = sealed.read(folder / "run.json")
    sealed.write(folder / "run.json", {**record, **other})


def test_a_run_is_made_again_and_compared(study, capfd, monkeypatch):
    before = {file: file.read_bytes() for file in study.rglob("*") if file.is_file()}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # the run's own number counts
    assert call("verify", "merged") == 0
    assert capfd.readouterr().out == (
        "equal: model.safetensors, trace.csv and the counted cost of merged came out the same\n"
    )
    assert {file: file.read_bytes() for file in study.rglob("*") if file.is_file()} == before


def test_the_same_environment_and_other_weights_are_a_failure(study, capfd, monkeypatch):
    def play(_, __, out):
        shutil.copytree(study / "merged", out)
        weights = store.load_weights(out / "model.safetensors")
        weights["linear.bias"][0] += 0.5
        store.save_weights(out / "model.safetensors", weights)
        changed(out, weights={"model.safetensors": store.sha256(out / "model.safetensors")})

    monkeypatch.setattr(rerun, "_start", play)
    assert call("verify", "merged") == 1
    captured = capfd.readouterr()
    assert "1 of " in captured.out
    assert "by 0.5 at most (linear.bias)" in captured.out
    assert "the same environment" in captured.err


def test_what_cannot_be_made_again_is_refused_before_it_begins(study, capfd, monkeypatch):
    monkeypatch.setattr(rerun, "_start", lambda *_: pytest.fail("began"))
    shutil.copy("net1/model.safetensors", "net0/model.safetensors")
    assert call("verify", "merged") == 2
    assert "net0/model.safetensors is not the checkpoint" in capfd.readouterr().err
    monkeypatch.chdir(study.parent)
    assert call("verify", "study/merged") == 2
    assert "the folder that its command was started from" in capfd.readouterr().err
    assert call("verify", "study/net0") == 1  # its weights are not what it wrote
    assert "is not the file" in capfd.readouterr().err
    monkeypatch.chdir(study)
    changed(study / "net1", command="mergesuite evaluate --runs a --out b")
    assert call("verify", "net1") == 2


def test_another_environment_explains_another_result(study, capfd, monkeypatch):
    """The rerun is played: its record says what differs, and where it was made."""
    record = sealed.read(study / "merged/run.json")
    rows = (study / "merged/trace.csv").read_text().splitlines()
    rows[2] = rows[2].replace(rows[2].split(",")[3], "77", 1)

    def play(_, __, out):
        shutil.copytree(study / "merged", out)
        (out / "trace.csv").write_text("\n".join(rows) + "\n")
        files = {"trace.csv": store.sha256(out / "trace.csv")}
        versions = {**record["versions"], "torch": "9.9"}
        changed(out, files=files, versions=versions, device="another processor", score=1.0)

    monkeypatch.setattr(rerun, "_start", play)
    assert call("verify", "merged") == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("trace.csv: differs from row 2 on, in ")
    assert said[1].startswith("score: recorded ")
    assert said[3].strip().startswith("device: ")
    assert said[3].endswith("now another processor")
    assert said[4].strip().startswith("torch: ")
    monkeypatch.setattr(rerun, "changes", lambda *_: iter(()))
    assert call("verify", "merged") == 1


def test_a_command_of_another_version_is_said(study, capfd, monkeypatch):
    def play(_, __, out):
        shutil.copytree(study / "merged", out)
        changed(out, spec="0" * 12)

    monkeypatch.setattr(rerun, "_start", play)
    assert call("verify", "merged") == 2
    assert json.loads((study / "merged/run.json").read_text())["commit"] in capfd.readouterr().err
