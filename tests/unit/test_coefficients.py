"""Searches for mixing coefficients against closed forms, loops in numpy and linear algebra."""

import math

import numpy as np
import pytest
import torch

from mergesuite.core.streams import Recorded, generator
from mergesuite.methods import create
from mergesuite.methods.affine import directions
from mergesuite.methods.lcsc import DECAYS
from mergesuite.methods.mixtures import decayed, mixture

NAN = float("nan")


def vectors(k, d=8):
    return torch.randn(k, d, generator=generator("test", "coefficients", k, d))


def nearness(target):
    """A score with its maximum, 0, at `target`."""
    return lambda x: -((x.double() - target) ** 2).sum(1)


def finish(method, score):
    """Run a search to its end; returns the candidates that it proposed."""
    proposed = []
    while (proposal := method.ask()) is not None:
        proposed += list(proposal.candidates)
        scores = score(proposal.candidates)
        bars = -torch.inf if proposal.thresholds is None else proposal.thresholds
        method.tell(scores, scores > bars)
    return proposed


def searched(name, parents, score, tensors=None, **params):
    method = create(name, **params)
    method.tensors = tensors
    method.start(parents, torch.zeros(len(parents)), generator("test", name))
    return method, finish(method, score)


def solved(parents, vector):
    """The coefficients, of sum 1, that give `vector` `(d,)`, and what they leave, by lstsq."""
    equations = np.vstack([parents.double().numpy().T, np.ones(len(parents))])
    right = np.append(vector.double().numpy(), 1.0)
    found, *_ = np.linalg.lstsq(equations, right, rcond=None)
    return found, float(np.abs(equations @ found - right).max())


# Mixtures


def test_a_mixture_is_the_weighted_sum_whatever_its_base():
    parents = vectors(3)
    weights = [[0.7, -0.5, 0.8], [0.2, 0.3, 0.5]]
    first = np.einsum("k,kd->d", weights[0], parents[:, :5].double().numpy())
    second = np.einsum("k,kd->d", weights[1], parents[:, 5:].double().numpy())
    for base in (0, 1, -1):
        found = mixture(parents, weights, [5, 3], base=base)
        np.testing.assert_allclose(found, np.append(first, second), rtol=1e-5, atol=1e-6)


def test_the_base_alone_is_itself_to_the_bit():
    parents = vectors(3) * torch.tensor([[1e6], [1.0], [1e-6]])
    assert torch.equal(mixture(parents, [[0.0, 0.0, 1.0]], base=-1), parents[-1])


# Affine


