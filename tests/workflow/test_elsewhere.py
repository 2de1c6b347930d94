"""Other folders, other workflows, containers, new papers, and the lock."""

import hashlib
import os
import re
import subprocess

import yaml
from study import ROOT, SMOKE, copied, environment, jobs, mergesuite, planned, snakemake


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


def test_an_image_is_known_to_its_jobs_by_its_digest(checkout, tmp_path):
    """A program plays Apptainer: it says what the job's environment says of the image."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "apptainer version 1.3.0" && exit\n'
        f'echo "$MERGESUITE_IMAGE" > {tmp_path}/said\nexit 1\n'
    )
    program.chmod(0o755)
    image = tmp_path / "some.sif"
    image.write_bytes(b"layers")
    target = "results/smoke/mega/train/resnet56/s0/run.json"
    snakemake(
        checkout, "--directory", tmp_path / "run", "--sdm", "apptainer", "--config",
        "profile=smoke", f"container={image}", "--", target, check=False,
        PATH=f"{program.parent}:{os.environ['PATH']}",
    )  # fmt: skip
    digest = hashlib.sha256(b"layers").hexdigest()
    assert (tmp_path / "said").read_text() == f"sha256:{digest}\n"


def test_the_command_of_the_pod_runs(tmp_path):
    """As it stands, but for the folders of the image, the profile and that it only plans."""
    folder = copied(tmp_path / "mergesuite")
    job = list(yaml.safe_load_all((ROOT / "workflow/profiles/kubernetes/job.yaml").read_text()))[1]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    script = script.replace("/opt/mergesuite", str(folder)).replace("exec $run", "exec $run -n")
    script = script.replace("profile=full", "profile=smoke papers=mega")
    done = subprocess.run(
        [*container["command"], script], cwd=tmp_path, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert jobs(done)["report"] == 1


def test_a_second_try_asks_for_twice_the_memory_and_the_time(checkout):
    target = "results/smoke/mega/train/resnet56/s0/run.json"
    asked = []
    for attempt in ("1", "2"):
        done = snakemake(checkout, "-n", "--force", "--attempt", attempt, *SMOKE, "--", target)
        text = (done.stdout + done.stderr).split("rule train:")[1]
        asked.append([int(re.search(rf"\b{key}=(\d+)", text)[1]) for key in ("mem_mb", "runtime")])
    assert asked[1] == [2 * value for value in asked[0]]


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
