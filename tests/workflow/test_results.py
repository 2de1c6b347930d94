"""What a run leaves, and what runs again."""

import hashlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from study import (
    ROOT,
    SMOKE,
    jobs,
    mergesuite,
    outputs,
    planned,
    snakemake,
)

WEIGHTS = "model.safetensors"


def test_the_page_of_a_paper_is_there_and_needs_no_network(finished):
    page = (finished / "results/smoke/report/mega.html").read_text()
    assert page.index("erdict") < page.index("<table")
    assert not re.search(r'(src|href)="https?://(?!arxiv|github|doi)', page)
    assert not re.search(r"<(script|link|img|iframe)[^>]* (src|href)=", page)
    assert "default-src 'none'" in page


def test_the_files_of_the_design_are_there(finished):
    folder = finished / "results/smoke/mega"
    for name in (
        "train/resnet56/s0/model.safetensors",
        "train/resnet56/s0/curve.csv",
        "merge/mega-clean-pair/s0/trace.csv",
        "merge/mega-clean-pair/s1/run.json",
        "runs.csv",
        "verdicts.csv",
        "tables/results.tex",
        "figures/segment.pdf",
    ):
        assert (folder / name).stat().st_size > 0
    assert not list(folder.rglob("resume*"))


def test_what_the_planner_expects_is_what_runs_say(finished, monkeypatch):
    from mergesuite.experiment.config import FOLDER
    from mergesuite.experiment.jobs import Jobs

    monkeypatch.setenv(FOLDER, str(finished / "replications"))
    planner = Jobs("mega", "smoke", str(finished / "results"))
    for subject in planner.subjects:
        for seed in planner.seeds(subject):
            record = json.loads(Path(planner.run(subject, seed), "run.json").read_text())
            assert record["spec"] == planner.spec(subject, seed), subject
            assert record["code"] == planner.code(subject), subject


def test_snakemake_s_own_report_is_made_with_our_captions(finished):
    snakemake(finished, "mega", "--report", "report.zip", "--config", "profile=smoke")
    shutil.unpack_archive(finished / "report.zip", finished / "unpacked")
    text = "".join(f.read_text(errors="ignore") for f in (finished / "unpacked").rglob("*.*ml"))
    text += "".join(f.read_text(errors="ignore") for f in (finished / "unpacked").rglob("*.js*"))
    for caption in ("segment", "verdicts", "tables"):
        words = (ROOT / f"workflow/report/{caption}.rst").read_text().split()
        assert " ".join(words[:5]) in " ".join(text.split())


def test_a_second_run_does_nothing(finished):
    assert planned(finished, *SMOKE).keys() <= {"report", "default", "total"}  # of all papers
    assert (
        planned(finished, "mega", "--cores", "1", "--config", "profile=smoke", "device=cpu") == {}
    )


def test_editing_one_entry_re_runs_its_jobs_and_what_follows(finished, spec):
    def edit(raw):
        raw["title"] += " (edited)"
        entry = raw["profiles"]["smoke"]["methods"].setdefault("polish-clean", {})
        entry["params"] = {"generations": 2}

    spec(edit)
    done = snakemake(finished, "-n", "mega", "--config", "profile=smoke")
    merges = outputs(done, "merge")
    assert merges == {"mega/merge/polish-clean-pair/s0", "mega/merge/polish-clean-pair/s1"}
    assert outputs(done, "evaluate") == {"mega/evaluate/pair"}
    assert "train" not in jobs(done)


def test_more_seeds_train_the_new_ones_only(finished, spec):
    spec(lambda raw: raw["profiles"]["smoke"]["models"]["resnet56"].update(seeds=6))
    done = snakemake(finished, "-n", "mega", "--config", "profile=smoke")
    assert outputs(done, "train") == {"mega/train/resnet56/s4", "mega/train/resnet56/s5"}
    assert jobs(done).get("merge", 0) == 0  # two replicates are asked for, and are there


def test_a_deleted_result_is_made_again_and_no_other(finished):
    folder = finished / "results/smoke/mega/merge/average-pair/s1"
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    shutil.rmtree(folder)
    target = "results/smoke/mega/evaluate/pair/s1.csv"
    done = snakemake(finished, "-n", "--forcerun", "evaluate", "--", target)
    assert outputs(done, "merge") == {"mega/merge/average-pair/s1"}
    refused = mergesuite(finished, "evaluate", "--runs", folder, "--out", "m.csv")
    assert refused.returncode == 2
    assert "not finished" in refused.stderr
    kept.rename(folder)


