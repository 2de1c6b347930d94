"""The workflow as a user runs it, on a copy of the checkout's specs."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMOKE = ("--config", "profile=smoke", "papers=mega")
STAGES = {
    "data", "train", "merge", "evaluate", "collect", "compare", "tables", "figures", "report",
    "check",
}  # fmt: skip


def environment():
    """What a user has: none of our variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MERGESUITE_")}
    return {**clean, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def snakemake(folder, *words, check=True):
    done = subprocess.run(
        ["snakemake", "--cores", "2", *map(str, words)], cwd=folder, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def mergesuite(folder, *words):
    return subprocess.run(
        ["mergesuite", *map(str, words)], cwd=folder, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def copied(folder):
    """Snakefile, workflow, config and replications in a folder of their own."""
    for name in ("workflow", "replications", "config"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def finished(checkout):
    """The smoke profile of MeGA, run to the end by its own target."""
    snakemake(checkout, "mega", "--config", "profile=smoke")
    return checkout


def jobs(done):
    """Job counts by rule, out of the table that a dry run prints."""
    text = done.stdout + done.stderr
    if "Job stats:" not in text:
        assert "Nothing to be done" in text, text
        return {}
    table = text.split("Job stats:")[1].split("Reasons")[0]
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+(\d+)$", table, re.M)}


def planned(folder, *words):
    return jobs(snakemake(folder, "-n", *words))


def outputs(done, rule):
    """The folders of the runs that a dry run would make with a rule, below the profile's."""
    text = done.stdout + done.stderr
    found = re.findall(rf"rule {rule}:\n(?:.*\n)*?\s+output: (\S+?)/[^/\s]+[,\n]", text)
    return {"/".join(path.split("/")[2:]) for path in found}


@pytest.fixture
def spec(finished):
    """A maker of changes to MeGA's paper.yaml that are taken back afterwards."""
    file = finished / "replications/mega/paper.yaml"
    before = file.read_text()

    def change(edit):
        raw = json.loads(json.dumps(yaml.safe_load(before)))  # anchors become entries of their own
        edit(raw)
        file.write_text(yaml.safe_dump(raw, sort_keys=False))

    yield change
    file.write_text(before)


# Planning


@pytest.mark.parametrize("profile", ["smoke", "laptop", "cifar-cpu", "full"])
def test_every_profile_has_a_plan(checkout, profile):
    assert planned(checkout, "--config", f"profile={profile}")["report"] == 1


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
    done = snakemake(checkout, "-n", "--config", "profile=laptop")
    assert re.search(r"mega: 0 errors, \d+ doubts; see `mergesuite doctor mega", done.stderr)


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


def test_one_file_brings_only_what_it_needs_whatever_the_configured_profile(checkout):
    found = planned(checkout, "results/smoke/cade/train/source/s0/run.json")
    assert found == {"data": 1, "train": 1, "total": 2}
    found = planned(checkout, "results/laptop/mega/train/resnet56/s7/model.safetensors")
    assert found == {"data": 1, "train": 1, "total": 2}


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
    full = snakemake(checkout, "-n", "mega", "--config", "profile=full").stdout
    assert "gpu=1" in full.split("rule train:")[1].split("rule ")[0]


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


# What a run leaves


def test_the_page_of_a_paper_is_there_and_needs_no_network(finished):
    page = (finished / "results/smoke/report/mega.html").read_text()
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


# What runs again


def test_a_second_run_does_nothing(finished):
    for config in (SMOKE, ("mega", "--config", "profile=smoke", "device=cpu")):
        assert planned(finished, *config).keys() <= {"report", "default", "total"}
    assert planned(finished, "mega", "--cores", "1", "--config", "profile=smoke") == {}


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


@pytest.mark.parametrize("who", ["job", "snakemake", "all"])
def test_after_a_kill_the_documented_command_goes_on(finished, tmp_path, who):
    copy = copied(tmp_path)
    target = "results/smoke/mega/merge/mega-clean-four/s0/run.json"
    words = ["snakemake", "--cores", "2", target]
    running = subprocess.Popen(
        words, cwd=copy, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    logs, ends = copy / "results/smoke/mega/logs/train/resnet56", time.monotonic() + 120
    while not any(log.stat().st_size for log in logs.glob("*.log")):
        assert time.monotonic() < ends
        time.sleep(0.05)
    if who == "job":
        subprocess.run(["pkill", "-9", "-f", f"mergesuite train .*{target[:14]}"], check=False)
    elif who == "snakemake":
        os.kill(running.pid, signal.SIGKILL)
    else:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait(timeout=120)
    time.sleep(1)  # jobs that outlive it end with it
    if who != "job":
        snakemake(copy, "--unlock", target)
    snakemake(copy, "--rerun-incomplete", target)
    for name in ("train/resnet56/s0", "merge/mega-clean-four/s0"):
        file = f"results/smoke/mega/{name}/model.safetensors"
        assert (copy / file).read_bytes() == (finished / file).read_bytes()


# From elsewhere


def test_a_run_in_another_directory_finds_its_papers(checkout, tmp_path):
    target = "results/smoke/mega/train/resnet56/s0/run.json"
    snakemake(checkout, "--directory", tmp_path, target)
    assert (tmp_path / target).is_file()
    assert planned(checkout, "--directory", tmp_path, *SMOKE)["report"] == 1
    assert planned(ROOT, "--directory", ROOT / ".test")["report"] == 1


def test_the_workflow_is_a_module_of_another(tmp_path):
    (tmp_path / "Snakefile").write_text(
        f"""
module suite:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: {{"profile": "smoke", "papers": ["mega"]}}

use rule * from suite as suite_*

rule mine:
    default_target: True
    input: rules.suite_all.input
    output: "mine.txt"
    shell: "cp {{input}} {{output}}"
"""
    )
    found = planned(tmp_path)
    assert found["mine"] == 1
    assert found["suite_report"] == 1
    snakemake(tmp_path, "results/smoke/mega/train/resnet56/s0/run.json")


def test_containers_get_the_commands_and_need_an_image(checkout, tmp_path):
    refused = snakemake(checkout, "-n", "--sdm", "apptainer", *SMOKE, check=False)
    assert "container=PATH.sif" in refused.stdout + refused.stderr


def test_check_accepts_what_it_measured_and_notices_a_drift(finished):
    file = finished / "replications/mega/expected.csv"
    before = file.read_text()
    accepted = mergesuite(finished, "accept", "--paper", "mega", "--profile", "smoke", "--only-pin")
    assert accepted.returncode == 0, accepted.stderr
    assert mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke").returncode == 0
    table = pd.read_csv(file)
    first = table.index[table["profile"] == "smoke"][0]
    table.loc[first, "mean"] += 10
    table.to_csv(file, index=False)
    drifted = mergesuite(finished, "check", "--papers", "mega", "--profile", "smoke")
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
    assert "://" not in (ROOT / "requirements.lock").read_text()
    for name in ("torch", "torchvision", "timm", "spikingjelly", "pandas", "matplotlib",
                 "snakemake"):  # fmt: skip
        assert name in wanted


def test_a_new_paper_loads_and_plans(tmp_path):
    folder = copied(tmp_path)
    made = mergesuite(folder, "new-paper", "mine")
    assert made.returncode == 0, made.stderr
    assert planned(folder, "mine", "--config", "profile=smoke")["report"] == 1
    assert mergesuite(folder, "doctor", "mine", "--profile", "smoke").returncode == 0
    for name in ("report", "all", "mega.bak"):
        assert mergesuite(folder, "new-paper", name).returncode == 2
