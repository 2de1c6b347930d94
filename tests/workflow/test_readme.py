"""Every command in README.md works as it stands."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
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
    for name in ("workflow", "replications", "config", "profiles"):
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
    assert (folder / "mine/metrics.csv").is_file()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
