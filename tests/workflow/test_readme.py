"""Every command in README.md works as it stands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)
COMMANDS = [line for block in BLOCKS for line in block.strip().splitlines()]


def run(command, folder):
    return subprocess.run(
        command,
        cwd=folder,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    copy = tmp_path_factory.mktemp("readme")
    for name in ("workflow", "replications", "config", "profiles", "results/published"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("Snakefile", "Makefile", "setup.py", "pyproject.toml", "requirements.lock",
                 "environment.yml"):  # fmt: skip
        shutil.copy(ROOT / name, copy)
    return copy


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in COMMANDS
    assert (ROOT / ".ci/run").read_text().strip().splitlines()[-1] == "make test"


def test_commands_run_in_the_order_of_the_readme(folder):
    """mergesuite commands run; snakemake ones are planned (the smoke run has a test of its own).

    make and conda would set up an environment: their targets and files are checked instead.
    """
    printed = ""
    for command in COMMANDS:
        words = shlex.split(command)
        if words[0] == "make" or words[0] == "snakemake":
            command = shlex.join([*words, "-n"])
        elif words[:3] == ["conda", "env", "create"]:
            assert (folder / words[-1]).is_file()
            continue
        elif words[0] in ("conda", "pip"):
            continue
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed += done.stdout if words[0] == "grep" else ""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = run(shlex.join([sys.executable, "-c", example]), folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "mine/tried.svg").is_file()
    shown = accuracies(*re.findall(r"```text\n(.*?)```", README, re.S))
    assert min(shown["a"], shown["b"]) > 0.5  # of ten classes
    assert accuracies(printed) == pytest.approx(shown, abs=0.1)  # processors round differently


def accuracies(table):
    """The numbers of lines such as `a,0.9`, by name."""
    return {name: float(value) for name, value in (line.split(",") for line in table.split())}


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
