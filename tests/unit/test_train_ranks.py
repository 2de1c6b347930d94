"""Training on several processes: the updates of one, and a kill -9 that changes nothing."""

import subprocess
import sys

import play_training
import pytest
import torch

from mergesuite.cli import run
from mergesuite.core import sealed, store
from mergesuite.core.ranks import ALONE

TOLERANCE = 1e-5
"""Largest difference of a weight after two epochs. Gradients are sums in another order; the weights
move by 0.01 and more."""


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The folder in which torchrun has played all trainings."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, play_training.__file__, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed:") == 2
    return folder


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("case", play_training.CASES)
def test_any_number_of_processes_makes_the_updates_of_one(played, case, processes):
    name, settings = play_training.CASES[case]
    alone = play_training.outcome(name, settings, ALONE)
    together = store.load_weights(played / f"{case}-{processes}.safetensors")
    assert together.keys() == alone.keys()
    start = play_training.network(name).state_dict()
    moved = max(float((alone[f"last.{k}"] - start[k]).abs().max()) for k in start)
    assert moved > 1000 * TOLERANCE
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, rtol=0, atol=TOLERANCE)


def test_a_kill_in_the_middle_of_an_epoch_changes_no_byte(played):
    files = {
        str(file.relative_to(played / "whole")): file.read_bytes()
        for file in (played / "whole").rglob("*")
        if file.is_file() and file.name != "run.json"
    }
    assert set(files) == {
        "model.safetensors", "curve.csv", "epochs/002.safetensors", "epochs/ema.safetensors",
        "epochs/swa.safetensors",
    }  # fmt: skip
    for name, content in files.items():
        assert (played / "killed" / name).read_bytes() == content
    records = [sealed.read(played / folder / "run.json") for folder in ("whole", "killed")]
    for key in ("spec", "cost", "weights", "processes"):
        assert records[0][key] == records[1][key]
    assert records[0]["processes"] == 2
    assert not (played / "killed" / "resume").exists()


def test_the_command_on_one_process_ends_where_two_do(played, tmp_path):
    assert run([*play_training.TRAIN, str(tmp_path)]) == 0
    for name in ("model.safetensors", "epochs/swa.safetensors"):
        alone = store.load_weights(tmp_path / name)
        together = store.load_weights(played / "whole" / name)
        for key, tensor in alone.items():
            torch.testing.assert_close(together[key], tensor, rtol=0, atol=TOLERANCE)
    specs = [sealed.read(folder / "run.json")["spec"] for folder in (tmp_path, played / "whole")]
    assert specs[0] == specs[1]
