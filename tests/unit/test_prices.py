"""What would decide a claim that cannot be told yet, and what that costs."""

import math

import pandas as pd
import pytest
from scipy import stats

from mergesuite.experiment import spec
from mergesuite.judge import power, prices
from mergesuite.report import claims, markup
from mergesuite.report.wording import NOTHING

PAPER = {
    "title": "made up",
    "cite": {"text": "nobody"},
    "data": {"name": "digits"},
    "models": {
        "pretrained": {"build": "resnet8-w8", "seeds": 4},
        "shared": {"build": "resnet8-w8", "seeds": 1},
        "net": {"build": "resnet8-w8", "seeds": 8},
        "left": {"build": "resnet8-w8", "seeds": 4, "start": "pretrained"},
        "right": {"build": "resnet8-w8", "seeds": 4, "start": "pretrained"},
        "tuned": {"build": "resnet8-w8", "seeds": 8, "start": "shared"},
    },
    "populations": {
        "pair": {"model": "net", "take": 2},
        "siblings": {"models": ["left", "right"]},
        "late": {"model": "net", "epochs": 3},
        "grown": {"model": "tuned", "take": 2},
        "of-merges": {"models": ["mega-pair", "mega-siblings"]},
    },
    "methods": {
        "best": {"use": "best-parent"},
        "mega": {"use": "mega", "searches": 3},
        "leaky": {"use": "mega", "protocol": "released", "leaky": True, "twin": "mega",
                  "fitness": {"split": "test", "images": 200}},
    },
}  # fmt: skip
SPENT = {
    "pretrained": 1000.0, "shared": 5000.0, "net": 100.0, "left": 10.0, "right": 20.0,
    "tuned": 30.0, "best-pair": 1.0, "mega-pair": 7.0, "mega-siblings": 9.0, "leaky-pair": 8.0,
}  # fmt: skip


@pytest.fixture(name="paper")
def made():
    return spec.Paper.model_validate(PAPER)


@pytest.mark.parametrize(
    ("population", "parents"),
    [
        ("pair", 2 * 100),
        ("siblings", 10 + 20 + 1000),  # both start at the same seed of `pretrained`
        ("late", 100),  # three epochs of one training
        ("grown", 2 * 30),  # the only `shared` is trained once for all
        ("of-merges", 7 + 9 + 2 * 100 + 10 + 20 + 1000),
    ],
)
def test_parents_are_what_one_more_replicate_trains(paper, population, parents):
    found = prices.costs(paper, SPENT, f"mega-{population}", f"best-{population}")

    assert found.parents == parents
    assert found.search == SPENT.get(f"mega-{population}", 0) + SPENT.get(f"best-{population}", 0)


def test_networks_that_are_compared_with_are_trained_once(paper):
    assert prices.costs(paper, SPENT, "mega-pair", "net") == prices.Costs(200, 7)


def test_a_study_is_priced_whole_with_the_twin_and_all_searches(paper):
    verdicts = rows(
        {"claim": "plain", "subject": "mega-pair", "pairs_needed": 12.0},
        {"claim": "leak", "subject": "leaky-pair", "twin": "mega-pair", "pairs_needed": 5.0},
        {"claim": "decided", "subject": "mega-pair", "verdict": "no gain"},
        {"claim": "one pair", "subject": "mega-pair", "n": 1},
    )

    table = prices.prices(paper, verdicts, runs()).set_index("claim")

    assert list(table.index) == ["plain", "leak"]
    assert table.loc["plain", "core_hours"] == pytest.approx(12 * (200 + 3 * (7 + 1)) / 3600)
    assert table.loc["leak", "core_hours"] == pytest.approx(5 * (200 + 8 + 1 + 7) / 3600)
    assert table["images_needed"].isna().all()


def test_where_no_number_of_pairs_is_enough_more_images_are(paper):
    verdicts = rows(
        {"claim": "all", "subject": "mega-pair", "se_images": 0.002, "interest": 0.001},
        {"claim": "seen", "subject": "leaky-pair", "se_images": 0.002, "interest": 0.001},
    )

    table = prices.prices(paper, verdicts, runs()).set_index("claim")

    assert list(table["images"]) == [5000, 200]  # a leak is measured on what the search saw
    quantiles = stats.norm.ppf(0.99) + stats.norm.ppf(0.8)
    expected = [math.ceil(n * (2 * quantiles) ** 2) for n in (5000, 200)]
    assert list(table["images_needed"]) == expected
    assert table["core_hours"].isna().all()


def test_images_that_are_there_are_not_asked_for(paper):
    verdicts = rows({"claim": "c", "subject": "mega-pair", "se_images": 0.0001})

    assert prices.prices(paper, verdicts, runs())["images_needed"].isna().all()


@pytest.mark.parametrize("level", [0.95, 0.992])
def test_as_many_images_are_enough_for_many_pairs_and_fewer_are_not(level):
    se, images, effect = 0.003, 2000, 0.004
    needed = power.images_needed(effect, se, images, level)

    def shown(size):
        fixed = se**2 * images / size
        return power.pairs_needed(effect, 0.01**2, fixed, level) is not None

    assert shown(1.02 * needed)
    assert not shown(0.98 * needed)


def test_what_is_not_about_images_needs_none():
    assert math.isnan(power.images_needed(0.01, math.nan, 100, 0.95))
    assert math.isnan(power.images_needed(math.nan, 0.01, 100, 0.95))


def test_a_reader_sees_pairs_hours_and_images(paper):
    verdicts = rows(
        {"claim": "plain", "subject": "mega-pair", "pairs_needed": 1200.0},
        {"claim": "leak", "subject": "leaky-pair", "leaky": True, "se_images": 0.002},
    )

    table = claims.undecided(prices.prices(paper, verdicts, runs())).shown

    assert table.to_numpy().tolist() == [
        ["plain", "primary", "6", "1,200", "75", NOTHING],
        ["leak †", "primary", "6", "no number", NOTHING, "more than 320, there are 200"],
    ]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"core_hours": 1.234, "images_needed": math.nan}, "1,200 (1.2 h)"),
        ({"core_hours": math.nan, "images_needed": math.nan}, "1,200"),
        (None, "1,200"),
    ],
)
def test_pairs_have_their_price_beside_them(known, said):
    assert claims.would_tell({"pairs_needed": 1200.0, "n": 6}, known) == said


def test_nothing_undecided_is_said_in_words(paper):
    table = claims.undecided(prices.prices(paper, rows(), runs()))

    assert "is decided" in markup.markdown(table)


def rows(*given):
    """Rows of verdicts.csv."""
    usual = {
        "family": "primary", "verdict": "cannot tell yet", "against": "best-pair",
        "metric": "accuracy", "split": "test", "interest": 0.005, "level": 0.98, "n": 6,
        "pairs_needed": math.nan, "se_images": math.nan, "twin": math.nan, "leaky": False,
    }  # fmt: skip
    columns = ["claim", "subject", *usual]
    return pd.DataFrame([usual | one for one in given], columns=columns)


def runs():
    """What `SPENT` says as runs.csv, with test accuracies of 5,000 images."""
    spent = [
        {"subject": name, "metric": "cpu_seconds", "split": "-", "value": value, "n": 1}
        for name, value in SPENT.items()
    ]
    measured = [
        {"subject": name, "metric": "accuracy", "split": "test", "value": 0.5, "n": 5000}
        for name in ("mega-pair", "leaky-pair")
    ]
    return pd.DataFrame(spent + measured)
