"""CADE: what the replays do not reach."""

import math

import pytest
import torch

from mergesuite.core.streams import Recorded, generator
from mergesuite.methods import create
from mergesuite.methods.cade import granular_rate


@pytest.mark.parametrize("rate", [1e-9, 2**-24, 2**-24 * 1.5, 1e-6, 0.3, 0.8, 1.0])
def test_granular_rate_counts_the_float32_numbers_below(rate):
    """Counted over all multiples of 2^-24, which is what torch.rand returns in float32."""
    grid = torch.arange(2**24, dtype=torch.float32) / 2**24
    below = int((grid < torch.tensor(rate, dtype=torch.float32)).sum())
    assert granular_rate(rate) == below / 2**24


@pytest.mark.parametrize("rate", [0.0, -0.2, math.nan])
def test_no_positive_rate_takes_nothing(rate):
    assert granular_rate(rate) == 0.0


def test_torch_rand_is_on_the_grid():
    u = torch.rand(100_000, generator=generator("test", "grid"))
    assert torch.equal(u * 2**24, (u * 2**24).round())


def started(synchronous):
    """Five members on a line; every donor is x_r2, and everything is taken."""
    method = create(
        "cade",
        schedule="constant",
        f_init=0.0,
        cr_init=1.0,
        generations=1,
        synchronous=synchronous,
    )
    draws = Recorded({"partners": [[1, 2, 0]] * 4, "mask": [[True]] * 4})
    method.start(torch.arange(4.0)[:, None] + 1, torch.zeros(4), draws)
    return method


def test_in_place_later_members_see_replaced_ones():
    method = started(synchronous=False)
    seen = []
    while (proposal := method.ask()) is not None:
        seen.append(float(proposal.candidates))
        method.tell(torch.ones(1), torch.ones(1, dtype=torch.bool))
    assert seen == [2.0, 2.0, 2.0, 2.0]  # member 0 became 2 and is copied from then on


def test_synchronous_trials_come_from_the_generation_before():
    proposal = started(synchronous=True).ask()
    assert proposal.candidates.flatten().tolist() == [2.0, 1.0, 1.0, 1.0]


def test_random_copy_changes_as_many_weights_as_cade():
    changed = {}
    for name in ("cade", "random-copy"):
        vectors = torch.randn(5, 200_000, generator=generator("test", "copy"))
        method = create(name, schedule="constant", cr_init=1e-3, generations=20)
        method.start(vectors, torch.zeros(5), generator("test", name))
        counts = []
        for j in range(100):
            trial = method.ask().candidates[0]
            counts.append(int((trial != vectors[j % 5]).sum()))
            method.tell(torch.full((1,), -1.0), torch.zeros(1, dtype=torch.bool))
        changed[name] = sum(counts) / len(counts)
    # 200 are expected, with a standard error of 1.4 over 100 trials.
    assert changed["cade"] == pytest.approx(200, abs=7)
    assert changed["random-copy"] == pytest.approx(200, abs=7)


def test_random_copy_copies_from_one_other_member():
    vectors = torch.arange(4.0)[:, None].repeat(1, 50)
    method = create("random-copy", schedule="constant", cr_init=0.5, generations=1)
    method.start(vectors, torch.zeros(4), generator("test", "copies"))
    trial = method.ask().candidates[0]
    assert len(set(trial.tolist()) - {0.0}) == 1
    assert 0.0 in trial.tolist()
