import errno
import pickle

import pytest
import torch

from mergesuite.core import store
from mergesuite.errors import UserError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    store.write_text(path, "before")

    def failing():
        with store.whole(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        failing()
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path):
    def fill():
        with store.whole(tmp_path / "x") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("x" * 100000)

    with pytest.raises(UserError, match="Free some space"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_weights_may_be_read_by_whom_every_other_file_may_be(tmp_path):
    store.save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(2)})
    store.write_text(tmp_path / "text", "")
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1


def test_weights_come_back_with_their_metadata(tmp_path):
    path = tmp_path / "w.safetensors"
    store.save_weights(path, {"a": torch.arange(6.0).view(2, 3).T}, {"model": "m"})
    assert torch.equal(store.load_weights(path)["a"], torch.arange(6.0).view(2, 3).T)
    assert store.read_metadata(path) == {"model": "m"}


def test_a_checkpoint_cut_short_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    store.save_weights(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        store.load_weights(path)


class Code:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"a": Code()}, protocol=2))
    with pytest.raises(UserError, match="refused"):
        store.load_weights(path)
    assert "never" not in capsys.readouterr().out


def test_a_state_dict_of_torch_save_is_read(tmp_path):
    torch.save({"state_dict": {"module.a": torch.ones(2)}}, tmp_path / "w.pth")
    assert torch.equal(store.load_weights(tmp_path / "w.pth")["a"], torch.ones(2))


def test_a_state_of_another_run_or_a_damaged_one_is_not_continued(tmp_path):
    path = tmp_path / "resume.pt"
    store.save_state(path, {"key": "a", "x": torch.ones(1)})
    assert store.load_state(path, "b") is None
    assert store.load_state(path, "a") is not None
    path.write_bytes(path.read_bytes()[:50])
    assert store.load_state(path, "a") is None


def test_rows_get_every_column(tmp_path):
    store.write_rows(tmp_path / "t.csv", [{"b": 1}, {"b": 2, "c": 0.1}], ["a"])
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n,1,\n,2,0.1\n"
