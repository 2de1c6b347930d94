"""A wheel holds the package whole: modules, templates and papers, and finds its papers."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPACKED = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The content of the wheel, unpacked."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("src", "replications", "workflow/schemas"):
        shutil.copytree(ROOT / name, source / name, ignore=UNPACKED)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "installed")
    return out / "installed"


def files(folder, *suffixes):
    found = {file.relative_to(folder) for file in folder.rglob("*") if file.suffix in suffixes}
    return {file for file in found if "__pycache__" not in file.parts}


def test_every_module_and_template_is_in_it(installed):
    source = ROOT / "src" / "mergesuite"

    assert files(source, ".py", ".html") <= files(installed / "mergesuite", ".py", ".html")


def test_every_paper_is_in_it(installed):
    there = files(installed / "mergesuite" / "replications", ".yaml", ".csv", ".md")

    assert files(ROOT / "replications", ".yaml", ".csv", ".md") == there


def test_the_schemas_are_in_it(installed):
    there = files(installed / "mergesuite" / "schemas", ".json")

    assert {str(file) for file in there} == {"paper.schema.json", "verdicts.schema.json"}


def run(installed, folder, *words, **environment):
    """A command of the unpacked wheel, in a folder without any replications."""
    inherited = {k: v for k, v in os.environ.items() if k != "MERGESUITE_REPLICATIONS"}
    return subprocess.run(
        [sys.executable, "-m", "mergesuite", *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(installed), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_papers_are_found_where_there_are_no_others(installed, tmp_path):
    done = run(installed, tmp_path, "list", "papers")

    assert done.returncode == 0, done.stderr
    assert "mega" in done.stdout


def test_a_folder_that_is_named_comes_first(installed, tmp_path):
    (tmp_path / "replications").mkdir()
    named = run(installed, tmp_path, "list", "papers", MERGESUITE_REPLICATIONS="elsewhere")
    own = run(installed, tmp_path, "list", "papers")

    assert "mega" not in named.stdout + own.stdout


def test_new_papers_go_to_the_users_folder(installed, tmp_path):
    for name in ("first", "second"):
        done = run(installed, tmp_path, "new-paper", name)
        assert done.returncode == 0, done.stderr

    assert (tmp_path / "replications" / "second" / "paper.yaml").is_file()
    assert not (installed / "mergesuite" / "replications" / "second").exists()
