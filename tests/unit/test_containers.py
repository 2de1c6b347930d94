"""The image has what a run needs, a run says in which image it was, a pod has what it asks for."""

import getpass
import hashlib
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mergesuite.core import provenance
from mergesuite.errors import UserError
from mergesuite.experiment import config
from mergesuite.experiment.config import Config

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NEEDED = {"Snakefile", "workflow", "config", "profiles", "replications", "requirements.lock", "src"}


def test_the_image_has_all_that_a_run_reads():
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M)
    words = {word for line in copied for word in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}

    assert words >= NEEDED
    assert {word.split("/")[0] for word in words} == allowed
    assert all((ROOT / word).exists() for word in words)


def test_what_is_copied_before_the_package_is_installed_is_enough_for_it(tmp_path):
    before = DOCKERFILE.split("pip install --system --no-cache --no-deps")[0]
    for line in re.findall(r"^COPY (.+)$", before, re.M):
        *words, target = line.split()
        for word in words:
            if (ROOT / word).is_dir():
                shutil.copytree(ROOT / word, tmp_path / target)
            else:
                shutil.copy(ROOT / word, tmp_path)

    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "made"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    made = {str(file.relative_to(tmp_path / "made")) for file in (tmp_path / "made").rglob("*")}
    assert "mergesuite/schemas/paper.schema.json" in made
    assert "mergesuite/replications/mega/paper.yaml" in made


@pytest.mark.parametrize("said", ["sha256:1234", "", None])
def test_a_run_says_which_image_it_ran_in(said, monkeypatch):
    monkeypatch.delenv(provenance.IMAGE, raising=False)
    if said is not None:
        monkeypatch.setenv(provenance.IMAGE, said)

    assert provenance.stamp("some processor")["container"] == (said or None)


def test_an_image_that_nobody_names_is_no_digest():
    assert re.search(rf"^ENV .*{provenance.IMAGE}=unknown", DOCKERFILE, re.M)


def test_a_user_whom_the_image_does_not_know_has_a_name_there(monkeypatch):
    """Snakemake asks for it, and Python knows none for the number that `--user` gave."""
    (line,) = re.findall(r"^ENV (HOME.*)$", DOCKERFILE, re.M)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    for word in line.split():
        monkeypatch.setenv(*word.split("=", 1))

    assert getpass.getuser() == "mergesuite"


def test_a_file_with_an_image_is_known_by_its_content(tmp_path):
    image = tmp_path / "mergesuite.sif"
    image.write_bytes(b"some layers")
    digest = hashlib.sha256(b"some layers").hexdigest()

    assert config.container(Config(container=str(image))) == f"sha256:{digest}"
    by_name = "docker://registry.example.org/mergesuite@sha256:1234"
    assert config.container(Config(container=by_name)) == by_name
    with pytest.raises(UserError, match=r"container=PATH\.sif"):
        config.container(Config())


def test_the_pod_says_its_image_and_has_what_it_asks_for():
    volume, job = yaml.safe_load_all((ROOT / "workflow/profiles/kubernetes/job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    said = {variable["name"]: variable["value"] for variable in container["env"]}
    requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
    claimed = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]

    assert said[provenance.IMAGE] == container["image"]
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", container["image"])
    assert f"--cores {requests['cpu']} " in container["args"][0]
    assert requests["memory"] == limits["memory"]
    assert limits["nvidia.com/gpu"] == 1  # of such resources Kubernetes wants a limit
    assert claimed == [{"claimName": volume["metadata"]["name"]}]
    assert {v["name"] for v in pod["volumes"]} == {m["name"] for m in container["volumeMounts"]}
