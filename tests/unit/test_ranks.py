"""Several processes give the result of one: torchrun over gloo on this machine."""

import json
import subprocess
import sys

import play_ranks

from mergesuite.cli import run
from mergesuite.core import sealed
from mergesuite.core.ranks import ALONE

SIZES = ["--sizes", "fit=100", "search=80", "test=60"]
PROBLEM = ["--model", "resnet8-w8", "--data", "digits", *SIZES]
TRAIN = ["train", *PROBLEM, "--set", "epochs=1", "batch=50", "--seed"]


def python(*words):
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def call(*words):
    return run([str(word) for word in words])


def test_searches_end_the_same_on_any_number_of_processes(tmp_path):
    python(play_ranks.__file__, tmp_path, 2, 3)
    alone = {case: play_ranks.outcome(*how, ALONE) for case, how in play_ranks.CASES.items()}
    for processes in (2, 3):
        together = json.loads((tmp_path / f"{processes}.json").read_text())
        assert together == alone, f"{processes} processes"
    for case, (accepted, _, _) in alone.items():
        assert any(accepted), case


def test_merge_under_torchrun_writes_the_files_of_one_process(tmp_path):
    for seed in (0, 1):
        assert call(*TRAIN, seed, "--out", tmp_path / str(seed)) == 0
    parents = [tmp_path / seed / "model.safetensors" for seed in "01"]
    merge = ["merge", "--method", "mega", "--set", "population=4", "generations=2", *PROBLEM,
             "--parents", *parents, "--seed", "0", "--out"]  # fmt: skip
    assert call(*merge, tmp_path / "one") == 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    python(*torchrun, "-m", "mergesuite", *merge, tmp_path / "two")
    names = {file.name for file in (tmp_path / "two").iterdir()}
    assert names == {"model.safetensors", "trace.csv", "run.json"}
    one, two = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert sealed.read(tmp_path / "two/run.json")["processes"] == 2


def test_what_torchrun_cannot_divide_is_refused(tmp_path, monkeypatch, capsys):
    ours = {"TORCHELASTIC_RUN_ID": "one", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert call("evaluate", "--runs", tmp_path, "--out", tmp_path / "q.csv") == 2
    assert "run evaluate without it" in capsys.readouterr().err
