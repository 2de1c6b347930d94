"""One thread a process: the tests fill the cores by being several processes."""

import math
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def every_state(monkeypatch):
    """A run saves its state after every epoch and generation, however short they are."""
    from mergesuite.stages import resume

    monkeypatch.setattr(resume, "SHARE", math.inf)
