"""What commands print: what came out, how far they are, and lists that fit a terminal."""

import io
import re
import sys

import pytest
import torch

from mergesuite.cli import catalogue, listing, outcome, run
from mergesuite.core import progress, sealed
from mergesuite.experiment import declared

PROBLEM = ["--model", "resnet8-w8", "--data", "digits", "--sizes", "fit=200", "search=80",
           "test=60"]  # fmt: skip


def call(*words):
    return run([str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two networks, one merged from them, and one that saw test images."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("mine")
    for seed in (0, 1):
        assert call("train", *PROBLEM, "--set", "epochs=2", "batch=50", "--seed", seed, "--out",
                    folder / f"net{seed}") == 0  # fmt: skip
    return folder


def merged(folder, name, *more):
    parents = [folder / f"net{seed}/model.safetensors" for seed in (0, 1)]
    return call("merge", "--method", "mega", "--set", "population=4", "generations=2", *PROBLEM,
                "--parents", *parents, "--seed", 0, "--out", folder / name, *more)  # fmt: skip


def test_training_ends_with_accuracy_cost_and_place(folder, capsys):
    assert call("train", *PROBLEM, "--set", "epochs=2", "batch=50", "--seed", 0, "--out",
                folder / "net0") == 0  # fmt: skip
    out = capsys.readouterr().out.splitlines()
    last = outcome._rows(folder / "net0/curve.csv")[-1]
    assert f"after 2 epochs: accuracy {float(last['search_accuracy']):.4f} on search" in out[0]
    assert out[1].startswith("cost: 560 images forward, 400 images backward, ")
    assert out[2] == f"weights: {folder / 'net0/model.safetensors'}"


def test_merging_says_its_accuracy_and_evaluating_what_leaked(folder, capsys):
    assert merged(folder, "clean") == 0
    captured = capsys.readouterr()
    record = sealed.read(folder / "clean/run.json")
    assert captured.out.startswith(
        f"mega of 2 parents: accuracy {record['score'] / 80:.4f} on 80 images of search, "
        f"the best parent accuracy {record['begun'] / 80:.4f}\n"
    )
    lines = [line for line in captured.err.splitlines() if line.startswith("mega: ")]
    assert [line.split(",")[0] for line in lines] == [
        "mega: 4 of 7 evaluations", "mega: 7 of 7 evaluations",
    ]  # fmt: skip
    assert f"best {record['score'] / 80:.4f}" in lines[-1]
    assert "\r" not in captured.err

    leaky = ("--leaky", "--protocol", "released", "--fitness", "split=test")
    assert merged(folder, "leak", *leaky) == 0
    assert outcome.LEAK_NOTE in capsys.readouterr().out
    runs = [folder / name for name in ("net0", "clean", "leak")]
    assert call("evaluate", "--runs", *runs, "--out", folder / "m.csv") == 0
    said = capsys.readouterr().out
    value = {
        (row["subject"], row["batchnorm"]): float(row["value"])
        for row in outcome._rows(folder / "m.csv")
        if (row["metric"], row["split"]) == ("accuracy", "test")
    }
    assert re.search(rf"^leak {outcome.LEAK}\s+0\s+{value['leak', 'keep']:.4f}", said, re.M)
    assert re.search(rf"^clean\s+0\s+{value['clean', 'keep']:.4f}", said, re.M)
    assert re.search(rf"^net0\s+0\s+{value['net0', 'keep']:.4f}\s+-", said, re.M)
    assert outcome.LEAK_NOTE in said


def test_of_several_processes_one_prints(folder, capsys, monkeypatch):
    from mergesuite.cli import commands

    monkeypatch.setenv("RANK", "1")
    commands._print(outcome.of_run(folder / "net0"))
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_is_a_bar_with_total_and_best(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    count = progress.Count("mega", 0, 40, "evaluations")
    count.add(10)
    count.say("best 0.5")
    count.close()
    assert "10/40" in screen.getvalue()
    assert "best 0.5" in screen.getvalue()
    assert "\n" not in screen.getvalue().strip("\n")


def test_the_rest_is_told_by_the_pace_of_this_process(monkeypatch):
    now = iter([100.0, 160.0, 160.0, 160.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    clock = progress.Clock(done=10, total=40)
    assert clock.left(20) == ", 02:00 left"
    assert clock.left(40) == ""
    assert progress.Clock(0, None).left(5) == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lists_fit_the_terminal(width):
    lines = list(catalogue.lines(catalogue.GROUPS, width))
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for what, rows in listing.LISTS.items():
        assert [row["name"] for row in rows() if row["name"] not in text] == [], what


def test_controls_are_apart_from_methods(capsys):
    assert call("list", "methods") == 0
    methods, controls = capsys.readouterr().out.split("controls: ")
    for name, method in declared.methods().items():
        assert (f"\n  {name} " in controls) == method.control
        assert (f"\n  {name} " in methods) == (not method.control)
