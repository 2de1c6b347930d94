"""What the evaluator remembers: bounded, and the same after a save."""

import torch

from mergesuite.core import store
from mergesuite.core.streams import generator
from mergesuite.fitness.memory import ORDER_BYTES, REMEMBERED, Memory
from mergesuite.fitness.scores import Record

CPU = torch.device("cpu")


def filled(n, count):
    memory = Memory(n, CPU, records=True, orders=True)
    margins = torch.randn(n, generator=generator("memory"))
    for i in range(count):
        record = Record(i, n, float(i), complete=True, margins=margins.roll(i))
        memory.keep(i.to_bytes(32), record)
    return memory


def test_a_state_stays_small_for_many_images(tmp_path):
    memory = filled(50_000, REMEMBERED + 20)
    store.save_state(tmp_path / "state.pt", memory.state())
    assert (tmp_path / "state.pt").stat().st_size < ORDER_BYTES + 100_000
    assert len(memory.state()["orders"]) == 83
    assert len(memory.state()["keys"]) == REMEMBERED


def test_a_restored_memory_answers_as_the_one_that_was_saved(tmp_path):
    memory = filled(40, 300)
    store.save_state(tmp_path / "state.pt", {"key": "k", **memory.state()})
    state = store.load_state(tmp_path / "state.pt", "k")
    assert state is not None
    again = Memory(40, CPU, records=True, orders=True)
    again.restore(state)
    for i in (0, 50, 299):
        assert again.recall(i.to_bytes(32), 0.0) == memory.recall(i.to_bytes(32), 0.0)
        assert torch.equal(again.order(float(i)), memory.order(float(i)))
    for kept in (memory, again):  # the same are forgotten next
        kept.keep(b"new", Record(0, 40, 500.0, complete=True, margins=torch.arange(40.0)))
    assert again.state()["keys"] == memory.state()["keys"]
    assert torch.equal(again.state()["order_of"], memory.state()["order_of"])


def test_a_bound_is_enough_only_for_a_threshold_as_high():
    memory = Memory(40, CPU, records=True, orders=True)
    memory.keep(b"a", Record(10, 20, 30.0, complete=False))
    assert memory.recall(b"a", 29.0) is None
    known = memory.recall(b"a", 30.0)
    assert known is not None
    assert known.images == 0
