"""SaDE, SA-SHADE, SHADE, L-SHADE-EpSin and random search: equations, and what replays miss."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mergesuite.core.streams import Recorded, generator
from mergesuite.methods import create
from mergesuite.methods.de import sinusoid, trigonometric_weights
from mergesuite.methods.lshade_epsin import LshadeEpsin, sizes
from mergesuite.methods.shade import Memory, Shade, archived, weighted_means


def finish(method, score):
    while (proposal := method.ask()) is not None:
        scores = score(proposal.candidates)
        bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
        method.tell(scores, scores > bars)


def sphere(x):
    return -(x.double() ** 2).sum(1)


def test_trigonometric_mutation_is_fan_and_lampinen():
    """Eq. of Fan & Lampinen 2003 for objective values f, written out."""
    x1, x2, x3 = np.random.default_rng(1).normal(size=(3, 5))
    f = [3.0, 1.0, 0.5]
    total = sum(abs(v) for v in f)
    p1, p2, p3 = (abs(v) / total for v in f)
    v = (x1 + x2 + x3) / 3 + (p2 - p1) * (x1 - x2) + (p3 - p2) * (x2 - x3) + (p1 - p3) * (x3 - x1)
    weights = trigonometric_weights(f, "released")
    np.testing.assert_allclose(np.stack([x1, x2, x3]).T @ weights, v, rtol=1e-13)


@pytest.mark.parametrize("scores", [[0.9, 0.5, 0.1], [-0.1, -0.5, -0.9]])
def test_right_sign_prefers_the_better(scores):
    weights = trigonometric_weights(scores, "right-sign")
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1)


def test_mean_of_three_and_unusable_scores():
    assert trigonometric_weights([5.0, 1.0, 0.0], "mean-of-three") == [1 / 3] * 3
    assert all(math.isnan(w) for w in trigonometric_weights([0.0, 0.0, 0.0], "released"))


def test_released_decreasing_sinusoid_is_a_constant_and_the_named_is_not():
    released = [sinusoid(0.6, 0.5, t, (20 - t) / 20, math.pi) for t in range(1, 10)]
    named = [sinusoid(0.6, 0.25, t, (20 - t) / 20, math.pi) for t in range(1, 10)]
    np.testing.assert_allclose(released, 0.6, rtol=1e-12)
    assert np.ptp(named) > 0.5


def trig_trial(rule):
    """The first trial of SA-SHADE when only strategy 4 is drawn."""
    x = torch.tensor([[1.0], [2.0], [4.0], [9.0]], dtype=torch.float64)
    draws = Recorded({"strategy": [4] * 4, "r1": [[0], [0], [0], [0]]})
    method = create("sa-shade", trigonometric=rule)
    method.start(x, torch.tensor([0.2, 0.4, 0.6, 0.8]), draws)
    return float(method.ask().candidates[0])


def test_trigonometric_controls():
    # Points of member 0: itself (1), r1 (member 1, 2) and the best (member 3, 9).
    assert trig_trial("mean-of-three") == pytest.approx((1 + 2 + 9) / 3)
    assert trig_trial("mean-of-all") == pytest.approx((1 + 2 + 4 + 9) / 4)
    assert trig_trial("right-sign") > trig_trial("mean-of-three") > trig_trial("released")


@pytest.mark.parametrize("variant", ["released", "named"])
def test_frozen_coordinates_stay(variant):
    vectors = torch.randn(6, 10, generator=generator("test", "frozen"))
    vectors[:, :5] = torch.arange(6.0)[:, None]
    method = create("sa-shade", variant=variant, generations=6)
    method.mutable = torch.arange(10) >= 5
    method.start(vectors, sphere(vectors), generator("test", "run"))
    finish(method, sphere)
    after = torch.stack(method.state()["members"])
    assert torch.equal(after[:, :5], vectors[:, :5])
    assert not torch.equal(after[:, 5:], vectors[:, 5:])


def test_named_overlooks_no_winner_and_keeps_memories_finite():
    vectors = torch.randn(6, 10, generator=generator("test", "named"))
    scores = sphere(vectors)
    scores[2] = -torch.inf  # beaten for certain; as released its infinite gain would spoil a slot
    method = create("sa-shade", variant="named", generations=30)
    method.start(vectors, scores, generator("test", "named run"))
    finish(method, sphere)
    state = method.state()
    for name in ("u_F", "u_CR", "u_freq"):
        assert torch.isfinite(state[name]).all()
    assert not torch.equal(state["u_F"], torch.full_like(state["u_F"], 0.6))


def test_shade_memory_update_is_tanabe_and_fukunaga():
    """Eq. 13 to 17 written out: w_k = |df_k| / sum |df|, arithmetic for CR, Lehmer for F."""
    values, gains = [0.3, 0.9, 0.5], [1.0, 3.0, 0.5]
    w = np.array(gains) / sum(gains)
    arithmetic = sum(wk * v for wk, v in zip(w, values, strict=True))
    lehmer = sum(wk * v**2 for wk, v in zip(w, values, strict=True)) / arithmetic
    np.testing.assert_allclose(weighted_means(values, gains), (arithmetic, lehmer), rtol=1e-14)


def shade_with_records():
    """Four members on a line, one generation; only trials 0 and 2 win, with gains 1 and 3."""
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    draws = Recorded(
        {
            "slot": [0, 1, 0, 1],
            "CR": [0.2, 0.4, 0.6, 0.8],
            "F": [-0.3, 0.5, 0.6, 1.7, 0.8],  # the first is drawn again, 1.7 is capped
            "p": [0.0] * 4,
            "pbest": [0, 1, 0, 1],
            "r1": [[0]] * 4,
            "r2": [0, 0, 0, 0],
            "mask": [[False]] * 4,
            "forced": [0] * 4,
        }
    )
    method = create("shade", generations=1, memory=2)
    method.start(x, torch.tensor([0.0, 1.0, 2.0, 3.0]), draws)
    return x.numpy().ravel(), method


def test_shade_generation_by_hand():
    x, method = shade_with_records()
    trials = method.ask().candidates.flatten().tolist()
    # p-best of two: ranks 0 and 1 are members 3 and 2; r1 is the first other, r2 the first left.
    F = [0.5, 0.6, 1.0, 0.8]
    best, r1, r2 = [3, 2, 3, 2], [1, 0, 0, 0], [2, 2, 1, 1]
    expected = [x[i] + F[i] * (x[best[i]] - x[i]) + F[i] * (x[r1[i]] - x[r2[i]]) for i in range(4)]
    assert trials == pytest.approx(expected)

    scores = torch.tensor([1.0, 0.0, 5.0, 3.0], dtype=torch.float64)
    method.tell(scores, torch.tensor([True, False, True, True]))  # the last is a tie
    state = method.state()
    assert state["memory"]["means"]["CR"] == pytest.approx([(0.2 + 3 * 0.6) / 4, 0.5])
    lehmer = (0.5**2 + 3 * 1.0**2) / (0.5 + 3 * 1.0)
    assert state["memory"]["means"]["F"] == pytest.approx([lehmer, 0.5])
    assert [float(v) for v in state["archive"]] == [0.0, 3.0]  # a tie's parent is not archived
    assert float(state["members"][3]) == pytest.approx(expected[3])  # but the tie is accepted


@pytest.mark.parametrize("score", [3.0, 0.0])
def test_shade_learns_nothing_from_ties_and_losses(score):
    _, method = shade_with_records()
    method.ask()
    # Only member 3, whose score is 3, can be equalled by these.
    tied = torch.tensor([False, False, False, score == 3.0])
    method.tell(torch.tensor([-1.0, -1.0, -1.0, score]), tied)
    state = method.state()
    assert state["memory"] == {"means": {"F": [0.5, 0.5], "CR": [0.5, 0.5]}, "at": 0}
    assert state["archive"] == []


def test_memory_turns_round_and_skips_what_is_not_finite():
    memory = Memory(2, ("F", "freq"))
    memory.write({"F": 0.1, "freq": None})
    memory.write({"F": math.nan, "freq": 0.3})
    memory.write({"F": 0.9, "freq": math.inf})
    assert memory.means == {"F": [0.9, 0.5], "freq": [0.5, 0.3]}
    assert memory.at == 1


def test_archive_keeps_its_size():
    vectors = [torch.tensor([float(i)]) for i in range(5)]
    left = archived(Recorded({"archive": [0, 1]}), vectors[:3], vectors[3:], 3)
    assert [float(v) for v in left] == [1.0, 3.0, 4.0]


def test_population_shrinks_linearly_to_four_within_the_budget():
    found = sizes(20, 200)
    assert found[0] == 20
    assert found == sorted(found, reverse=True)
    assert sum(found[:-1]) < 200 <= sum(found)
    assert found[1] == round(20 + (4 - 20) * 20 / 200)
    method = create("lshade-epsin", evaluations=200)
    vectors = torch.randn(20, 6, generator=generator("test", "epsin"))
    method.start(vectors, sphere(vectors), generator("test", "epsin run"))
    finish(method, sphere)
    assert len(method.state()["members"]) == found[-1]
    assert method.state()["generation"] == len(found) + 1


def begun(cls_name, d=6):
    vectors = torch.randn(10, d, generator=generator("test", cls_name))
    method = create(cls_name)
    method.start(vectors, sphere(vectors), generator("test", cls_name, "run"))
    return method


def test_restored_adaptive_methods_share_no_memory():
    for name, cls in (("shade", Shade), ("lshade-epsin", LshadeEpsin)):
        method = begun(name)
        state = method.state()
        again = create(name)
        assert isinstance(again, cls)
        again.restore(state)
        proposal = again.ask()
        again.tell(torch.full((len(proposal),), 1.0), torch.ones(len(proposal), dtype=torch.bool))
        assert set(state["memory"]["means"]["F"]) == {0.5}


def test_darwinian_scores_members_again_in_each_epoch():
    """The driver scores by `epoch`: here the optimum moves with it."""
    vectors = torch.randn(6, 4, generator=generator("test", "epochs"))
    method = create("darwinian", generations=2, de_epochs=3)
    method.start(vectors, sphere(vectors), generator("test", "epochs run"))
    kinds = []
    while (proposal := method.ask()) is not None:
        scores = sphere(proposal.candidates - method.epoch)
        again = proposal.thresholds is None
        kinds.append((method.epoch, "members" if again else "trials"))
        if again:
            assert torch.equal(proposal.candidates, torch.stack(method.state()["members"]))
            assert method.state()["p"] == [0.7, 0.1, 0.1, 0.1]
            assert len(method.state()["history"]) == 0
        bars = -torch.inf if again else proposal.thresholds
        method.tell(scores, scores > bars)
    assert kinds == [
        *[(0, "trials")] * 2,
        *[(1, "members"), *[(1, "trials")] * 2],
        *[(2, "members"), *[(2, "trials")] * 2],
    ]
    vector, score = method.best
    assert method.epoch == 2  # the images on which the best is scored again
    assert float(sphere(vector[None] - 2)) == pytest.approx(score)


def test_random_points_are_uniform_on_the_simplex():
    """A weight of the uniform distribution is Beta(1, 2) on a triangle, U(0, 1) on a segment."""
    for k, law in ((2, stats.uniform()), (3, stats.beta(1, 2))):
        method = create("random-search", evaluations=2000, batch=2000)
        corners = torch.eye(k, dtype=torch.float64)
        method.start(corners, torch.zeros(k), generator("test", "simplex", k))
        points = method.ask().candidates
        torch.testing.assert_close(points.sum(1), torch.ones(2000, dtype=torch.float64))
        for weight in points.T:
            assert stats.kstest(weight.numpy(), law.cdf).pvalue > 1e-3


def test_random_noise_respects_frozen_coordinates():
    for mutation in ("tensor", "element"):
        method = create("random-search", evaluations=5, mutation=mutation, mutation_rate=1.0)
        method.tensors, method.mutable = [4, 6], torch.arange(10) % 2 == 0
        method.start(torch.zeros(2, 10), torch.zeros(2), generator("test", mutation))
        points = method.ask().candidates
        assert torch.equal(points[:, 1::2], torch.zeros(5, 5))
        assert (points[:, ::2] != 0).all()


def test_random_search_keeps_the_first_of_equals_and_rejects_what_did_not_exceed():
    method = create("random-search", evaluations=4, batch=4)
    method.start(torch.eye(2), torch.zeros(2), generator("test", "equals"))
    points = method.ask().candidates.clone()
    method.tell(torch.tensor([9.0, 1.0, 1.0, 0.0]), torch.tensor([False, True, True, True]))
    assert torch.equal(method.best[0], points[1])
    assert method.best[1] == 1.0


@pytest.mark.parametrize("members", [4, 5, 6, 7, 8])
def test_shade_runs_on_few_members(members):
    """What stands in a spec: nothing but `generations`, and as many parents as were trained."""
    vectors = torch.randn(members, 12, generator=generator("test", "few", members))
    method = create("shade", generations=20)
    method.start(vectors, sphere(vectors), generator("test", "few run", members))
    finish(method, sphere)
    assert method.best[1] > float(sphere(vectors).max())
    assert len(method.state()["archive"]) <= members
