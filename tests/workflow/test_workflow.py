"""The workflow as a user runs it, on a copy of the checkout's specs."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def snakemake(folder, *words, check=True):
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["snakemake", "--cores", "2", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Snakefile, workflow and replications in a folder of their own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("workflow", "replications"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "environment.yml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def finished(checkout):
    """The smoke profile of MeGA, run to the end."""
    snakemake(checkout, "--config", "profile=smoke", "papers=mega")
    return checkout


def jobs(text):
    """Job counts by rule, out of the table that a dry run prints."""
    table = text.split("Job stats:")[1].split("Reasons")[0]
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+(\d+)$", table, re.M)}


@pytest.mark.parametrize("profile", ["smoke", "laptop", "cifar-cpu", "full"])
def test_every_profile_has_a_plan(checkout, profile):
    done = snakemake(checkout, "-n", "--config", f"profile={profile}")
    assert jobs(done.stdout + done.stderr)["report"] == 1


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


def test_a_wrong_spec_is_refused_before_anything_runs(checkout, tmp_path):
    copy = tmp_path / "c"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".snakemake", "results"))
    file = copy / "replications" / "mega" / "paper.yaml"
    file.write_text(file.read_text() + "\ntitel: x\n")
    done = snakemake(copy, "-n", check=False)
    assert done.returncode != 0
    assert "did you mean 'title'" in done.stdout + done.stderr


def test_the_report_is_there_and_needs_no_network(finished):
    page = (finished / "results/smoke/report/index.html").read_text()
    assert page.index("erdict") < page.index("<table")
    assert not re.search(r'(src|href)="https?://(?!arxiv|github|doi)', page)
    assert "<script" not in page


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


def test_a_second_run_does_nothing(finished):
    done = snakemake(finished, "-n", "--config", "profile=smoke", "papers=mega")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_editing_one_entry_re_runs_its_jobs_and_what_follows(finished, tmp_path):
    file = finished / "replications/mega/paper.yaml"
    before = file.read_text()
    raw = json.loads(json.dumps(yaml.safe_load(before)))  # anchors become entries of their own
    raw["title"] += " (edited)"
    raw["profiles"]["smoke"]["methods"]["polish-clean"]["params"]["generations"] = 2
    try:
        file.write_text(yaml.safe_dump(raw, sort_keys=False))
        done = snakemake(finished, "-n", "--config", "profile=smoke", "papers=mega")
    finally:
        file.write_text(before)
    planned = jobs(done.stdout + done.stderr)
    merges = {name for name in planned if name.startswith("merge_")}
    assert merges == {"merge_mega_polish-clean-pair_0"}
    assert not any(name.startswith("train_") for name in planned)
    evaluations = {name for name in planned if name.startswith("evaluate_")}
    assert evaluations == {"evaluate_mega_pair_0"}


def test_check_accepts_what_it_measured_and_notices_a_drift(finished):
    def mergesuite(*words):
        return subprocess.run(
            ["mergesuite", *words], cwd=finished, capture_output=True, text=True, check=False
        )

    file = finished / "replications/mega/expected.csv"
    before = file.read_text()
    accepted = mergesuite("accept", "--paper", "mega", "--profile", "smoke", "--only-pin")
    assert accepted.returncode == 0, accepted.stderr
    assert mergesuite("check", "--papers", "mega", "--profile", "smoke").returncode == 0
    table = pd.read_csv(file)
    first = table.index[table["profile"] == "smoke"][0]
    table.loc[first, "mean"] += 10
    table.to_csv(file, index=False)
    drifted = mergesuite("check", "--papers", "mega", "--profile", "smoke")
    file.write_text(before)
    assert drifted.returncode == 1
    assert "tolerance" in drifted.stderr


def test_environment_lock_and_project_name_the_same_packages():
    lock = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    project = (ROOT / "pyproject.toml").read_text()
    block = project.split("dependencies = [")[1].split("]")[0]
    dev = project.split("dev = [")[1].split("]")[0]
    wanted = set(re.findall(r'"([A-Za-z0-9_-]+)', block + dev))
    normal = {name.lower().replace("_", "-") for name in lock}
    assert {name.lower() for name in wanted} <= normal
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {"pip": ["-r requirements.lock"]} in conda["dependencies"]
    assert "python=3.11" in conda["dependencies"]
    assert "://" not in (ROOT / "requirements.lock").read_text()
    for name in ("torch", "torchvision", "timm", "spikingjelly", "pandas", "matplotlib",
                 "snakemake"):  # fmt: skip
        assert name in wanted


def test_new_paper_makes_a_spec_that_loads(checkout):
    try:
        made = subprocess.run(
            ["mergesuite", "new-paper", "mine"], cwd=checkout, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        done = snakemake(checkout, "-n", "mine", "--config", "profile=smoke", "papers=mine")
        assert "mine" in done.stdout + done.stderr
    finally:
        shutil.rmtree(checkout / "replications" / "mine", ignore_errors=True)
