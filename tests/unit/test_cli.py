"""Every command as a user calls it: results on disk, errors in one line, exit status."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mergesuite import models
from mergesuite.cli import run
from mergesuite.cli.parser import build_parser
from mergesuite.core import frames, sealed, store, streams
from mergesuite.core.store import load_weights
from mergesuite.methods import Population
from mergesuite.stages import hits

SIZES = ["--sizes", "fit=200", "search=80", "test=60"]
PROBLEM = ["--model", "resnet8-w8", "--data", "digits", *SIZES]
MEGA = ["--method", "mega", "--set", "population=4", "generations=3", *PROBLEM]


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """Two networks, one of them trained for a moment."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("parents")
    assert call("train", *PROBLEM, "--set", "epochs=2", "batch=50", "keep=2", "--seed", "0",
                "--out", folder / "a") == 0  # fmt: skip
    module = models.build("resnet8-w8", 10, streams.generator("other"))
    store.save_weights(folder / "b.safetensors", module.state_dict())
    return [folder / "a" / "model.safetensors", folder / "b.safetensors"]


def call(*words):
    return run([str(word) for word in words])


def refused(capsys, *words):
    assert call(*words) == 2
    message = capsys.readouterr().err.strip().split("\n")[-1]
    assert message.startswith("mergesuite: ")
    return message


def test_training_leaves_what_the_design_names(parents):
    folder = parents[0].parent
    assert {"model.safetensors", "epochs", "curve.csv", "run.json"} == {
        file.name for file in folder.iterdir()
    }
    assert [file.name for file in (folder / "epochs").iterdir()] == ["001.safetensors"]
    record = sealed.read(folder / "run.json")
    assert record["cost"]["backward_images"] == 400
    assert record["args"]["recipe"]["epochs"] == 2
    assert len(record["spec"]) == len(record["code"]) == 12


def test_merge_and_evaluate(parents, tmp_path):
    out = tmp_path / "mega-pair"
    assert call("merge", *MEGA, "--parents", *parents, "--seed", 3, "--out", out) == 0
    assert {f.name for f in out.iterdir()} == {"model.safetensors", "trace.csv", "run.json"}
    record = sealed.read(out / "run.json")
    assert record["cost"]["evaluations_asked"] == 4 + 2 * 3
    assert [p.get("epoch") for p in record["parents"]] == [2, None]
    assert call("evaluate", "--runs", out, "--population", "pair", "--out", tmp_path / "m.csv") == 0
    table = frames.read_csv(tmp_path / "m.csv")
    accuracy = table[table["metric"] == "accuracy"]
    assert set(accuracy["batchnorm"]) == {"keep", "average", "re-estimate"}
    assert set(accuracy["split"]) == {"search", "test"}
    assert set(table["entry"]) == {"mega"}
    on_test = accuracy[accuracy["split"] == "test"]
    assert set(on_test["n"]) == {60}
    kept = {
        key: int(np.unpackbits(bits).sum()) for key, bits in hits.read(tmp_path / "m.csv").items()
    }
    assert kept == {
        ("mega-pair", 3, row["batchnorm"]): round(60 * row["value"])
        for row in on_test.to_dict("records")
    }


def test_the_score_of_a_search_is_what_evaluation_measures(parents, tmp_path):
    out = tmp_path / "m"
    assert call("merge", *MEGA, "--parents", *parents, "--seed", 3, "--out", out) == 0
    assert call("evaluate", "--runs", out, "--out", tmp_path / "m.csv") == 0
    table = frames.read_csv(tmp_path / "m.csv").query(
        "metric == 'accuracy' and split == 'search' and batchnorm == 'keep'"
    )
    score = sealed.read(out / "run.json")["score"]
    assert float(table["value"].iloc[0]) == pytest.approx(score / 80)


