"""Other folders, other workflows, containers, new papers, and the lock."""

import re

from study import ROOT, SMOKE, copied, mergesuite, planned, snakemake


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
