import subprocess
import sys

import pytest
import torch
from scipy import stats

from mergesuite.core.streams import Draws, Recorded, as_draws, derive, generator


def test_seeds_do_not_depend_on_the_process():
    code = "from mergesuite.core.streams import derive; print(derive('a', 1, 'b'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == derive("a", 1, "b")


def test_names_cannot_be_moved_from_one_to_the_next():
    assert derive("ab", "c") != derive("a", "bc")


def test_the_global_generator_is_not_moved():
    before = torch.get_rng_state()
    draws = Draws(generator("x"))
    draws.uniform("u")
    draws.mask("m", 1000, 0.001)
    draws.cauchy("c", 0, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.015, 0.3, 1.0])
def test_a_mask_takes_each_coordinate_with_its_rate(rate):
    draws = Draws(generator("mask", str(rate)))
    counts = []
    for _ in range(400):
        x = torch.zeros(500)
        x[draws.mask("m", 500, rate)] = 1
        counts.append(int(x.sum()))
    if rate in (0.0, 1.0):
        assert set(counts) == {int(500 * rate)}
    else:
        test = stats.binomtest(sum(counts), 400 * 500, rate)
        assert test.pvalue > 1e-3


def test_sparse_positions_are_distinct_and_equally_likely():
    draws = Draws(generator("positions"))
    hits = torch.zeros(60)
    for _ in range(20000):
        take = draws.mask("m", 60, 0.015)
        assert len(take.unique()) == len(take)
        hits[take] += 1
    assert stats.chisquare(hits.numpy()).pvalue > 1e-3


def test_a_state_continues_the_stream():
    draws = Draws(generator("s"))
    draws.uniform("u")
    state = draws.state()
    first = [draws.uniform("u"), draws.normal("n"), draws.integer("i", 100)]
    draws.restore(state)
    assert [draws.uniform("u"), draws.normal("n"), draws.integer("i", 100)] == first


def test_records_are_handed_out_in_order_and_run_out():
    records = Recorded({"u": [0.25, 0.5], "s": [[2, 0]]})
    assert as_draws(records) is records
    assert (records.uniform("u"), records.uniform("u")) == (0.25, 0.5)
    assert records.sample("s", 3, 2) == [2, 0]
    with pytest.raises(LookupError, match="'u'"):
        records.uniform("u")
