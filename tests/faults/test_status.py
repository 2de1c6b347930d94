"""Exit status 3, with one line, for what the machine refuses; 2 and 1 for the rest."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mergesuite import cli
from mergesuite.cli import commands, host
from mergesuite.errors import CheckFailed, MachineError, UserError, of_machine, refused


def no_room():
    torch.empty(1 << 50)


ERRORS = {
    "torch's allocator": (no_room, 3),
    "Python's": (lambda: bytearray(1 << 60), 3),
    "a GPU's": (lambda: throw(torch.OutOfMemoryError("CUDA out of memory. Tried to ...")), 3),
    "a GPU's driver": (lambda: throw(RuntimeError("CUDA error: out of memory\nmore")), 3),
    "full": (lambda: throw(OSError(errno.ENOSPC, "No space left on device", "results/x")), 3),
    "quota": (lambda: throw(OSError(errno.EDQUOT, "Disk quota exceeded", "results/x")), 3),
    "read-only": (lambda: throw(OSError(errno.EROFS, "Read-only file system", "results/x")), 3),
    "permission": (lambda: throw(PermissionError(errno.EACCES, "Permission denied", "x")), 3),
    "disk": (lambda: throw(OSError(errno.EIO, "Input/output error")), 3),
    "wrapped": (lambda: throw(MachineError("the machine says no")), 3),
    "input": (lambda: throw(UserError("two parents\nare the same")), 2),
    "check": (lambda: throw(CheckFailed("a number left its tolerance")), 1),
    "Ctrl-C": (lambda: throw(KeyboardInterrupt()), 130),
}


def throw(error):
    raise error


@pytest.mark.parametrize("name", ERRORS)
def test_status_and_one_line(monkeypatch, capsys, name):
    ending, status = ERRORS[name]
    monkeypatch.setitem(commands.COMMANDS, "list", lambda options: ending())
    assert cli.run(["list"]) == status
    said = capsys.readouterr().err
    assert said.startswith("mergesuite: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FileNotFoundError(2, "No such", "x")])
def test_what_is_nobody_s_fault_but_ours_is_not_hidden(monkeypatch, error):
    monkeypatch.setitem(commands.COMMANDS, "list", lambda options: throw(error))
    with pytest.raises(type(error)):
        cli.run(["list"])
    assert of_machine(error) is None


def test_a_wrong_path_is_the_user_s_and_the_rest_the_machine_s():
    for number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        assert type(refused("", OSError(number, ""))) is UserError
    for number in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG):
        assert type(refused("", OSError(number, ""))) is MachineError


def test_a_folder_that_cannot_be_is_bad_input(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "data.json")
    words = ["data", "--data", "digits", "--sizes", "fit=20", "search=10", "test=10", "--out", out]
    assert cli.run(words) == 2
    assert "Not a directory" in capsys.readouterr().err


FULL = (["list", "methods"], ["list", "papers"])
"""More and less than a buffer holds."""


@pytest.mark.parametrize("hosted", [False, True])
def test_a_full_disk_behind_our_words_is_status_3_too(hosted, tmp_path):
    script = "from mergesuite.cli import host; print(host.open_folder(), flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = owner.stdout.readline().strip() if hosted else ""
    environment = {**os.environ, host.VARIABLE: folder}
    try:
        with open("/dev/full", "w") as full:
            for words in FULL:
                done = subprocess.run(
                    ["mergesuite", *words], env=environment, stdout=full, stderr=subprocess.PIPE,
                    text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 3, done.stderr
                assert done.stderr.startswith("mergesuite: No space left on device")
                assert len(done.stderr.splitlines()) == 1
            done = subprocess.run(
                ["mergesuite", "merge"], env=environment, stderr=full, check=False
            )
            assert done.returncode == 2
            helped = subprocess.run(
                ["mergesuite", "--version"], env=environment, capture_output=True, check=False
            )
            assert (helped.returncode, helped.stderr) == (0, b"")
    finally:
        owner.communicate("\n")


def test_the_readme_says_them():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    words = " ".join(readme.split())
    assert "1 for a failed check, 2 for bad input, 3 for what the machine refuses" in words
