"""The operators of differential evolution against literal transcriptions of their equations."""

import numpy as np
import pytest
import torch
from scipy import stats

from mergesuite.core.streams import Draws, Recorded, generator
from mergesuite.errors import UserError
from mergesuite.methods import create
from mergesuite.methods.de import clip, cross, donor, force, others
from mergesuite.methods.pool import Pool, counted


def population(count, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, d)), rng


def test_de_is_storn_and_price():
    """Storn & Price 1997: v = x_r1 + F (x_r2 - x_r3), binomial crossover, one forced, >= wins."""
    x, rng = population(6, 9)
    F, CR = 0.7, 0.4
    r = [[int(v) for v in rng.permutation([j for j in range(6) if j != i])[:3]] for i in range(6)]
    u = rng.random((6, 9))
    k_rand = rng.integers(0, 9, 6)
    expected = x.copy()
    for i in range(6):
        v = x[r[i][0]] + F * (x[r[i][1]] - x[r[i][2]])
        for k in range(9):
            if u[i, k] < CR or k == k_rand[i]:
                expected[i, k] = v[k]
    draws = Recorded(
        {
            "partners": [[j - (j > i) for j in r[i]] for i in range(6)],
            "mask": [row < CR for row in u],
            "forced": k_rand.tolist(),
        }
    )
    method = create("de", F=F, CR=CR, generations=1)
    method.start(torch.from_numpy(x), torch.zeros(6), draws)
    proposal = method.ask()
    np.testing.assert_allclose(proposal.candidates.numpy(), expected, rtol=1e-14)
    scores = torch.tensor([0.0, -1.0, 1.0, 0.0, -0.5, 2.0], dtype=torch.float64)
    assert proposal.thresholds is not None
    exceeded = scores > proposal.thresholds
    assert exceeded.tolist() == [True, False, True, True, False, True]  # equal scores win
    method.tell(scores, exceeded)
    after = torch.stack(method.state()["members"]).numpy()
    np.testing.assert_array_equal(after[[0, 2, 3, 5]], proposal.candidates[[0, 2, 3, 5]].numpy())
    np.testing.assert_array_equal(after[[1, 4]], x[[1, 4]])


@pytest.mark.parametrize("limited", [False, True])
def test_positions_and_masks_make_the_same_trial(limited):
    x, rng = population(6, 50)
    vectors = torch.from_numpy(x)
    mask = torch.from_numpy(rng.random(50) < 0.2)
    mutable = torch.from_numpy(rng.random(50) < 0.5) if limited else None
    made = donor(vectors[1], (0.3, vectors[2], vectors[3]), (0.6, vectors[4], vectors[5]))

    dense = cross(vectors[0], mask, made, mutable)
    sparse = cross(vectors[0], mask.nonzero().flatten(), made, mutable)

    assert torch.equal(dense, sparse)
    v = x[1] + 0.3 * (x[2] - x[3]) + 0.6 * (x[4] - x[5])
    taken = mask.numpy() if mutable is None else (mask & mutable).numpy()
    np.testing.assert_allclose(dense.numpy(), np.where(taken, v, x[0]), rtol=1e-13)
    assert np.array_equal(vectors.numpy(), x)


def test_cross_without_a_mask_takes_all_that_is_mutable():
    a, b, c = torch.zeros(3), torch.ones(3), torch.tensor([5.0, 6.0, 7.0])
    made = donor(c, (1.0, b, a))
    assert cross(a, None, made).tolist() == [6.0, 7.0, 8.0]
    assert cross(a, None, made, torch.tensor([True, False, True])).tolist() == [6.0, 0.0, 8.0]


def test_force_adds_one_coordinate_and_leaves_the_draw_alone():
    mask = torch.tensor([False, True, False])
    assert force(mask, 2).tolist() == [False, True, True]
    assert mask.tolist() == [False, True, False]
    assert sorted(force(torch.tensor([4, 7]), 2).tolist()) == [2, 4, 7]
    assert force(torch.tensor([4, 7]), 7).tolist() == [4, 7]


def test_others_are_distinct_uniform_and_never_the_target():
    rng = Draws(generator("test", "others"))
    drawn = [others(rng, "r", 6, 2, 3) for _ in range(3000)]
    assert all(len(set(row)) == 3 and 2 not in row for row in drawn)
    for place in range(3):
        counts = np.bincount([row[place] for row in drawn], minlength=6)
        assert counts[2] == 0
        assert stats.chisquare(counts[[0, 1, 3, 4, 5]]).pvalue > 1e-3


def test_clip_lets_nan_through():
    assert [clip(v, 0.0, 1.0) for v in (-1.0, 0.5, 2.0)] == [0.0, 0.5, 1.0]
    assert np.isnan(clip(float("nan"), 0.0, 1.0))


@pytest.mark.parametrize(("n", "rate"), [(40, 0.015), (300, 0.02), (40, 0.3)])
def test_mask_takes_each_coordinate_with_its_rate(n, rate):
    """How many are taken is Binomial(n, rate), and which is uniform: sparse draws and dense."""
    rng = Draws(generator("test", "mask", n))
    rows = 4000
    taken = np.zeros((rows, n), dtype=bool)
    for row in taken:
        row[rng.mask("mask", n, rate).numpy()] = True
    counts = np.bincount(taken.sum(1), minlength=n + 1)
    expected = rows * stats.binom.pmf(np.arange(n + 1), n, rate)
    common = expected >= 5
    observed = [*counts[common], counts[~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    assert stats.chisquare(observed, np.array(wanted) * rows / sum(wanted)).pvalue > 1e-3
    assert stats.chisquare(taken.sum(0)).pvalue > 1e-3


def test_a_bad_parent_counts_as_the_worst():
    scores = torch.tensor([float("nan"), float("inf"), -torch.inf, 3.0])
    assert counted(scores).tolist() == [-torch.inf, -torch.inf, -torch.inf, 3.0]


def test_a_restored_nan_is_never_beaten_and_never_best():
    vectors = [torch.zeros(2), torch.ones(2)]
    pool = Pool(vectors, torch.tensor([float("nan"), -5.0], dtype=torch.float64))
    assert pool.thresholds().tolist() == [torch.inf, -5.0]
    assert pool.best[1] == -5.0


def test_ties_are_expressed_in_the_threshold():
    pool = Pool([torch.zeros(1)] * 2, torch.tensor([0.25, -torch.inf], dtype=torch.float64))
    bars = pool.thresholds(ties=True)
    assert 0.25 > bars[0] >= 0.25 - 1e-15
    assert bars[1] == -torch.inf


def test_too_few_parents_are_refused():
    with pytest.raises(UserError, match="de needs at least 4 parents, found 3"):
        create("de").start(torch.zeros(3, 2), torch.zeros(3), generator("test"))
