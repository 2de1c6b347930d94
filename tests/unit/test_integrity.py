"""No damage to a file that a stage reads again is silent, and the error says how to mend it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_benchmarks import benchmark

from mergesuite.core import sealed, store
from mergesuite.stages import record

bitflips = benchmark("bitflips")
LEAKY = " --protocol published --leaky --fitness split=test"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small study with all of its results, and a copy of these."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study")
    with bitflips.studied(folder) as made:
        shutil.copytree(made.results, folder / "kept")
        yield made


@pytest.fixture
def study(whole):
    """The study; what a test does to it is undone."""
    yield whole
    shutil.rmtree(whole.results)
    shutil.copytree(whole.folder / "kept", whole.results)


@pytest.fixture
def kinds(study):
    return {kind.name: kind for kind in study.kinds()}


def test_no_flipped_bit_and_no_cut_is_silent(study):
    rows = bitflips.measure(study, flips=1, cuts=1)

    assert bitflips.silent(rows) == []
    assert len(rows) > 20


def test_silence_would_be_noticed(study, kinds, monkeypatch):
    """Else the test above would say little."""
    monkeypatch.setattr(sealed, "faults", lambda *_: iter(()))

    assert bitflips.silent([bitflips.try_kind(study, kinds["curve"], 1, 0)])
    table = kinds["collect: s0.csv"]
    table.file.write_bytes(table.file.read_bytes()[:-2] + b"?\n")
    assert bitflips.run(table.reader)[0] == 0


@pytest.mark.parametrize("name", ["weights of a parent, merged", "trace", "run.json of a merge"])
def test_what_the_line_names_is_deleted_and_made_again(study, kinds, name):
    kind = kinds[name]
    merged = Path(study.jobs.run("average-pair", 0), record.WEIGHTS)
    before = merged.read_bytes()
    kind.file.write_bytes(bitflips.flip(kind.file.read_bytes(), 80))

    _, said = bitflips.run(kind.reader)
    named = Path(re.search(r"delete (\S+) and run", said)[1])
    assert named in (kind.file, kind.file.parent)
    shutil.rmtree(named) if named.is_dir() else named.unlink()
    for words in study.commands():
        if words.startswith(("train", "merge", "evaluate")):
            assert bitflips.run(words)[0] == 0

    assert bitflips.run(f"verify {study.results}")[0] == 0
    assert merged.read_bytes() == before


def test_a_finished_result_with_a_damaged_file_is_made_again_by_its_own_command(study, kinds):
    file = kinds["merged weights"].file
    before = file.read_bytes()
    file.write_bytes(before[:-1])

    status, said = bitflips.run(merging(study))

    assert status == 0
    assert "is not the file" in said
    assert "made again" in said
    assert file.read_bytes() == before


def test_a_result_of_parents_that_are_others_now_is_not_measured_and_is_made_again(study, kinds):
    """The parent's own folder is sound: only what was made of its older weights is not."""
    weights = kinds["weights of a parent, merged"].file
    reseal(weights, store.load_weights(Path(study.jobs.run("net", 1), record.WEIGHTS)))

    status, said = bitflips.run(kinds["merged weights"].reader)
    assert status == 2
    assert f"{weights} is not the parent that {study.jobs.run('average-pair', 0)}" in said
    assert f"{weights} is not the checkpoint" in bitflips.run(f"verify {study.results}")[1]
    reseal(weights, {name: 2 * value for name, value in store.load_weights(weights).items()})
    status, said = bitflips.run(merging(study))
    assert (status, "made again" in said) == (0, True)


def reseal(weights, tensors):
    """Put other weights into a finished run, as if it had been made with them."""
    store.save_weights(weights, tensors)
    run = weights.with_name(sealed.RUN)
    value = sealed.read(run)
    sealed.write(run, value | {"weights": value["weights"] | {weights.name: store.sha256(weights)}})


def merging(study):
    out = study.jobs.run("average-pair", 0)
    return f"merge {study.jobs.merge_arguments('average-pair', 0)} --seed 0 --out {out}"


