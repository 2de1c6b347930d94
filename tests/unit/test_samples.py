"""Which numbers are pairs: replicates, several searches of one, and what each interval is of."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mergesuite.experiment.spec import SEARCH, replicate_of
from mergesuite.judge import samples
from mergesuite.stages import hits

IMAGES = 203  # no multiple of eight


def seeded(rng, searches, replicates, spread=0.01):
    """Seed -> value of so many searches of each replicate."""
    return {
        SEARCH * k + r: float(rng.normal(0.8, spread))
        for k in range(searches)
        for r in range(replicates)
    }


def test_a_search_belongs_to_its_replicate():
    assert [replicate_of(seed) for seed in (0, 4, 1000, 2004, 999)] == [0, 4, 0, 4, 999]


def test_the_mean_over_searches_is_what_a_replicate_counts_with():
    a, b = seeded(np.random.default_rng(1), 3, 4), seeded(np.random.default_rng(2), 1, 4)

    made = samples.contrast(a, b, level=0.98)

    means = [np.mean([a[SEARCH * k + r] for k in range(3)]) for r in range(4)]
    expected = scipy_stats.ttest_rel(means, list(b.values()))
    interval = expected.confidence_interval(0.98)
    assert made.effect.n == 4
    assert made.effect.mean == pytest.approx(np.mean(means) - np.mean(list(b.values())))
    assert (made.effect.low, made.effect.high) == pytest.approx((interval.low, interval.high))
    assert made.variance == pytest.approx(np.var(np.array(means) - list(b.values()), ddof=1))


def test_a_search_that_failed_leaves_the_others_of_its_replicate():
    found = samples.by_replicate({0: 0.5, 1000: 0.7, 1: 0.6, 1001: math.nan})
    assert found == pytest.approx({0: 0.6, 1: 0.6})


def test_the_part_of_the_search_seed_is_known_where_there_are_several():
    rng = np.random.default_rng(5)
    a, b = seeded(rng, 2, 400, 0.02), seeded(rng, 1, 400)

    assert samples.search_variance(a, b) == pytest.approx(0.02**2 / 2, rel=0.15)
    assert samples.search_variance(a, a) == pytest.approx(0.02**2, rel=0.15)
    assert math.isnan(samples.search_variance(b, b))
    # More searches make it smaller, and with it the variance of a pair.
    more = seeded(rng, 8, 400, 0.02)
    assert samples.contrast(more, b).variance < samples.contrast(a, b).variance


def right(rng, names, searches, replicates):
    """Hits of subjects, and their accuracies by seed."""
    found, values = {}, {}
    for name, count in zip(names, searches, strict=True):
        for seed in seeded(rng, count, replicates):
            bits = rng.random(IMAGES) < 0.7
            found[name, seed, "keep"] = np.packbits(bits)
            values.setdefault(name, {})[seed] = float(bits.mean())
    return found, values


def test_images_and_pairs_make_the_same_mean_with_searches_of_either():
    found, values = right(np.random.default_rng(3), ("a", "b"), (3, 1), 5)

    made = samples.contrast_by_image(found, "a", "b", "keep", IMAGES, 0.95)
    plain = samples.contrast(values["a"], values["b"])

    assert made is not None
    assert made.spread_kind == samples.CROSSED
    assert made.effect.n == 5
    assert made.effect.mean == pytest.approx(plain.effect.mean)
    assert (made.subject, made.against) == pytest.approx((plain.subject, plain.against))


def test_without_hits_of_both_there_is_no_interval_over_images():
    found, _ = right(np.random.default_rng(3), ("a",), (1,), 5)
    assert samples.contrast_by_image(found, "a", "b", "keep", IMAGES, 0.95) is None


def test_hits_of_several_searches_are_written_and_read(tmp_path):
    found, _ = right(np.random.default_rng(3), ("a",), (2,), 3)
    hits.write(tmp_path / "runs.csv", found)
    again = hits.read(tmp_path / "runs.csv")
    assert again.keys() == found.keys()
    assert all((again[key] == found[key]).all() for key in found)


def test_one_more_run_falls_in_its_interval_as_often_as_is_said():
    rng, inside = np.random.default_rng(9), 0
    for _ in range(1000):
        x = {seed: float(rng.normal(0.02, 0.01)) for seed in range(4)}
        made = samples.contrast(x, dict.fromkeys(range(4), 0.0))
        low, high = samples.run_interval(made, 0.9)
        inside += low <= rng.normal(0.02, 0.01) <= high
    assert inside / 1000 == pytest.approx(0.9, abs=0.03)


def test_the_interval_of_one_run_of_a_factor_is_on_the_log_scale():
    a = {0: 10.0, 1: 12.0, 2: 11.0}
    made = samples.contrast(a, dict.fromkeys(a, 1.0), ratio=True)
    low, high = samples.run_interval(made, 0.95)

    logs = np.log(list(a.values()))
    half = scipy_stats.t.ppf(0.975, 2) * logs.std(ddof=1) * math.sqrt(1 + 1 / 3)
    assert (low, high) == pytest.approx((logs.mean() - half, logs.mean() + half))


def test_there_is_no_interval_of_a_run_without_two_pairs():
    made = samples.contrast({0: 0.5}, {0: 0.4})
    assert all(math.isnan(end) for end in samples.run_interval(made, 0.95))
