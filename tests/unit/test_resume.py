"""What an interrupted run leaves: how often it is saved, so that saving does not slow a search."""

import pytest
import torch

from mergesuite.core import store
from mergesuite.stages import resume


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands, but for the 10 s that saving a state takes."""
    now = {"time": 1000.0}
    monkeypatch.setattr(resume.time, "monotonic", lambda: now["time"])
    original = store.save_state

    def save(path, state):
        original(path, state)
        now["time"] += 10

    monkeypatch.setattr(store, "save_state", save)
    return now


def generations(clock, out, seconds, count):
    """The generations whose states were saved, of `count` that take `seconds` each."""
    this = resume.Resume(out, "key")
    saved = []
    for generation in range(count):
        clock["time"] += seconds
        this.save(lambda now=generation: saved.append(now) or {"generation": now})
    return saved


def test_saving_takes_no_more_than_its_share_of_the_time(clock, tmp_path):
    began = clock["time"]
    saved = generations(clock, tmp_path, 1, 4000)
    spent = clock["time"] - began
    assert 0.02 * spent < 10 * len(saved) <= resume.SHARE * spent + 10
    state = resume.Resume(tmp_path, "key").load(torch.device("cpu"))
    assert state is not None
    assert state["generation"] == saved[-1] > 3600


def test_a_state_is_saved_at_once_and_after_every_long_generation(clock, tmp_path):
    assert generations(clock, tmp_path, 400, 5) == [0, 1, 2, 3, 4]