@pytest.mark.parametrize("k", [2, 3, 7])
def test_directions_are_orthonormal_and_change_no_sum(k):
    rows = directions(k).numpy()
    np.testing.assert_allclose(rows @ rows.T, np.eye(k - 1), atol=1e-12)
    np.testing.assert_allclose(rows.sum(1), 0, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_affine_proposes_affine_combinations_around_the_average(k):
    parents = vectors(k, d=12)
    _, proposed = searched("affine", parents, nearness(torch.zeros(12)), evaluations=200)
    coefficients, left = zip(*[solved(parents, x) for x in proposed], strict=True)
    assert max(left) < 1e-5
    assert np.min(coefficients) < 0
    np.testing.assert_allclose(np.sum(coefficients, 1), 1, atol=1e-5)


def test_the_first_affine_sample_is_normal_around_the_average_in_every_direction():
    """Of 300 searches of one sample: mean 1/k, covariance sigma^2 (1 - 1/k on the diagonal)."""
    k, found = 4, []
    parents = torch.eye(k)
    for seed in range(300):
        method = create("affine", sigma=0.2)
        method.start(parents, torch.zeros(k), generator("test", "sample", seed))
        found.append(method.ask().candidates)
    sample = torch.cat(found).double().numpy()
    expected = 0.04 * (np.eye(k) - 1 / k)
    np.testing.assert_allclose(sample.mean(0), 1 / k, atol=4 * 0.2 / math.sqrt(len(sample)))
    np.testing.assert_allclose(np.cov(sample.T), expected, atol=0.15 * 0.04)


@pytest.mark.parametrize(("name", "reaches"), [("affine", True), ("lcsc", True), ("cma-es", False)])
def test_only_what_may_be_negative_reaches_beyond_the_parents(name, reaches):
    parents = vectors(3)
    target = torch.tensor([1.4, -0.6, 0.2], dtype=torch.float64) @ parents.double()
    method, _ = searched(name, parents, nearness(target), evaluations=600)
    apart = math.sqrt(-method.best[1])
    between = (parents[0].double() - target).norm()
    if reaches:
        assert apart < 0.02 * between
    else:
        assert apart > 0.2 * between


def test_affine_finds_the_projection_on_the_plane_of_the_parents():
    parents = vectors(4, d=20)
    target = vectors(1, d=20)[0].double()
    method, _ = searched("affine", parents, nearness(target), evaluations=800)
    base, ways = parents[0].double(), (parents[1:] - parents[0]).double()
    onto, *_ = np.linalg.lstsq(ways.T.numpy(), (target - base).numpy(), rcond=None)
    foot = base + torch.from_numpy(onto) @ ways
    torch.testing.assert_close(method.best[0].double(), foot, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["affine", "cma-es"])
def test_each_tensor_can_have_coefficients_of_its_own(name):
    """A target that takes each tensor from another mixture; one set for all cannot reach it."""
    parents, sizes = vectors(3, d=12), [6, 1, 5]
    weights = [[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]]
    target = mixture(parents, weights, sizes).double()
    apart = {}
    for per in ("network", "tensor"):
        method, proposed = searched(
            name, parents, nearness(target), sizes, evaluations=900, per=per
        )
        apart[per] = math.sqrt(-method.best[1])
        for x in proposed[:20]:
            for part in (slice(0, 6), slice(7, 12)):
                assert solved(parents[:, part], x[part])[1] < 1e-5
    assert apart["tensor"] < 0.05 * apart["network"]


def test_tensors_are_part_of_the_state():
    parents, sizes = vectors(3, d=12), [6, 1, 5]
    whole, _ = searched("affine", parents, nearness(0.3), sizes, evaluations=30, per="tensor")
    half = create("affine", evaluations=30, per="tensor")
    half.tensors = sizes
    half.start(parents, torch.zeros(3), generator("test", "affine"))
    scores = nearness(0.3)(half.ask().candidates)
    half.tell(scores, scores > -torch.inf)
    again = create("affine", evaluations=30, per="tensor")
    again.restore(half.state())
    finish(again, nearness(0.3))
    assert torch.equal(again.best[0], whole.best[0])


# LCSC


def test_decays_are_those_of_a_moving_average_in_the_long_run():
    assert decayed(3, 0.0) == [0, 0, 1]
    assert decayed(4, 1.0) == [0.25] * 4
    x, average = torch.arange(200.0), torch.tensor(0.0)
    for value in x:
        average = 0.9 * average + 0.1 * value
    assert float(torch.tensor(decayed(200, 0.9)) @ x) == pytest.approx(float(average), rel=1e-5)


class Literal:
    """The search written out on lists, with the draws of one generator."""

    def __init__(self, k, score, evaluations, size, elite, sd, rng):
        self.k, self.score, self.rng = k, score, rng
        everyone = []
        for decay in DECAYS:
            powers = [decay ** (k - 1 - i) for i in range(k)]
            everyone.append([p / sum(powers) for p in powers])
        scored = [(score(a), -number, a) for number, a in enumerate(everyone)]
        while len(scored) < evaluations:
            parents = [a for *_, a in sorted(scored, reverse=True)[:elite]]
            children = []
            for _ in range(min(size, evaluations - len(scored))):
                children.append(self.child(parents, sd))
            for child in children:
                scored.append((score(child), -len(scored), child))
        self.best = max(scored)
        self.scored = scored

    def child(self, parents, sd):
        one, two = rng_sample(self.rng, len(parents))
        takes = [float(torch.rand((), generator=self.rng, dtype=torch.float64)) < 0.5
                 for _ in range(self.k - 1)]  # fmt: skip
        noise = torch.randn(self.k - 1, generator=self.rng, dtype=torch.float64) * sd
        rest = [
            parents[one if take else two][i + 1] + float(noise[i]) for i, take in enumerate(takes)
        ]
        return [1 - sum(rest), *rest]


def rng_sample(rng, n):
    return torch.randperm(n, generator=rng)[:2].tolist()


@pytest.mark.parametrize("elite", [3, 50])
def test_lcsc_is_its_description_written_out(elite):
    """Dropping whom the bar stops changes nothing: the written-out search keeps everybody."""
    parents = torch.eye(4)
    target = torch.tensor([0.5, -0.4, 0.2, 0.7])
    params = {"evaluations": 60, "population": 8, "elite": elite, "sd": 0.2}
    method = create("lcsc", **params)
    method.start(parents, torch.zeros(4), generator("test", "written out"))
    proposed = finish(method, nearness(target))

    def score(coefficients):
        candidate = mixture(parents, [coefficients], base=-1)[None]
        return float(nearness(target)(candidate))

    literal = Literal(4, score, 60, 8, elite, 0.2, generator("test", "written out"))
    assert len(proposed) == 60
    for found, (*_, expected) in zip(proposed, literal.scored, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert method.best[1] == literal.best[0]


def test_a_child_of_lcsc_by_hand():
    method = create("lcsc", evaluations=10, population=1)
    draws = {"parents": [[1, 0]], "cross": [0.9, 0.1], "mutate": [[0.1, -0.2]]}
    parents = torch.eye(3)
    method.start(parents, torch.zeros(3), Recorded(draws))
    first = method.ask()
    scores = torch.tensor([1.0, 0.5, 2.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    method.tell(scores, scores > first.thresholds)
    # The best two: of decay 0.8 (second number drawn, so the first coefficient) and of decay 0.
    best, second = decayed(3, 0.8), decayed(3, 0.0)
    rest = [best[1] + 0.1, second[2] - 0.2]
    child = method.ask().candidates[0]
    torch.testing.assert_close(child, torch.tensor([1 - sum(rest), *rest]))


def test_lcsc_goes_on_where_nothing_has_a_score_yet():
    parents = vectors(3)
    method = create("lcsc", evaluations=30, population=4)
    method.start(parents, torch.zeros(3), generator("test", "nan"))
    bad = method.ask()
    method.tell(torch.full((len(bad),), NAN), torch.ones(len(bad), dtype=torch.bool))
    assert method.best[1] == -math.inf
    finish(method, nearness(parents.double().mean(0)))
    assert math.isfinite(method.best[1])


# EMA


def test_ema_window_takes_the_best_decay_of_the_grid():
    from mergesuite.methods.ema_window import DECAYS as GRID

    parents = vectors(5)
    for decay in GRID:
        powers = np.array([decay**age for age in (4, 3, 2, 1, 0)])
        target = torch.from_numpy((powers / powers.sum()) @ parents.double().numpy())
        method, proposed = searched("ema-window", parents, nearness(target))
        assert len(proposed) == len(GRID) == method.budget
        assert method.trace()["decay"] == decay
        torch.testing.assert_close(method.best[0].double(), target, rtol=1e-5, atol=1e-6)


def test_ema_window_begins_with_the_last_and_keeps_the_shorter_of_equals():
    parents = vectors(4)
    method, proposed = searched("ema-window", parents, lambda x: torch.ones(len(x)).double())
    assert torch.equal(proposed[0], parents[-1])
    assert torch.equal(method.best[0], parents[-1])