def test_swapped_weights_are_refused_and_run_their_merges_again(finished):
    assert mergesuite(finished, "verify").returncode == 0
    run = finished / "results/smoke/mega/train/resnet56/s0"
    file, before = run / WEIGHTS, (run / WEIGHTS).read_bytes()
    written = file.stat().st_mtime_ns
    shutil.copyfile(run.with_name("s1") / WEIGHTS, file)
    planned = outputs(snakemake(finished, "-n", "mega", "--config", "profile=smoke"), "merge")
    refused = mergesuite(finished, "evaluate", "--runs", run, "--out", "m.csv")
    found = mergesuite(finished, "verify", "results/smoke")
    file.write_bytes(before)
    os.utime(file, ns=(written, written))
    assert {"mega/merge/average-pair/s0", "mega/merge/mega-clean-pair/s0"} <= planned
    assert not any(name.endswith("s1") for name in planned)
    assert (refused.returncode, found.returncode) == (2, 1)
    assert f"{file} is not the file" in refused.stderr
    assert "train/resnet56/s0/model.safetensors is not the file" in found.stdout


def test_results_of_an_older_spec_are_refused_where_they_are_read(finished, spec):
    spec(lambda raw: raw["profiles"]["smoke"]["models"]["resnet56"]["recipe"].update(epochs=2))
    for stage in ("collect", "compare", "tables", "figures"):
        done = mergesuite(finished, stage, "--paper", "mega", "--profile", "smoke")
        assert done.returncode == 2, stage
        assert "other settings" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_fewer_seeds_leave_the_others_out_of_the_table(finished, spec, tmp_path):
    copy = tmp_path / "c"
    spec(lambda raw: raw["profiles"]["smoke"].update(replicates=1))
    shutil.copytree(finished, copy)
    snakemake(copy, "--until", "collect", "--", "results/smoke/mega/runs.csv")
    runs = pd.read_csv(copy / "results/smoke/mega/runs.csv")
    assert set(runs[runs["kind"] == "merged"]["seed"]) == {0}
    assert (copy / "results/smoke/mega/merge/mega-clean-pair/s1/run.json").is_file()


def test_check_accepts_what_it_measured_and_notices_a_drift(finished):
    file = finished / "replications/mega/expected.csv"
    shipped = file.read_bytes()
    assert mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke").returncode == 0
    file.unlink()
    unpinned = mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke")
    assert unpinned.returncode == 2
    assert "nothing pinned" in unpinned.stderr
    accepted = mergesuite(finished, "accept", "--paper", "mega", "--profile", "smoke", "--only-pin")
    assert accepted.returncode == 0, accepted.stderr
    assert mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke").returncode == 0
    table = pd.read_csv(file)
    first = table.index[table["profile"] == "smoke"][0]
    table.loc[first, "mean"] += 10
    table.to_csv(file, index=False)
    drifted = mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke")
    file.write_bytes(shipped)
    assert drifted.returncode == 1
    assert "tolerance" in drifted.stderr


def test_a_run_ends_with_the_findings_and_the_page(finished):
    said = (finished / "said.txt").read_text()
    printed = mergesuite(finished, "findings", "--papers", "mega", "--profile", "smoke").stdout
    end = said[said.index("findings, profile smoke:") :].splitlines()
    assert end[1] == f"  {printed.strip()}"
    assert end[2] == "  page: results/smoke/report/mega.html"
    dry = snakemake(finished, "-n", "--forcerun", "report", *SMOKE)
    assert "findings" not in dry.stderr + dry.stdout
    log = (finished / "results/smoke/mega/logs/merge/mega-clean-pair/s0.log").read_text()
    assert "evaluations, best" in log
    assert "weights: " in log
    assert "\r" not in log


def test_a_failure_ends_with_the_job_its_reason_and_what_to_do(finished, tmp_path):
    copy = tmp_path / "c"
    shutil.copytree(finished, copy, symlinks=True)
    (copy / "results/smoke/mega/runs.csv").write_text("damaged")
    done = snakemake(copy, "results/smoke/mega/verdicts.csv", check=False)
    assert done.returncode == 1
    end = done.stderr[done.stderr.index("failed: 1 job") :].splitlines()
    assert end[1].startswith("  compare mega: results/smoke/mega/runs.csv is not the file")
    assert "run the same command" in end[2]


def test_verdicts_for_programs_know_the_runs_behind_them(finished):
    folder = finished / "results/smoke/mega"
    document = json.loads((folder / "verdicts.json").read_text())
    claim = next(c for c in document["claims"] if c["subject"] == "mega-clean-pair")
    record = json.loads((folder / "merge/mega-clean-pair/s0/run.json").read_text())
    assert record["spec"] in claim["specs"]
    assert record["code"] in claim["code"]
    (place,) = claim["environments"]
    assert document["environments"][place]["torch"] == record["versions"]["torch"]


