"""Pinned numbers: what passes, what drifts, how wide a tolerance is."""

import math

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from scipy import stats as scipy_stats

from mergesuite import cli
from mergesuite.errors import UserError
from mergesuite.experiment import spec
from mergesuite.judge import compare, expected
from mergesuite.judge.stats import Prior
from mergesuite.report import wording

PAPER = spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})
VERSIONS = {"torch": "2.15.0", "mergesuite": "0.1.0", "python": "3.11"}


@pytest.fixture
def runs():
    return fixture.runs()


@pytest.fixture
def pinned(runs):
    return expected.accept(PAPER, runs, "laptop", {**VERSIONS, "date": "2026-01-01"})


def statuses(frame):
    return frame["status"].value_counts().to_dict()


def test_the_same_runs_pass(runs, pinned):
    assert statuses(expected.check(PAPER, runs, pinned, "laptop")) == {"ok": len(pinned)}


def test_a_lost_gain_is_a_drift(runs, pinned):
    rows = (runs["subject"] == "mega-pair") & (runs["split"] == "test")
    worse = runs.assign(value=runs["value"].where(~rows, runs["value"] - 0.1))

    found = expected.check(PAPER, worse, pinned, "laptop")

    drifted = found[found["status"] == "drift"]
    assert set(drifted["subject"]) == {"mega-pair"}
    assert set(drifted["metric"]) == {"accuracy", "gain"}
    assert drifted["difference"].tolist() == pytest.approx([-0.1] * len(drifted))


def test_a_missing_seed_is_missing(runs, pinned):
    gone = (runs["subject"] == "grid-pair") & (runs["seed"] == 4)

    found = expected.check(PAPER, runs[~gone], pinned, "laptop")

    assert set(found[found["status"] == "missing"]["subject"]) == {"grid-pair"}


def test_a_new_subject_is_not_a_regression(runs, pinned):
    before = pinned[pinned["subject"] != "mega-pair"]

    found = expected.check(PAPER, runs, before, "laptop")

    assert statuses(found).keys() == {"ok", "not pinned"}


def test_other_profiles_are_not_looked_at(runs, pinned):
    found = expected.check(PAPER, runs.iloc[:0], pinned, "smoke")

    assert found.empty


def test_another_evaluation_count_is_a_drift_by_one(runs, pinned):
    rows = (runs["subject"] == "mega-pair") & (runs["metric"] == "evaluations_asked")
    more = runs.assign(value=runs["value"].where(~rows, runs["value"] + 1))

    found = expected.check(PAPER, more, pinned, "laptop")

    assert statuses(found)["drift"] == 1


def test_tolerance_by_hand():
    row = {"n": 5, "sd": 0.01, "metric": "accuracy", "images": 2000.0}

    found = expected._tolerance(row, Prior(0.02**2, 10.0), 0.001)

    s = math.sqrt((10 * 0.02**2 + 4 * 0.01**2) / 14)
    half = scipy_stats.t.ppf(0.9995, 14) * s * math.sqrt(2 / 5)
    assert found == pytest.approx(half + 1 / 2000)


def test_a_spread_that_happens_to_be_small_keeps_most_of_its_own_degrees(runs):
    priors = expected._priors(expected._summaries(PAPER, runs))

    # Many of these made-up results vary alike, of which the variances alone would say: all are one.
    assert max(prior.df for prior in priors.values()) == expected.MOST


def test_a_single_seed_takes_its_spread_from_its_kind(runs):
    one = runs[(runs["subject"] != "mega-pair") | (runs["seed"] == 0)]

    table = expected.accept(PAPER, one, "smoke", VERSIONS)
    table = table[table["metric"] == "accuracy"].set_index(["subject", "batchnorm", "split"])

    row = table.loc[("mega-pair", "keep", "test")]
    assert row["n"] == 1
    priors = expected._priors(expected._summaries(PAPER, one))
    spread = priors["merged", "accuracy", "test", "keep"]
    numbers = int((table_of(one)["metric"] != "evaluations_asked").sum())
    t = scipy_stats.t.ppf(1 - expected.FALSE_ALARM / numbers / 2, spread.df)
    assert row["tolerance"] == pytest.approx(t * math.sqrt(2 * spread.variance) + 1 / 2000)


def table_of(runs):
    return expected.accept(PAPER, runs, "smoke", VERSIONS)


def test_new_seeds_raise_an_alarm_as_seldom_as_promised(pinned):
    alarms = []
    for seed in range(12):
        again = fixture.runs(np.random.default_rng(1000 + seed))
        found = expected.check(PAPER, again, pinned, "laptop")
        alarms.append(bool((found["status"] == "drift").any()))

    # One alarm in twelve has a chance of 3 % at the promised rate.
    assert not any(alarms)


def test_a_drift_of_twice_the_tolerance_is_found_among_new_seeds(pinned):
    gain = pinned[(pinned["metric"] == "gain") & (pinned["subject"] == "mega-pair")]
    size = 2 * float(gain[gain["split"] == "test"]["tolerance"].max())
    for seed in range(5):
        again = fixture.runs(np.random.default_rng(2000 + seed))
        rows = (again["subject"] == "mega-pair") & (again["metric"] == "accuracy")
        worse = again.assign(value=again["value"].where(~rows, again["value"] - size))

        found = expected.check(PAPER, worse, pinned, "laptop")

        assert "mega-pair" in set(found[found["status"] == "drift"]["subject"])


def test_nothing_pinned_is_an_error(tmp_path):
    with fixture.made(tmp_path) as (folder, results), pytest.raises(UserError, match="accept"):
        expected.check_paper(folder, "laptop", results)


def test_what_cannot_be_published_is_not_pinned_either(tmp_path, capsys):
    with fixture.made(tmp_path) as (folder, results):
        (folder / "README.md").write_text(f"{wording.BEGIN}\n{wording.END}\n")
        compare.write(folder, "laptop", results)  # no tables, no figures
        status = cli.run(["accept", "--paper", folder.name, "--results", str(results)])

    assert status == 2
    assert "not finished" in capsys.readouterr().err
    assert not (folder / "expected.csv").exists()


def test_accepting_one_profile_leaves_the_others(tmp_path):
    shown = {"profile": "full", "subject": "resnet8", "mean": 0.93, "n": 3, "metric": "accuracy"}
    other = pd.DataFrame([shown]).reindex(columns=expected.COLUMNS)
    with fixture.made(tmp_path) as (folder, results):
        other.to_csv(folder / "expected.csv", index=False)
        count = expected.accept_paper(folder, "laptop", results, "2026-01-01", VERSIONS)
        checked = expected.check_paper(folder, "laptop", results)

    table = pd.read_csv(folder / "expected.csv")
    assert list(table.columns) == expected.COLUMNS
    assert table["profile"].value_counts().to_dict() == {"laptop": count, "full": 1}
    assert statuses(checked) == {"ok": count}
