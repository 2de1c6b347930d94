"""Several processes give the result of one: torchrun over gloo on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import play_ranks
import pytest

from mergesuite.core import store
from mergesuite.core.ranks import ALONE

SIZES = ["--sizes", "fit=100", "search=80", "test=60"]
PROBLEM = ["--model", "resnet8-w8", "--data", "digits", *SIZES]


def torchrun(processes, *words):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", str(processes), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    return {case: play_ranks.outcome(*how, ALONE) for case, how in play_ranks.CASES.items()}


@pytest.mark.parametrize("processes", [2, 3])
def test_searches_end_the_same_on_any_number_of_processes(alone, tmp_path, processes):
    done = torchrun(processes, Path(play_ranks.__file__), tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "out.json").read_text())
    assert together == alone
    for case, (accepted, _, _) in alone.items():
        assert any(accepted), case


def test_merge_under_torchrun_writes_the_files_of_one_process(tmp_path):
    mergesuite = [sys.executable, "-m", "mergesuite"]
    train = ["train", *PROBLEM, "--set", "epochs=1", "batch=50"]
    for seed in "01":
        subprocess.run([*mergesuite, *train, "--seed", seed, "--out", tmp_path / seed], check=True)
    parents = [tmp_path / seed / "model.safetensors" for seed in "01"]
    merge = ["merge", "--method", "mega", "--set", "population=4", "generations=2", *PROBLEM,
             "--parents", *parents, "--seed", "0", "--out"]  # fmt: skip
    subprocess.run([*mergesuite, *merge, tmp_path / "one"], check=True)
    done = torchrun(2, "-m", "mergesuite", *merge, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    names = {file.name for file in (tmp_path / "two").iterdir()}
    assert names == {"model.safetensors", "trace.csv", "run.json"}
    one, two = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert store.read_json(tmp_path / "two/run.json")["processes"] == 2

    refused = torchrun(2, "-m", "mergesuite", *train, "--seed", "0", "--out", tmp_path / "q")
    assert "run train without it" in refused.stderr
