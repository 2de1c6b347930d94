"""Where a number comes from: the commit, and whether the files are those of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mergesuite.core import provenance


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(
        ["git", *named, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")[:12]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that holds a copy of the package, and ignores results."""
    folder = tmp_path / "repository"
    shutil.copytree(
        provenance.PACKAGE,
        folder / "src" / "mergesuite",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / ".gitignore").write_text("/results/\n/.venv/\n__pycache__/\n")
    commit_all(folder)
    return folder


def said(package: Path, where: Path) -> tuple[str, bool]:
    """What the copy of the package in `package` says when it runs in folder `where`."""
    done = subprocess.run(
        [sys.executable, "-c", "from mergesuite.core import provenance as p; print(*p.commit())"],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        cwd=where,
        capture_output=True,
        text=True,
        check=True,
    )
    head, dirty = done.stdout.split()
    return head, dirty == "True"


def test_the_repository_of_the_package_counts_wherever_it_runs(repository: Path, tmp_path: Path):
    package, elsewhere = repository / "src" / "mergesuite", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("")
    commit_all(elsewhere)
    head = git(repository, "rev-parse", "HEAD")[:12]
    assert said(package, elsewhere) == (head, False)
    assert said(package, repository) == (head, False)
    assert said(package, tmp_path) == (head, False)


@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        ("src/mergesuite/methods/new.py", True),
        ("src/mergesuite/methods/average.py", True),
        ("results/run.json", False),
    ],
    ids=["untracked", "changed", "ignored"],
)
def test_what_git_does_not_know_is_a_difference(repository: Path, file: str, dirty: bool):
    head = git(repository, "rev-parse", "HEAD")[:12]
    (repository / file).parent.mkdir(exist_ok=True)
    with (repository / file).open("a") as stream:
        stream.write("# more\n")
    assert said(repository / "src" / "mergesuite", repository) == (head, dirty)


def test_a_repository_that_ignores_the_package_is_not_its_own(repository: Path, tmp_path: Path):
    """Installed into the `.venv` of somebody's project: that is where the user works, no more."""
    project = tmp_path / "project"
    installed = project / ".venv" / "mergesuite"
    shutil.copytree(repository / "src" / "mergesuite", installed)
    (project / ".gitignore").write_text("/.venv/\n")
    head = commit_all(project)
    assert said(installed, project) == (head, False)
    assert said(installed, repository) == (git(repository, "rev-parse", "HEAD")[:12], False)
    assert said(installed, tmp_path) == ("unknown", False)


def test_without_a_commit_or_a_repository_it_is_unknown(repository: Path, tmp_path: Path):
    shutil.rmtree(repository / ".git")
    assert said(repository / "src" / "mergesuite", tmp_path) == ("unknown", False)
    git(repository, "init", "--quiet")
    assert said(repository / "src" / "mergesuite", repository) == ("unknown", False)


def test_a_stamp_says_where_a_number_comes_from():
    stamp = provenance.stamp("some processor")
    assert stamp["device"] == "some processor"
    assert set(provenance.PACKAGES) < set(stamp["versions"])
    assert stamp["versions"]["python"] == ".".join(str(n) for n in sys.version_info[:3])