def test_a_folder_in_which_another_run_was_begun_is_not_measured(study, tmp_path, monkeypatch):
    """A clean result, then a leaky one begun in its folder and killed before its run.json."""
    out = tmp_path / "s0"
    shutil.copytree(study.jobs.run("search-pair", 0), out)
    leaky = study.jobs.merge_arguments("search-pair", 0) + LEAKY
    status, said = bitflips.run(f"merge {leaky} --seed 0 --out {out}")
    assert (status, "other settings" in said) == (2, True)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(record.Run, "finish", killed)
    assert bitflips.run(f"merge {leaky} --seed 0 --out {out} --force")[0] == 130

    status, said = bitflips.run(f"evaluate --runs {out} --out {tmp_path / 'm.csv'}")
    assert (status, "not finished" in said) == (2, True)


@pytest.mark.parametrize("name", ["trace.csv", record.WEIGHTS])
def test_a_folder_that_mixes_two_runs_is_refused(study, tmp_path, name):
    """Even where somebody has made the checksums agree, by the spec in each file."""
    out = tmp_path / "s0"
    shutil.copytree(study.jobs.run("search-pair", 0), out)
    shutil.copy(Path(study.jobs.run("best-parent-pair", 0), name), out / name)
    status, said = bitflips.run(f"verify {tmp_path}")
    assert (status, "is not the file" in said) == (1, True)

    value = sealed.read(out / sealed.RUN)
    for key in sealed.DESCRIBED:
        if name in value[key]:
            value[key][name] = store.sha256(out / name)
    if name == "trace.csv":  # a method in one step has no rows, and a word for each
        (out / name).write_text("step,spec\n1,0123456789ab\n")
        value["files"][name] = store.sha256(out / name)
    sealed.write(out / sealed.RUN, value)
    status, said = bitflips.run(f"verify {tmp_path}")
    assert status == 1
    assert re.search(rf"{name} is of spec \w+, .*run\.json of {value['spec']}", said)


def test_a_table_that_measured_another_run_is_found(study, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(study.results, copy)
    run = copy / bitflips.PROFILE / bitflips.NAME / "merge/search-pair/s0" / sealed.RUN
    table = copy / bitflips.PROFILE / bitflips.NAME / "evaluate/pair/s0.csv"
    sealed.write(run, sealed.read(run) | {"spec": "0123456789ab"})

    status, said = bitflips.run(f"verify {copy}")

    assert status == 1
    assert f"{table} measured search-pair s0" in said


def test_verify_names_what_is_in_no_record_and_fails_only_for_what_is_mixed(study, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(study.results, copy)
    run = copy / bitflips.PROFILE / bitflips.NAME / "train/net/s0"
    (run.parent / "s9").mkdir()
    shutil.copy(run / record.WEIGHTS, run.parent / "s9")
    (copy / "published").mkdir()
    (copy / "published/runs.csv").write_text("a\n1\n")
    status, said = bitflips.run(f"verify {copy}")
    assert status == 0
    assert re.search(r"s9/model\.safetensors is in no record", said)
    assert said.count("no record") == 1

    shutil.copy(run / record.WEIGHTS, run / "epochs/099.safetensors")
    status, said = bitflips.run(f"verify {copy}")
    assert status == 1
    assert f"epochs/099.safetensors is not of the run in {run}: delete it" in said


def test_verify_needs_a_folder_with_records_and_no_torch(study, tmp_path):
    assert "no folder" in bitflips.run(f"verify {tmp_path / 'none'}")[1]
    assert bitflips.run(f"verify {tmp_path / 'none'}")[0] == 2
    assert bitflips.run(f"verify {tmp_path}")[0] == 2
    code = (
        "import sys; from mergesuite.cli import run; "
        f"print(run(['verify', {str(study.results)!r}]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_json_in_a_record_comes_back_and_any_other_word_does_not(tmp_path):
    value = {"a": [1, 0.1, None], "é": {"seal": "ß"}}
    file = tmp_path / "x.json"
    for indent in (None, 2):
        sealed.write(file, value, indent)
        assert sealed.found(file) == value
    content = file.read_bytes()
    changed = [bitflips.flip(content, bit) for bit in range(0, 8 * len(content), 3)]
    for other in [*changed, *(content[:size] for size in range(len(content)))]:
        file.write_bytes(other)
        assert sealed.found(file) is None