@pytest.mark.parametrize(
    "method",
    ["best-parent", "mean-parent", "uniform-average", "ensemble", "greedy-soup",
     "interpolation-grid", "random-search", "train-on"],
)  # fmt: skip
def test_every_control_runs_on_a_users_checkpoints(parents, tmp_path, method):
    budget = {"random-search": ["evaluations=5"], "train-on": ["images=100"]}.get(method, [])
    given = ["--set", *budget] if budget else []
    out = tmp_path / method
    assert call("merge", "--method", method, *given, *PROBLEM, "--parents", *parents,
                "--seed", 0, "--out", out) == 0  # fmt: skip
    assert call("evaluate", "--runs", out, "--out", tmp_path / "m.csv") == 0
    mixing = ("uniform-average", "greedy-soup", "interpolation-grid", "random-search")
    treatments = set(frames.read_csv(tmp_path / "m.csv")["batchnorm"])
    assert ("average" in treatments) == (method in mixing)
    if method == "uniform-average":
        a, b = (load_weights(path) for path in parents)
        merged = load_weights(out / "model.safetensors")
        for name, tensor in merged.items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, ((a[name].double() + b[name]) / 2).float())


def test_a_search_from_one_parent_mixes_nothing(parents, tmp_path):
    out = tmp_path / "polish"
    assert call("merge", *MEGA, "--parents", *parents, "--from", "best", "--seed", 0,
                "--out", out) == 0  # fmt: skip
    assert call("evaluate", "--runs", out, "--out", tmp_path / "m.csv") == 0
    assert set(frames.read_csv(tmp_path / "m.csv")["batchnorm"]) == {"keep", "re-estimate", "-"}


def test_bad_input_ends_in_one_line_and_status_2(parents, tmp_path, capsys):
    a, b = parents
    merge = ["merge", *MEGA, "--seed", 0, "--out", tmp_path / "x", "--parents"]
    twin = tmp_path / "twin.safetensors"
    shutil.copy(a, twin)
    assert "same weights" in refused(capsys, *merge, a, twin)
    assert "same weights" in refused(capsys, *merge, a, a)

    wide = tmp_path / "wide.safetensors"
    store.save_weights(wide, models.build("resnet8", 10, streams.generator("w")).state_dict())
    assert "has shape" in refused(capsys, *merge, a, wide)

    broken = load_weights(b)
    broken["linear.bias"][0] = torch.nan
    store.save_weights(tmp_path / "nan.safetensors", broken)
    message = refused(capsys, *merge, a, tmp_path / "nan.safetensors")
    assert "nan.safetensors" in message
    assert "NaN" in message

    whole = load_weights(b)
    other = tmp_path / "other.safetensors"
    store.save_weights(other, {k: v for k, v in whole.items() if k != "linear.bias"})
    assert "lack 'linear.bias'" in refused(capsys, *merge, a, other)
    store.save_weights(other, {**whole, "extra": torch.zeros(1)})
    assert "have 'extra'" in refused(capsys, *merge, a, other)
    # Files of other programs often come without the counters.
    store.save_weights(other, {k: v for k, v in whole.items() if v.is_floating_point()})
    assert call(*merge[:-3], "--out", tmp_path / "y", "--parents", a, other) == 0

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(a.read_bytes()[:1000])
    assert "not a whole safetensors file" in refused(capsys, *merge, a, cut)
    assert "no checkpoint at" in refused(capsys, *merge, a, tmp_path / "none.safetensors")
    assert "did you mean 'population'" in refused(capsys, *merge, a, b, "--set", "populaton=3")
    assert "key=value" in refused(capsys, *merge, a, b, "--set", "population")
    assert "leaky" in refused(capsys, *merge, a, b, "--fitness", "split=test")
    assert "did you mean 'mega'" in refused(capsys, *merge, a, b, "--method", "meg")
    assert "did you mean 'digits'" in refused(capsys, *merge, a, b, "--data", "digts")
    assert "at least 2 parents" in refused(capsys, *merge, a)
    assert "leave one over" in refused(
        capsys, *merge, a, b, parents[0].parent / "epochs/001.safetensors"
    )
    assert not (tmp_path / "x" / "run.json").exists()


