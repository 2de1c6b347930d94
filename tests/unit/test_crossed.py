"""Pairs crossed with images: scipy where images play no part, else an analysis of variance.

Coverage is simulated at sizes and levels that claims have.
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from mergesuite.judge.crossed import crossed
from mergesuite.judge.stats import half_width


def draws(rng, pairs, images, of_pair, of_image, rest, mean=0.0):
    """Differences of the model, all parts normal."""
    return (
        mean
        + rng.normal(0, of_pair, (pairs, 1))
        + rng.normal(0, of_image, (1, images))
        + rng.normal(0, rest, (pairs, images))
    )


@pytest.mark.parametrize("level", [0.9, 0.95, 0.995])
@pytest.mark.parametrize("pairs", [2, 5])
def test_it_is_students_interval_where_images_carry_no_variance(pairs, level):
    gains = np.random.default_rng(pairs).normal(0.01, 0.005, pairs)

    found = crossed(np.repeat(gains[:, None], 40, axis=1), level)

    expected = scipy_stats.ttest_1samp(gains, 0)
    interval = expected.confidence_interval(level)
    assert (found.effect.low, found.effect.high) == pytest.approx((interval.low, interval.high))
    assert found.effect.p == pytest.approx(expected.pvalue)
    assert found.pairs == pytest.approx(gains.var(ddof=1))
    assert found.images == 0


def test_images_that_differ_less_than_the_rest_makes_them_add_nothing():
    x = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    found = crossed(x, 0.95)

    interval = scipy_stats.ttest_1samp(x.mean(1), 0).confidence_interval(0.95)
    assert 0 < x.mean(0).var(ddof=1) / 4 < x.var() / 12
    assert found.images == 0
    assert (found.effect.low, found.effect.high) == pytest.approx((interval.low, interval.high))


def test_the_parts_are_those_of_an_analysis_of_variance():
    pairs, images = 4, 30
    x = draws(np.random.default_rng(5), pairs, images, 0.5, 2.0, 0.6, mean=1)
    table = pd.DataFrame(
        [(p, i, x[p, i]) for p in range(pairs) for i in range(images)], columns=["p", "i", "x"]
    )
    squares = anova_lm(ols("x ~ C(p) + C(i)", table).fit())["mean_sq"]
    of_pair, of_image, rest = (squares[k] / x.size for k in ("C(p)", "C(i)", "Residual"))

    found = crossed(x, 0.95)

    variance = of_pair + of_image - rest
    assert found.effect.se == pytest.approx(math.sqrt(variance))
    assert found.images == pytest.approx(of_image - rest)
    assert found.pairs == pytest.approx(of_pair * pairs)
    student, normal = scipy_stats.t.ppf(0.975, 3), scipy_stats.norm.ppf(0.975)
    half = math.sqrt(student**2 * of_pair + normal**2 * (of_image - rest))
    assert found.effect.high - found.effect.mean == pytest.approx(half)


def test_a_small_table_by_hand():
    # Means of pairs 2 and 4, of images 1, 3 and 5; the rest is 0 everywhere.
    x = np.array([[0.0, 2.0, 4.0], [2.0, 4.0, 6.0]])
    found = crossed(x, 0.95)

    assert found.effect.mean == 3
    assert found.pairs == pytest.approx(2)  # (1 + 1) / (2 - 1)
    assert found.images == pytest.approx(4 / 3)  # (4 + 0 + 4) / (3 - 1) / 3
    assert found.effect.se == pytest.approx(math.sqrt(2 / 2 + 4 / 3))
    student, normal = math.tan(0.475 * math.pi), 1.959964  # of one degree of freedom, and none
    half = math.sqrt(1 * student**2 + 4 / 3 * normal**2)
    assert found.effect.high == pytest.approx(3 + half)
    assert found.effect.low == pytest.approx(3 - half)


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 25])
@pytest.mark.parametrize("pairs", [3, 5, 10, 20])
@pytest.mark.parametrize("parts", [(0.0, 0.02, 0.15), (0.01, 0.05, 0.2), (0.002, 0.2, 0.15)])
def test_intervals_cover_what_they_say(parts, pairs, level):
    """The parts are between those of like and of unlike networks."""
    rng, studies, images = np.random.default_rng(17), 400, 6000 // pairs
    of_pair, of_image, rest = parts
    scale = math.sqrt(2000 / images)  # as large beside pairs as of 2,000 images
    missed = 0
    for _ in range(studies):
        x = draws(rng, pairs, images, of_pair, of_image / scale, rest / scale)
        effect = crossed(x, level).effect
        missed += not effect.low <= 0 <= effect.high

    # Three standard errors of the simulation; more coverage than is said is no error.
    allowed = (1 - level) + 3 * math.sqrt(level * (1 - level) / studies)
    assert missed / studies <= allowed


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 7, 1 - 0.05 / 25])
@pytest.mark.parametrize("pairs", [3, 5, 10, 20])
@pytest.mark.parametrize("spread", [0.5, 2, 5, 10, 40])
def test_no_spread_is_missed_more_often_than_the_level_says(spread, pairs, level):
    """Mean squares drawn from their distributions; `spread` is the deviation of one pair, where the
    choice of the images gives the mean one of 1.
    """
    rng, studies, images = np.random.default_rng(31), 400_000, 5000
    both = 0.5 / pairs
    of_pair = spread**2 / pairs + both

    def square(expected, df):
        return expected * rng.chisquare(df, studies) / df

    by_image, by_both = square(1 + both, images - 1), square(both, (images - 1) * (pairs - 1))
    by_pair = np.maximum(square(of_pair, pairs - 1), by_both)
    half = half_width(by_pair, pairs - 1, by_image - by_both, level)
    missed = (abs(rng.normal(0, math.sqrt(of_pair + 1), studies)) > half).mean()

    assert missed <= (1 - level) + 4 * math.sqrt(level * (1 - level) / studies)


def test_ternary_differences_are_covered_too():
    """A network is right, wrong, or as the other one: rare differences on images that are hard."""
    rng, studies, images, missed = np.random.default_rng(2), 400, 1000, 0
    for _ in range(studies):
        hard = rng.random(images) < 0.1
        better = np.clip(0.52 + rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.2, images), 0, 1)
        differ = hard & (rng.random((5, images)) < 0.5)
        x = np.where(differ, np.where(rng.random((5, images)) < better, 1, -1), 0)
        effect = crossed(x, 0.95, 1 / images).effect
        # Of the clipped normal, by symmetry about 0.52 but for its small tails.
        missed += not effect.low <= 0.1 * 0.5 * (2 * 0.52 - 1) <= effect.high

    assert missed / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_three_pairs_that_agree_by_chance_give_no_point():
    x = np.zeros((3, 50))
    x[0, :20], x[1, 10:30], x[2, 30:] = 1, 1, 1  # the same share of images, but other ones
    x += np.linspace(0, 2, 50)
    assert np.ptp(x.mean(1)) < 1e-12

    found = crossed(x, 0.95)

    rest = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
    assert found.images > 0
    assert found.pairs == pytest.approx((rest**2).sum() / (2 * 49) / 50)
    assert found.effect.df >= 2


def test_a_pair_differs_by_one_image_at_least():
    found = crossed(np.full((4, 100), 0.01), 0.95, resolution=0.01)
    assert found.effect.low < 0.01 < found.effect.high
    assert found.pairs == pytest.approx(1e-4)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,)])
def test_fewer_than_two_of_either_are_refused(shape):
    with pytest.raises(ValueError, match="two pairs and two images"):
        crossed(np.zeros(shape), 0.95)
