"""What a size can see: against statsmodels, and against studies that are simulated."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from mergesuite.judge import power, stats
from mergesuite.judge.crossed import crossed

LEVELS = [0.95, 1 - 0.05 / 8]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [2, 3, 5, 12, 60])
@pytest.mark.parametrize("effect", [0.2, 1.0, 3.0])
def test_power_is_that_of_a_one_sample_t_test(effect, n, level):
    # One side: an interval that excludes zero on the other side is no success.
    expected = TTestPower().power(effect, n, (1 - level) / 2, alternative="larger")

    found = power.power(effect * 0.02, pairs=0.02**2, fixed=0.0, n=n, level=level)

    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_detectable_effect_is_that_of_statsmodels(n, level):
    expected = TTestPower().solve_power(
        nobs=n, alpha=(1 - level) / 2, power=0.8, alternative="larger"
    )

    assert power.detectable(0.03**2, 0.0, n, level) == pytest.approx(0.03 * expected, rel=1e-4)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("effect", [0.3, 0.8, 2.0, 12.0])
def test_the_pairs_needed_are_the_fewest_that_suffice(effect, level):
    def enough(n):
        return TTestPower().power(effect, n, (1 - level) / 2, alternative="larger") >= 0.8

    needed = power.pairs_needed(effect, 1.0, 0.0, level)

    assert needed is not None
    assert enough(needed)
    assert needed == 2 or not enough(needed - 1)


def test_simulated_studies_exclude_zero_as_often_as_is_said():
    rng, n, level = np.random.default_rng(3), 6, 0.98
    effect = power.detectable(1.0, 0.0, n, level)
    found = [stats.t_interval(rng.normal(effect, 1, n), level).low > 0 for _ in range(4000)]

    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


def test_images_set_a_limit_that_no_pairs_pass():
    fixed = 0.004**2
    few, many = (power.detectable(0.01**2, fixed, n, 0.95) for n in (5, 10_000))

    assert few > many > 0.004 * (1.96 + 0.84) * 0.999
    assert power.pairs_needed(0.9 * many, 0.01**2, fixed, 0.95) is None
    assert power.pairs_needed(1.5 * many, 0.01**2, fixed, 0.95) is not None


def test_simulated_studies_over_images_exclude_zero_as_often_as_is_said():
    rng, n, images, level = np.random.default_rng(4), 5, 400, 0.98
    of_pair, of_image, rest = 0.02, 0.3, 0.1
    pairs, fixed = of_pair**2 + rest**2 / images, of_image**2 / images
    effect = power.detectable(pairs, fixed, n, level)
    found = []
    for _ in range(1500):
        parts = (rng.normal(0, s, shape) for s, shape in (
            (of_pair, (n, 1)), (of_image, images), (rest, (n, images))
        ))  # fmt: skip
        found.append(crossed(effect + sum(parts), level).effect.low > 0)

    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_more_pairs_and_less_spread_see_more():
    sizes = [power.detectable(0.01**2, 0.0, n, 0.95) for n in (2, 3, 5, 10, 30)]
    assert sizes == sorted(sizes, reverse=True)
    assert power.detectable(0.005**2, 0.0, 5, 0.95) == pytest.approx(sizes[2] / 2)


def test_what_is_not_known_is_not_made_up():
    assert power.detectable(1.0, 0.0, 1, 0.95) == math.inf
    assert math.isnan(power.detectable(math.nan, 0.0, 5, 0.95))
    assert power.pairs_needed(0.1, math.nan, 0.0, 0.95) is None
    assert power.pairs_needed(0.0, 1.0, 0.0, 0.95) is None
    assert power.power(0.1, 1.0, 0.0, 1, 0.95) == 0


def test_without_any_spread_two_pairs_see_everything():
    assert power.detectable(0.0, 0.0, 3, 0.95) == 0
    assert power.pairs_needed(1e-9, 0.0, 0.0, 0.95) == 2