def test_a_result_below_a_file_is_a_line_for_whoever_named_it(parents, tmp_path, capsys):
    (tmp_path / "file").touch()
    said = refused(
        capsys, "merge", *MEGA, "--parents", *parents, "--seed", 3, "--out", tmp_path / "file/run"
    )
    assert "Not a directory" in said
    assert "--out" in said


def test_a_finished_result_is_not_overwritten_by_other_settings(parents, tmp_path, capsys):
    out = tmp_path / "mega"
    words = ["merge", *MEGA, "--parents", *parents, "--out", out, "--seed"]
    assert call(*words, 1) == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert call(*words, 1) == 0  # the same again changes nothing, not even the seconds
    for other in ([*words, 2], [*words, 1, "--part", "parameters"]):
        message = refused(capsys, *other)
        assert "other settings" in message
        assert "--force" in message
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert call(*words, 2, "--force") == 0
    assert sealed.read(out / "run.json")["seed"] == 2


def test_half_a_result_is_made_again(parents, tmp_path):
    out = tmp_path / "mega"
    words = ["merge", *MEGA, "--parents", *parents, "--out", out, "--seed", 1]
    assert call(*words) == 0
    before = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").unlink()
    assert call(*words) == 0
    assert (out / "model.safetensors").read_bytes() == before


def test_a_deleted_or_swapped_run_is_noticed(parents, tmp_path, capsys):
    out = tmp_path / "mega"
    assert call("merge", *MEGA, "--parents", *parents, "--seed", 1, "--out", out) == 0
    measure = ["evaluate", "--runs", parents[0].parent, out, "--out", tmp_path / "m.csv"]
    record = (out / "run.json").read_text()
    (out / "run.json").unlink()
    assert "not finished" in refused(capsys, *measure)
    (out / "run.json").write_text(record)
    whole = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(parents[0].read_bytes())
    assert "is not the file that" in refused(capsys, *measure)
    (out / "model.safetensors").write_bytes(whole)
    assert call(*measure) == 0


def test_weights_that_are_not_their_record_s_are_no_parents(parents, tmp_path, capsys):
    copy = tmp_path / "a"
    shutil.copytree(parents[0].parent, copy)
    shutil.copy(parents[1], copy / "model.safetensors")
    words = ["merge", *MEGA, "--seed", 0, "--out", tmp_path / "x", "--parents"]
    assert "is not the file that" in refused(capsys, *words, copy / "model.safetensors", parents[1])


def test_images_that_changed_are_noticed(tmp_path, capsys):
    images = tmp_path / "images"
    for label, shade in (("dark", 40), ("light", 200)):
        (images / label).mkdir(parents=True)
        for number in range(40):
            picture = np.full((32, 32, 3), shade + number, dtype=np.uint8)
            Image.fromarray(picture).save(images / label / f"{number}.png")
    out = tmp_path / "a"
    assert call("train", "--model", "resnet8-w8", "--data", f"folder:{images}", "--set", "epochs=1",
                "batch=10", "--seed", 0, "--out", out) == 0  # fmt: skip
    measure = ["evaluate", "--runs", out, "--out", tmp_path / "m.csv"]
    assert call(*measure) == 0
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(images / "dark" / "0.png")
    assert "are not those" in refused(capsys, *measure)


def test_missing_data_says_where_it_should_be(parents, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path / "nowhere"))
    message = refused(capsys, "data", "--data", "cifar10", "--out", tmp_path / "m.json")
    assert "MERGESUITE_DATA" in message


def test_data_with_a_wrong_checksum_are_refused(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5",
                 "test_batch", "batches.meta"):  # fmt: skip
        (folder / name).write_bytes(b"not what was published")
    monkeypatch.setenv("MERGESUITE_DATA", str(tmp_path))
    message = refused(capsys, "data", "--data", "cifar10", "--out", tmp_path / "m.json")
    assert "cifar-10-batches-py" in message
    assert not (tmp_path / "m.json").exists()


