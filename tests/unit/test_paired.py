"""Intervals over test images, and the sentence that they carry."""

import math

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as reference

from mergesuite.judge import stats
from mergesuite.judge.paired import BETTER, OPEN, WORSE, Paired, paired, resolved, simultaneous
from mergesuite.report.answer import Compared, sentence


def most_likely(only_a, only_b, n, difference):
    """The share that only the second gets right, at the most likely shares with this difference."""

    def unlikely(share):
        a, both = share + difference, n - only_a - only_b
        shares = [(only_a, a), (only_b, share), (both, 1 - a - share)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in shares if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    return optimize.minimize_scalar(
        unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x


@pytest.mark.parametrize("level", [0.95, 0.996])
@pytest.mark.parametrize(
    ("only_a", "only_b", "n"), [(5, 2, 300), (1, 0, 36), (9, 0, 12), (3, 20, 60)]
)
def test_the_interval_ends_where_a_score_test_rejects(only_a, only_b, n, level):
    z = reference.norm.ppf(0.5 + level / 2)
    for end in stats.paired_proportions(only_a, only_b, n, level):
        share = most_likely(only_a, only_b, n, end)
        variance = n * (2 * share + end * (1 - end))
        assert abs(only_a - only_b - n * end) / math.sqrt(variance) == pytest.approx(z, rel=1e-4)


def test_networks_that_no_image_tells_apart_are_not_known_to_be_equal():
    low, high = stats.paired_proportions(0, 0, 36)

    z2 = reference.norm.ppf(0.975) ** 2
    assert (low, high) == pytest.approx((-z2 / (36 + z2), z2 / (36 + z2)))
    assert stats.paired_proportions(36, 0, 36)[1] == 1
    assert stats.paired_proportions(0, 36, 36)[0] == -1


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.05, 0.05, 36), (0.1, 0.02, 100)])
def test_the_interval_holds_its_level(gain, loss, n):
    """For 36 images Wald's would miss twice as often as it says."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=400)
    held = [low <= gain - loss <= high for low, high in
            (stats.paired_proportions(int(a), int(b), n) for a, b, _ in drawn)]  # fmt: skip

    assert np.mean(held) > 0.92


def test_two_networks_on_the_same_images():
    first, second = np.ones(40, dtype=bool), np.ones(40, dtype=bool)
    second[:12], first[-2:] = False, False
    found = paired(first, second, 0.95)

    assert (found.mean, found.only_first, found.only_second) == (0.25, 12, 2)
    assert found.word == BETTER
    assert paired(second, first, 0.95).word == WORSE
    assert paired(first, first, 0.95).word == OPEN
    assert found.p == pytest.approx(reference.binomtest(2, 14).pvalue)
    with pytest.raises(ValueError, match="same images"):
        paired(first, second[:-1], 0.95)


def test_more_images_resolve_less_and_more_comparisons_ask_for_more():
    few, many = (Paired(0, -0.005, 0.005, n // 20, n // 20, n) for n in (100, 10_000))
    apart = Paired(0, -0.2, 0.2, 0, 0, 20)

    assert resolved([few], 0.95) == pytest.approx(0.09, abs=0.005)  # 2.8 * sqrt(0.1 / 100)
    assert resolved([many], 0.95) == pytest.approx(0.009, abs=0.0005)
    assert resolved([apart], 0.95) == 0.2
    assert math.isnan(resolved([], 0.95))
    assert (simultaneous(1), simultaneous(10)) == (0.95, 0.995)


def pair(low, high):
    return Paired((low + high) / 2, low, high, 1, 1, 300)


OFF, UP, DOWN = pair(-0.01, 0.02), pair(0.01, 0.05), pair(-0.05, -0.01)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [("average", 1, OFF, None), ("mega", 1, OFF, OFF)],
            "No merge is distinguishable from the best parent (a.pt) or from the average",
        ),
        (
            [("average", 1, OFF, None), ("mega", 1, UP, OFF)],
            "Better than the best parent (a.pt): mega (+3.00 [+1.00, +5.00] points); no merge is "
            "distinguishable from the average",
        ),
        (
            [("average", 1, DOWN, None), ("mega", 1, OFF, UP)],
            "No merge is better than the best parent (a.pt); worse: average (\u22123.00 "
            "[\u22125.00, \u22121.00] points); better than the average: mega (+3.00 [+1.00, +5.00] "
            "points)",
        ),
        ([("average", 1, DOWN, None)], "Worse than the best parent (a.pt): average"),
        ([("ensemble", 2, UP, None)], "The ensemble, for 2 forward passes an image, is better"),
        ([("ensemble", 2, OFF, None)], "not distinguishable from the best parent either way"),
        ([(f"m{i}", 1, UP, None) for i in range(4)], "all 4 merges, most m0"),
        (
            [("x", 1, OFF, None), *[(f"m{i}", 1, UP, None) for i in range(4)]],
            "m1 (+3.00 [+1.00, +5.00] points) and 2 more",
        ),
        ([], "Nothing was merged"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_the_intervals_carry(rows, said):
    found = sentence([Compared(*row) for row in rows], "a.pt", 36, 0.101)

    assert said in found
    assert found.endswith("; 36 test images resolve about 10 points.")
