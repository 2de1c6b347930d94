"""Against scipy and statsmodels, and against numbers worked out by hand or in the literature."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import DescrStatsW

from mergesuite.judge import stats

A = [0.812, 0.807, 0.821, 0.799, 0.815]
B = [0.809, 0.801, 0.811, 0.803, 0.802]


def test_t_interval_is_that_of_statsmodels():
    effect = stats.t_interval(A)

    assert (effect.low, effect.high) == pytest.approx(DescrStatsW(A).tconfint_mean())


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 11])
def test_paired_difference_is_scipys_at_any_level(level):
    effect = stats.paired_difference(A, B, level)

    expected = scipy_stats.ttest_rel(A, B)
    interval = expected.confidence_interval(level)
    assert (effect.low, effect.high, effect.p) == pytest.approx(
        (interval.low, interval.high, expected.pvalue)
    )


def test_welch_is_scipys():
    effect = stats.welch_difference(A, B[:3])

    expected = scipy_stats.ttest_ind(A, B[:3], equal_var=False)
    interval = expected.confidence_interval()
    assert (effect.low, effect.high, effect.p) == pytest.approx(
        (interval.low, interval.high, expected.pvalue)
    )
    assert effect.df == pytest.approx(expected.df)


def test_one_value_has_a_mean_and_no_interval():
    effect = stats.t_interval([0.5])

    assert effect.mean == 0.5
    assert math.isnan(effect.low)
    assert math.isnan(effect.p)


def test_no_values_give_no_mean():
    assert math.isnan(stats.t_interval([]).mean)


def test_values_without_spread_are_a_point():
    assert stats.paired_difference([1, 1, 1], [1, 1, 1]).p == 1
    assert stats.paired_difference([2, 2, 2], [1, 1, 1]).p == 0


def test_one_image_more_each_time_is_no_proof():
    step = 1 / 2000

    effect = stats.paired_difference([0.8 + step] * 3, [0.8] * 3, resolution=step)

    assert effect.low < 0 < effect.high


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        stats.t_interval([0.5, math.nan])


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        stats.paired_difference(A, B[:3])


def test_log_ratio_of_known_factors():
    effect = stats.log_ratio([10, 20, 40], [1, 2, 4])

    assert math.exp(effect.mean) == pytest.approx(10)


def test_a_ratio_to_nothing_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        stats.log_ratio([1, 2], [0, 1])


def test_mcnemar_by_hand():
    # Six discordant images, all in favour of one model: 2 / 2^6.
    assert stats.mcnemar(6, 0) == pytest.approx(2 / 64)
    assert stats.mcnemar(4, 4) == 1
    assert stats.mcnemar(0, 0) == 1


@pytest.mark.parametrize(("a", "b"), [(1, 0), (3, 9), (120, 87), (500, 2100)])
def test_mcnemar_is_scipy_s_binomial_test(a, b):
    expected = scipy_stats.binomtest(a, a + b, 0.5).pvalue
    assert stats.mcnemar(a, b) == pytest.approx(expected, rel=1e-9)


def test_t_intervals_of_five_seeds_cover_what_they_say():
    rng = np.random.default_rng(8)
    effects = [stats.t_interval(rng.normal(0.8, 0.01, 5)) for _ in range(1000)]

    share = np.mean([e.low <= 0.8 <= e.high for e in effects])

    assert 0.93 < share < 0.97


@pytest.mark.parametrize("freedom", [4.0, 12.0])
def test_a_variance_prior_is_found_again(freedom):
    generator = np.random.default_rng(3)
    found = []
    for _ in range(20):
        true = 0.02**2 * freedom / generator.chisquare(freedom, 2000)
        measured = true * generator.chisquare(5, 2000) / 5
        found.append(stats.variance_prior(measured, np.full(2000, 5)))

    assert np.median([prior.df for prior in found]) == pytest.approx(freedom, rel=0.1)
    assert np.median([prior.variance for prior in found]) == pytest.approx(0.02**2, rel=0.03)


def test_equal_variances_are_worth_all_of_each_other():
    prior = stats.variance_prior(np.full(12, 0.01**2), np.full(12, 4))

    assert math.isinf(prior.df)
    assert prior.moderated(1.0, 4) == (prior.variance, math.inf)