def test_the_commands_of_the_page_on_results_work(finished):
    text = (ROOT / "docs/results.md").read_text()
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S)
                for line in block.splitlines()]  # fmt: skip
    assert [command.split()[1] for command in commands] == ["findings", "verify", "rocrate"]
    said = [mergesuite(finished, *command.split()[1:]) for command in commands]
    assert [done.returncode for done in said] == [0, 0, 0], [done.stderr for done in said]
    assert said[1].stdout.startswith("equal: model.safetensors, trace.csv")


@pytest.fixture(scope="module")
def crate(finished, tmp_path_factory):
    """The results of MeGA as an RO-Crate, and its entities by id."""
    out = tmp_path_factory.mktemp("crate") / "mega"
    words = ("rocrate", "--profile", "smoke", "--papers", "mega", "--out")
    done = mergesuite(finished, *words, out)
    assert done.returncode == 0, done.stderr
    graph = json.loads((out / "ro-crate-metadata.json").read_text())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph)
    for name in ("a.zip", "b.zip"):
        assert mergesuite(finished, *words, out.parent / name).returncode == 0
    assert (out.parent / "a.zip").read_bytes() == (out.parent / "b.zip").read_bytes()
    refused = mergesuite(finished, *words, out)
    assert (refused.returncode, "already" in refused.stderr) == (2, True)
    return out, {entity["@id"]: entity for entity in graph}


def links(entity):
    """What an entity refers to; RO-Crate wants single links without a list, and nothing nested."""
    for key, value in entity.items():
        assert not (isinstance(value, list) and len(value) == 1), key
        for part in value if isinstance(value, list) else [value]:
            assert isinstance(part, str) or set(part) == {"@id"}, key
            if isinstance(part, dict):
                yield part["@id"]


def test_a_crate_describes_each_of_its_files(crate):
    folder, entities = crate
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    described = {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert described == there - {"ro-crate-metadata.json"}
    assert {part["@id"] for part in entities["./"]["hasPart"]} == described
    for name in described:
        content = (folder / name).read_bytes()
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[name]["contentSize"] == str(len(content))
    assert {"mega/verdicts.json", "mega/figures/gains.pdf", "mega/tables/results.tex",
            "mega/paper.yaml", "mega/merge/mega-clean-pair/s0/trace.csv"} <= described  # fmt: skip
    assert not any(name.endswith(".safetensors") for name in there)
    with zipfile.ZipFile(folder.parent / "a.zip") as packed:
        assert set(packed.namelist()) == there
        assert packed.read("mega/verdicts.json") == (folder / "mega/verdicts.json").read_bytes()


def test_a_crate_says_what_was_run_with_what(crate):
    folder, entities = crate
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["conformsTo"]["@id"] in entities
    assert all(root[key] for key in ("name", "description", "datePublished", "license"))
    outside = {link for entity in entities.values() for link in links(entity)} - entities.keys()
    assert outside == {"https://w3id.org/ro/crate/1.1"}
    actions = {name: e for name, e in entities.items() if e["@type"] == "CreateAction"}
    assert {link["@id"] for link in root["mentions"]} == actions.keys()
    assert len(actions) == len(list(folder.rglob("run.json"))) + 1
    merge = actions["#run-mega-merge-mega-clean-pair-s0"]
    record = json.loads((folder / "mega/merge/mega-clean-pair/s0/run.json").read_text())
    assert merge["description"] == record["command"]
    assert record["commit"] in entities[merge["instrument"]["@id"]]["softwareVersion"]
    read = {link["@id"] for link in merge["object"]}
    assert {"mega/train/resnet56/s0/run.json", "mega/train/resnet56/s1/run.json"} <= read
    assert {"@id": "mega/verdicts.json"} in actions["#compare-mega"]["result"]
    assert entities[root["citation"]["@id"]]["@type"] == "ScholarlyArticle"


def test_a_crate_is_valid_by_the_validator(crate):
    """Where roc-validator is installed, and can fetch the contexts that it reads."""
    services = pytest.importorskip("rocrate_validator.services")
    models = pytest.importorskip("rocrate_validator.models")
    settings = services.ValidationSettings(
        rocrate_uri=str(crate[0]), profile_identifier="process-run-crate-0.5",
        requirement_severity=models.Severity.REQUIRED,
    )  # fmt: skip
    try:
        result = services.validate(settings)
    except OSError as error:
        pytest.skip(f"no network: {error}")
    assert not result.has_issues(), [issue.message for issue in result.get_issues()]