def test_a_leak_on_purpose_is_recorded(parents, tmp_path):
    out = tmp_path / "leak"
    assert call("merge", *MEGA, "--parents", *parents, "--seed", 0, "--out", out, "--leaky",
                "--protocol", "released", "--fitness", "split=test") == 0  # fmt: skip
    record = sealed.read(out / "run.json")
    assert record["leaky"]
    assert record["args"]["merge"]["fitness"]["split"] == "test"


def test_every_command_has_help_with_an_example(capsys):
    stages = build_parser()._subparsers._group_actions[0].choices
    assert set(stages) >= {
        "data", "train", "merge", "evaluate", "collect", "compare", "tables", "figures", "report",
        "check", "accept", "doctor", "list", "new-paper",
    }  # fmt: skip
    for name in stages:
        with pytest.raises(SystemExit) as ended:
            run([name, "--help"])
        assert ended.value.code == 0
        assert f"example: mergesuite {name}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["train", "--set", "epochs=1000000000000"], "1000000"),
        (["train", "--set", f"batch={10**30}"], "1000000"),
        (["train", "--set", f"cycles={10**30}"], "1e+09"),
        (["train", "--set", "lr=1e300"], "1e+30"),
        (["train", "--set", "colour_jitter=[1e299, 0, 0, 0.1]"], "1e+30"),
        (["merge", "--method", "mega", "--set", "population=100000000"], "10000"),
        (["merge", "--method", "mega", "--set", f"population={10**18}"], "1e+09"),
        (["merge", "--method", "mega", "--set", f"generations={10**18}"], "1e+09"),
        (["merge", "--method", "sa-shade", "--set", "memory=999999999"], "1000000"),
        (["merge", "--method", "mega", "--fitness", f"images={10**18}"], "1e+09"),
        (["train", "--option", f"width={10**18}"], "1e+09"),
    ],
)
def test_a_setting_that_no_machine_can_mean_names_its_limit(words, limit, capsys, tmp_path):
    parents = ["--parents", "a", "b"] if words[0] == "merge" else []
    message = refused(capsys, *words, *PROBLEM, *parents, "--seed", 0, "--out", tmp_path / "x")
    assert limit in message
    key = words[-1].partition("=")[0]
    assert f"{key}: " in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["resnet8-w100000", "resnet100000", "sew-resnet18-w100000"])
def test_a_network_has_no_size_that_no_machine_can_build(name, capsys, tmp_path):
    words = ["--data", "digits", "--seed", 0, "--out", tmp_path / "x"]
    assert name in refused(capsys, "train", "--model", name, *words)


@pytest.mark.parametrize("what", ["papers", "methods", "models", "datasets", "controls"])
def test_list_is_readable_by_programs(what, capsys):
    assert call("list", what, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(row["name"] for row in rows)
    if what == "methods":
        assert all(row["citation"] and "parameters" in row for row in rows)


def test_population_is_the_contract_of_searches():
    """`ask` and `tell` are what a method of another package has to offer."""
    assert {"start", "ask", "tell", "state", "restore", "best"} <= set(dir(Population))


@pytest.mark.parametrize(
    "stage", [["report"], ["check"], ["accept", "--paper", "mega"], ["doctor", "mega"]]
)
@pytest.mark.parametrize("profile", ["../smoke", "../../etc", "", "smoke\n"])
def test_a_profile_is_no_path(stage, profile, capsys, tmp_path):
    where = ["--results", tmp_path / "r"] if stage[0] != "doctor" else []
    message = refused(capsys, *stage, "--profile", profile, *where)
    assert "no profile" in message
    assert not list(tmp_path.iterdir())


def test_what_an_error_repeats_is_no_command_to_a_terminal(capsys):
    message = refused(capsys, "new-paper", "a\x1b[31m\u202ered\n\n")
    assert message.isprintable()


@pytest.mark.parametrize("name", ["report", "default", "try", "Größe", "-x", "a" * 25, "../a", ""])
def test_a_paper_has_a_name_that_means_nothing_else(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capsys, "new-paper", "--", name)
    assert not list(tmp_path.iterdir())
