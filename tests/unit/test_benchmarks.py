import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mergesuite import train

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def training():
    spec = importlib.util.spec_from_file_location("training", FOLDER / "training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_training_loops_end_in_the_same_weights(training):
    found = training.check("resnet8-w8", 64)
    assert float(found["apart"]) < 1e-12
    assert float(found["apart_in_another_order"]) > 1e-3


def test_another_learning_rate_would_be_noticed(training, monkeypatch):
    monkeypatch.setattr(train, "learning_rate", lambda *_: 0.1001)
    with pytest.raises(ValueError, match="apart"):
        training.check("resnet8-w8", 64)


def test_a_left_out_batch_would_be_noticed(training, monkeypatch):
    batches = train.Trainer.batches
    monkeypatch.setattr(train.Trainer, "batches", lambda *a: batches(*a)[:-1])
    with pytest.raises(ValueError, match=r"updates \[4, 4, 4\]"):
        training.check("resnet8-w8", 64)


def test_the_training_benchmark_writes_its_table_and_figure(tmp_path):
    words = ["--cases", "data:64", "resnet8-w8:64", "--pairs", "1", "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, FOLDER / "training.py", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| resnet8-w8, 64 images | ours " in done.stdout
    with (tmp_path / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["images"]) for r in rows if r["variant"] == "ours"] == [
        (case, size) for case in ("data", "resnet8-w8") for size in ("16", "32", "64")
    ]
    assert all(float(r["seconds"]) > 0 and r["commit"] and r["updates"] == "1" for r in rows)
    for r in rows[9:]:
        parts = [float(r[part]) for part in ("data", "forward", "backward", "optimiser")]
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(1, abs=0.01)
    assert (tmp_path / "training.svg").stat().st_size > 0
