"""The files of an image folder are hashed once, and noticed when they change."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mergesuite.core import imagefiles, store

OLD = time.time_ns() - 10 * imagefiles.SETTLED


def write(file: Path, content: bytes, when: int = OLD) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, ns=(when, when))
    return file


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "images"
    return [write(folder / name / "1.png", name.encode()) for name in ("cat", "dog")]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the class folders of files as they are hashed."""
    found: list[str] = []
    plain = store.sha256

    def sha256(file: Path) -> str:
        found.append(file.parent.name)
        return plain(file)

    monkeypatch.setattr(store, "sha256", sha256)
    return found


def sums(files: list[Path]) -> dict[str, str]:
    folder = files[0].parents[1]
    return imagefiles.checksums(folder, [file.relative_to(folder).as_posix() for file in files])


def test_a_file_is_hashed_once(files: list[Path], hashed: list[str]):
    first = sums(files)
    assert first["cat/1.png"] == "sha256:" + hashlib.sha256(b"cat").hexdigest()
    assert sums(files) == first
    assert hashed == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "when"), [(b"cow", OLD + 1), (b"longer", OLD)], ids=["time", "size"]
)
def test_a_changed_file_is_hashed_again_and_no_other(
    files: list[Path], hashed: list[str], content: bytes, when: int
):
    before = sums(files)
    write(files[0], content, when)
    after = sums(files)
    assert hashed == ["cat", "dog", "cat"]
    assert after["cat/1.png"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert after["dog/1.png"] == before["dog/1.png"]
    assert sums(files) == after
    assert len(hashed) == 3


def test_what_was_written_just_now_is_not_trusted(files: list[Path], hashed: list[str]):
    write(files[0], b"cow", time.time_ns())
    sums(files)
    sums(files)
    assert hashed == ["cat", "dog", "cat"]


def test_a_file_that_is_gone_is_forgotten(files: list[Path], tmp_path: Path):
    sums(files)
    sums(files[1:])
    (kept,) = (tmp_path / "cache").rglob("*.json")
    assert list(json.loads(kept.read_text())["files"]) == ["dog/1.png"]


@pytest.mark.parametrize("damage", ["", "[1]", '{"cat/1.png": 3}', "{"])
def test_a_damaged_manifest_is_made_again(files: list[Path], tmp_path: Path, damage: str):
    right = sums(files)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    kept.write_text(damage)
    assert sums(files) == right


def test_a_checksum_in_the_manifest_that_has_changed_is_not_taken(files: list[Path], tmp_path):
    right = sums(files)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    sha = hashlib.sha256(b"cat").hexdigest()
    kept.write_text(kept.read_text().replace(sha, sha[:-1] + chr(ord(sha[-1]) ^ 1)))
    assert sums(files) == right


def test_a_cache_that_cannot_be_written_stops_nothing(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    right = sums(files)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert sums(files) == right


def test_processes_at_once_agree_and_leave_a_whole_manifest(files: list[Path], tmp_path: Path):
    folder = files[0].parents[1]
    for number in range(50):
        write(folder / "cat" / f"{number}.png", bytes([number]))
    code = (
        "import sys; from pathlib import Path; from mergesuite.core import imagefiles as i;"
        "f = Path(sys.argv[1]); print(sorted(i.checksums(f, sorted(i.images(f))).items()))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {run.communicate()[0] for run in runs}
    assert len(said) == 1
    (kept,) = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert len(json.loads(kept.read_text())["files"]) == 51


@pytest.mark.parametrize(
    "change",
    [
        lambda files: write(files[0], b"cow", OLD + 1),
        lambda files: write(files[0], b"longer"),
        lambda files: write(files[0].with_name("2.JPG"), b"2"),
        lambda files: files[0].unlink(),
        lambda files: files[0].rename(files[0].with_name("3.png")),
    ],
    ids=["time", "size", "added", "removed", "renamed"],
)
def test_a_listing_notices_a_change(files: list[Path], change):
    name = f"folder:{files[0].parents[1]}"
    before = imagefiles.listing(name)
    write(files[0].with_name("notes.txt"), b"no image")
    assert imagefiles.listing(name) == before
    assert imagefiles.listing(f"{name}@64") == before
    change(files)
    assert imagefiles.listing(name) != before


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder:/no/such/folder"])
def test_what_is_no_folder_has_no_listing(name: str):
    assert imagefiles.listing(name) == ""


def test_a_listing_needs_no_torch():
    code = "import sys; import mergesuite.core.imagefiles; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
