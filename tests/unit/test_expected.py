"""Pinned numbers: what passes, what drifts, how wide a tolerance is."""

import math

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from scipy import stats as scipy_stats

from mergesuite.judge import expected

VERSIONS = {"torch": "2.15.0", "mergesuite": "0.1.0", "python": "3.11"}


@pytest.fixture
def runs():
    return fixture.runs()


@pytest.fixture
def pinned(runs):
    return expected.accept(runs, "laptop", {**VERSIONS, "date": "2026-01-01"})


def statuses(frame):
    return frame["status"].value_counts().to_dict()


def test_the_same_runs_pass(runs, pinned):
    assert statuses(expected.check(runs, pinned, "laptop")) == {"ok": len(pinned)}


def test_a_lost_gain_is_a_drift(runs, pinned):
    rows = (runs["subject"] == "mega-pair") & (runs["split"] == "test")
    worse = runs.assign(value=runs["value"].where(~rows, runs["value"] - 0.1))

    found = expected.check(worse, pinned, "laptop")

    drifted = found[found["status"] == "drift"]
    assert set(drifted["subject"]) == {"mega-pair"}
    assert drifted["difference"].tolist() == pytest.approx([-0.1, -0.1])


def test_a_missing_seed_is_missing(runs, pinned):
    gone = (runs["subject"] == "grid-pair") & (runs["seed"] == 4)

    found = expected.check(runs[~gone], pinned, "laptop")

    assert set(found[found["status"] == "missing"]["subject"]) == {"grid-pair"}


def test_a_new_subject_is_not_a_regression(runs, pinned):
    before = pinned[pinned["subject"] != "mega-pair"]

    found = expected.check(runs, before, "laptop")

    assert statuses(found).keys() == {"ok", "not pinned"}


def test_other_profiles_are_not_looked_at(runs, pinned):
    found = expected.check(runs.iloc[:0], pinned, "smoke")

    assert found.empty


def test_another_evaluation_count_is_a_drift_by_one(runs, pinned):
    rows = (runs["subject"] == "mega-pair") & (runs["metric"] == "evaluations_asked")
    more = runs.assign(value=runs["value"].where(~rows, runs["value"] + 1))

    found = expected.check(more, pinned, "laptop")

    assert statuses(found)["drift"] == 1


def test_tolerance_by_hand():
    row = {"n": 5, "sd": 0.01, "metric": "accuracy", "images": 2000.0}

    found = expected._tolerance(row, 0.02**2, 0.001)

    s = math.sqrt((10 * 0.02**2 + 4 * 0.01**2) / 14)
    half = scipy_stats.t.ppf(0.9995, 14) * s * math.sqrt(2 / 5)
    assert found == pytest.approx(half + 1 / 2000)


def test_a_single_seed_takes_its_spread_from_its_kind(runs):
    one = runs[(runs["subject"] != "mega-pair") | (runs["seed"] == 0)]

    table = expected.accept(one, "smoke", VERSIONS).set_index(["subject", "batchnorm", "split"])

    row = table.loc[("mega-pair", "keep", "test")]
    assert row["n"] == 1
    assert 0 < row["tolerance"] < 0.2


def test_new_seeds_stay_within_tolerance_about_as_often_as_promised(pinned):
    alarms = []
    for seed in range(30):
        again = fixture.runs(np.random.default_rng(1000 + seed))
        found = expected.check(again, pinned, "laptop")
        alarms.append(bool((found["status"] == "drift").any()))

    assert np.mean(alarms) <= 0.2


def test_accepting_one_profile_leaves_the_others(tmp_path):
    shown = {"profile": "full", "subject": "resnet8", "mean": 0.93, "metric": "accuracy"}
    other = pd.DataFrame([shown]).reindex(columns=expected.COLUMNS)
    with fixture.made(tmp_path) as (folder, results):
        other.to_csv(folder / "expected.csv", index=False)
        count = expected.accept_paper(folder, "laptop", results, "2026-01-01", VERSIONS)
        checked = expected.check_paper(folder, "laptop", results)

    table = pd.read_csv(folder / "expected.csv")
    assert list(table.columns) == expected.COLUMNS
    assert table["profile"].value_counts().to_dict() == {"laptop": count, "full": 1}
    assert statuses(checked) == {"ok": count}
