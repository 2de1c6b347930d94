"""What a dry run says: parts, resources, broken papers, names that are not harmless."""

import functools
import json
import re
import shutil
import subprocess
import time

import pytest
import yaml
from study import (
    ROOT,
    SMOKE,
    STAGES,
    jobs,
    mergesuite,
    outputs,
    planned,
    snakemake,
)


@functools.cache
def plan(checkout, profile):
    """The dry run of all papers."""
    return snakemake(checkout, "-n", "--config", f"profile={profile}")


@pytest.mark.parametrize("profile", ["smoke", "laptop", "cifar-cpu", "full", "imagenet"])
def test_every_profile_has_a_plan(checkout, profile):
    assert jobs(plan(checkout, profile))["report"] == 1


def test_there_is_one_rule_per_stage(checkout):
    listed = set(snakemake(checkout, "--list").stdout.split())
    papers = {file.parent.name for file in (ROOT / "replications").glob("[!_]*/paper.yaml")}
    assert listed == STAGES | papers | {"all", "default"}


def test_lint_is_silent():
    done = subprocess.run(
        ["snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("profile=lptop", "did you mean 'laptop'"),
        ("papers=meg", "did you mean 'mega'"),
        ("profil=smoke", "did you mean 'profile'"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_runs(checkout, config, message):
    done = snakemake(checkout, "-n", "--config", config, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert message in said
    assert "Traceback" not in said


def test_a_dry_run_says_what_is_doubtful(checkout):
    done = plan(checkout, "laptop")
    assert re.search(r"mega: 0 errors, \d+ doubts; see `mergesuite doctor mega", done.stderr)
    assert "doctor cade" in done.stderr


def test_a_dry_run_says_it_of_the_papers_that_are_asked_for(checkout):
    target = "results/smoke/cade/train/source/s0/run.json"
    said = snakemake(checkout, "-n", "mega", target, "--config", "profile=laptop").stderr
    doubted = re.findall(r"see `mergesuite doctor (.+)`", said)
    assert doubted == ["mega --profile laptop", "cade --profile smoke"]


def test_a_broken_paper_stops_its_own_targets_only(checkout, tmp_path):
    copy = tmp_path / "c"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".snakemake", "results"))
    drafts = copy / "replications"
    shutil.copytree(drafts / "mega", drafts / "draft")
    (drafts / "draft/paper.yaml").write_text("title: half a\nmodels: {x: [}\n")
    shutil.copytree(drafts / "mega", drafts / "short")
    text = (drafts / "short/paper.yaml").read_text()
    (drafts / "short/paper.yaml").write_text(text.replace("\n  smoke:\n", "\n  smoky:\n"))
    shutil.copytree(drafts / "mega", drafts / "mega.bak")
    done = snakemake(copy, "-n", "--config", "profile=smoke")
    assert "left out: draft" in done.stderr
    assert "left out: short" in done.stderr
    assert not [name for name in outputs(done, "train") if name.startswith(("draft", "short"))]
    assert outputs(done, "train")
    assert planned(copy, "mega", "--config", "profile=smoke")["report"] == 1
    for words in (["draft"], ["--config", "papers=draft"]):
        refused = snakemake(copy, "-n", *words, check=False)
        assert refused.returncode != 0
        assert "is not YAML" in refused.stdout + refused.stderr
    assert mergesuite(copy, "list", "papers").returncode == 0


def test_a_file_brings_only_what_it_needs_whatever_the_configured_profile(checkout):
    smoke = "results/smoke/cade/train/source/s0/run.json"
    laptop = "results/laptop/mega/train/resnet56/s7/model.safetensors"
    assert planned(checkout, smoke, laptop) == {"data": 2, "train": 2, "total": 4}


def test_a_part_of_the_workflow_can_be_asked_for(checkout):
    everything = planned(checkout, *SMOKE)
    until = planned(checkout, "--until", "train", *SMOKE)
    assert until.keys() == {"data", "train", "total"}
    assert until["train"] == everything["train"]
    assert "tables" not in planned(checkout, "--until", "compare", *SMOKE)
    third = planned(checkout, "--batch", "collect=1/3", *SMOKE)
    assert 0 < third["evaluate"] < everything["evaluate"]
    assert planned(checkout, "--batch", "report=1/2", *SMOKE)["collect"] == 1
    grouped = ["--groups", "train=few", "merge=few", "--group-components", "few=8"]
    assert planned(checkout, *grouped, *SMOKE)["merge"] == everything["merge"]


def test_resources_are_of_the_rule_and_can_be_set(checkout):
    words = ["--set-resources", "train:runtime=77", "train:mem_mb=4321", "merge:gpu=1"]
    said = snakemake(checkout, "-n", *words, *SMOKE).stdout
    for rule, wanted in (("train", "runtime=77"), ("train", "mem_mb=4321"), ("merge", "gpu=1")):
        block = said.split(f"rule {rule}:")[1].split("rule ")[0]
        assert wanted in block
    trains = plan(checkout, "full").stdout.split("rule train:")[1:]
    mine = [block for block in trains if "output: results/full/mega/" in block.split("rule ")[0]]
    assert mine
    assert all("gpu=1" in block.split("rule ")[0] for block in mine)


def test_nothing_executes_in_a_name_from_a_spec(checkout, tmp_path):
    copy = tmp_path / "c"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".snakemake", "results"))
    images = copy / "my $(touch executed) {images}"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for number in range(20):
            shutil.copy(ROOT / "docs/digits.png", images / label / f"{number}.png")
    file = copy / "replications/mega/paper.yaml"
    raw = json.loads(json.dumps(yaml.safe_load(file.read_text())))
    raw["profiles"]["smoke"]["data"] = {"name": f"folder:{images.name}", "sizes": None}
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    target = "out of/it/smoke/mega/train/resnet56/s0/run.json"
    snakemake(copy, target, "--config", "results=out of/it")
    assert (copy / target).is_file()
    assert not (copy / "executed").exists()
    again = planned(copy, target, "--config", "results=out of/it")
    assert again == {}
    time.sleep(0.01)
    shutil.copy(ROOT / "docs/digits.png", images / "a" / "20.png")  # the images are no others
    again = planned(copy, target, "--config", "results=out of/it")
    assert again["data"] == 1
