"""What is installed is what was tested: one lock with hashes, for uv, the image and CI too."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.M)


def test_every_line_of_the_lock_has_a_hash():
    requirements = re.sub(r" \\\n\s+", " ", LOCK).splitlines()

    assert len(requirements) == len(PINNED)
    assert [line for line in requirements if "--hash=sha256:" not in line] == []


def test_extras_are_in_the_lock():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    named = set(re.findall(r'"([a-z0-9-]+)[><=]', extras))

    assert {"snakemake-executor-plugin-slurm", "uv"} <= named <= {name for name, _ in PINNED}


def set_up(word: str) -> list[str]:
    """The lines of `make setup`, on a checkout without an environment, that contain a word."""
    words = ["make", "-n", "setup", "VENV=nowhere"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if word in line]


def test_all_that_make_installs_has_its_hash_checked():
    installs = set_up("pip install")

    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes" not in line] == [installs[-1]]
    assert "--no-deps --no-build-isolation -e ." in installs[-1]


@pytest.mark.parametrize("where", ["Makefile", "Dockerfile"])
def test_uv_is_taken_from_the_lock(where, tmp_path):
    """What `sed` cuts out is one requirement with all of its hashes."""
    text = (ROOT / where).read_text(encoding="utf-8").replace("$$", "$")
    assert "pip install uv" not in text.replace("--quiet ", "")
    program = re.search(r"sed -n '([^']+)' requirements.lock", text)[1]
    cut = subprocess.run(
        ["sed", "-n", program, ROOT / "requirements.lock"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert re.findall(r"^(\S+)==", cut, re.M) == ["uv"]
    assert cut.count("--hash=sha256:") == cut.count("\n") - 1
    assert cut in LOCK


def test_another_uv_of_the_same_version_is_refused(tmp_path):
    """A file that an index offers in its place; no index is asked."""
    (cut,) = set_up("sed -n")
    subprocess.run(cut.replace("nowhere", str(tmp_path)), shell=True, cwd=ROOT, check=True)
    version = dict(PINNED)["uv"]
    with zipfile.ZipFile(tmp_path / f"uv-{version}-py3-none-any.whl", "w") as wheel:
        info = f"uv-{version}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-index", "--find-links", tmp_path, "--dest",
         tmp_path / "out", "--require-hashes", "-r", tmp_path / "uv.lock"],
        env={k: v for k, v in os.environ.items() if not k.startswith("PIP_")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list((tmp_path / "out").glob("*.whl"))


def test_actions_of_ci_are_named_by_digest():
    jobs = [
        job
        for file in (ROOT / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
    ]
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]

    assert used
    assert [name for name in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []


def test_the_bill_of_materials_has_every_package_of_the_lock(tmp_path):
    program = shutil.which("cyclonedx-py")
    if program is None:
        pytest.skip("cyclonedx-bom is not installed: it is in the lock")
    # Under `make test` a make would name the folder that it enters and leaves, among the commands.
    make = ["make", "-n", "--no-print-directory", "sbom", "VENV=nowhere"]
    made = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = made[made.index("cyclonedx-py") :].replace("build/", f"{tmp_path}/")
    # The schema takes ten seconds, and the library has tests of its own.
    command = command.replace("--output-reproducible", "--output-reproducible --no-validate")
    subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())

    assert bill["bomFormat"] == "CycloneDX"
    assert {(part["name"], part["version"]) for part in bill["components"]} == set(PINNED)
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])
