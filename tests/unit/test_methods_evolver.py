"""Evolver against its released loop, written out."""

import numpy as np
import pytest
import torch

from mergesuite.core.streams import Recorded, generator
from mergesuite.methods import create

NP, D, G = 5, 8, 6


def score(x):
    return -float(((x - 0.3) ** 2).sum())


def released(x, F, CR, rng):
    """The loop of evolver.py: its draws, every trial in turn, and the members at the end."""
    draws = {"reference": [], "partner": [], "mask": []}
    x, f, trials = [row.copy() for row in x], [score(row) for row in x], []
    for t in range(G):
        for i in range(NP):
            draws["reference"].append(rng.random())
            if draws["reference"][-1] < 0.5 / (G - t) + 0.5:
                ref = int(rng.choice([j for j in range(NP) if j != i]))
                draws["partner"].append([ref - (ref > i)])
            else:
                rest = f[:i] + f[i + 1 :]
                ref = rest.index(max(rest))
                ref += ref >= i
            draws["mask"].append(rng.random(D) < CR)
            trial = np.where(draws["mask"][-1], (1 - F) * x[i] + F * x[ref], x[i])
            trials.append(trial)
            if score(trial) > f[i]:
                x[i], f[i] = trial, score(trial)
    return draws, trials, np.array(x)


@pytest.mark.parametrize(("F", "CR"), [(0.5, 0.5), (0.3, 0.8)])
def test_it_is_the_released_loop(F, CR):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(NP, D))
    records, trials, members = released(x, F, CR, rng)
    assert len(records["partner"]) < len(records["reference"])  # the best was taken, too
    draws = Recorded(records)
    method = create("evolver", F=F, CR=CR, generations=G)
    fitness = torch.tensor([score(row) for row in x], dtype=torch.float64)
    method.start(torch.from_numpy(x), fitness, draws)
    for trial in trials:
        proposal = method.ask()
        np.testing.assert_allclose(proposal.candidates[0].numpy(), trial, rtol=1e-12, atol=1e-15)
        made = torch.tensor([score(proposal.candidates[0].numpy())], dtype=torch.float64)
        method.tell(made, made > proposal.thresholds)
    assert method.ask() is None
    after = torch.stack(method.state()["members"]).numpy()
    np.testing.assert_allclose(after, members, rtol=1e-12, atol=1e-15)
    assert set(draws.unused.values()) == {0}


def first_trials(rule, generations=1, **draws):
    """The trials of generation 1 on a line, all coordinates taken; member 2 is the best."""
    x = torch.tensor([[0.0], [2.0], [8.0]], dtype=torch.float64)
    method = create(
        "evolver", reference=rule, synchronous=True, F=0.5, CR=1.0, generations=generations
    )
    records = {"mask": [[True]] * 3, "partner": [[0]] * 3, **draws}
    method.start(x, torch.tensor([0.0, 1.0, 2.0]), Recorded(records))
    return method.ask().candidates.flatten().tolist()


def test_the_reference_is_the_best_other_or_a_random_one():
    assert first_trials("best") == [4.0, 5.0, 5.0]  # the best itself moves towards the second
    assert first_trials("random") == [1.0, 1.0, 4.0]  # the first of the others


def test_the_best_is_taken_ever_more_rarely():
    """Random below 0.5 + 0.5/G in the first generation, always in the last one."""
    last = first_trials("annealed", 1, reference=[0.999] * 3)
    first = first_trials("annealed", 10, reference=[0.54, 0.56, 0.56])
    assert last == [1.0, 1.0, 4.0]
    assert first == [1.0, 5.0, 5.0]


def test_an_equal_score_is_rejected():
    method = create("evolver", generations=1)
    method.start(torch.eye(2), torch.ones(2), generator("test", "evolver"))
    assert method.ask().thresholds.tolist() == [1.0]


def test_two_parents_are_enough_and_nothing_leaves_their_box():
    x = torch.randn(2, 30, generator=generator("test", "box"))
    method = create("evolver", generations=8)
    method.start(x, -((x - 0.3) ** 2).sum(1), generator("test", "box run"))
    low, high = x.min(0).values - 1e-6, x.max(0).values + 1e-6
    while (proposal := method.ask()) is not None:
        assert ((proposal.candidates >= low) & (proposal.candidates <= high)).all()
        scores = -((proposal.candidates.double() - 0.3) ** 2).sum(1)
        method.tell(scores, scores > proposal.thresholds)
