"""The same differences over populations that differ by one thing."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mergesuite.experiment import checks, spec
from mergesuite.judge.study import Study
from mergesuite.judge.trends import trends
from mergesuite.stages.columns import COLUMNS

PAPER = {
    "title": "made up",
    "cite": {"text": "nobody"},
    "data": {"name": "digits"},
    "models": {
        "net": {"build": "resnet8-w8", "seeds": 8},
        "wide": {"build": "resnet8-w16", "seeds": 8},
        "wider": {"build": "resnet8-w24", "seeds": 8},
    },
    "populations": {
        "small": {"model": "net", "take": 2},
        "middle": {"model": "wide", "take": 2},
        "large": {"model": "wider", "take": 2},
    },
    "methods": {
        "best": {"use": "best-parent"},
        "leaky": {"use": "mega", "protocol": "released", "leaky": True,
                  "fitness": {"split": "test"}},
    },
    "trends": {
        "width": {
            "text": "width",
            "populations": ["small", "middle", "large"],
            "lines": {
                "gain": {"text": "leaky gain", "entry": "leaky", "against": "best"},
                "repair": {"text": "new statistics", "entry": "best", "against": "best",
                           "batchnorm": "re-estimate", "against_batchnorm": "keep"},
            },
        }
    },
}  # fmt: skip
BEST = {"small": [0.80, 0.82, 0.81], "large": [0.90, 0.91, 0.92, 0.93]}
MADE_ANEW = {"small": [0.85, 0.86, 0.88], "large": [0.90, 0.92, 0.92, 0.93]}
LEAKY = {"small": [0.84, 0.85, 0.85], "large": [0.91, 0.90, 0.94]}


def paper(**other):
    return spec.Paper.model_validate({**PAPER, **other})


def rows(populations=("small", "large")):
    measured = (
        ("best", "keep", BEST),
        ("best", "re-estimate", MADE_ANEW),
        ("leaky", "keep", LEAKY),
    )
    found = [
        {
            "subject": f"{entry}-{population}", "batchnorm": treatment, "metric": "accuracy",
            "split": "test", "seed": seed, "value": value, "n": 1000,
        }
        for entry, treatment, values in measured
        for population in populations
        for seed, value in enumerate(values[population])
    ]  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def test_differences_are_those_of_pairs_within_a_population():
    table = trends(Study(paper(), rows())).set_index(["line", "population"])

    assert list(table.index) == [
        ("gain", "small"), ("gain", "large"), ("repair", "small"), ("repair", "large"),
    ]  # fmt: skip  # `middle` was not measured
    row = table.loc[("gain", "large")]
    expected = stats.ttest_rel(LEAKY["large"], BEST["large"][:3]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["n"], row["network"], row["leaky"]) == (3, "resnet8-w24", True)


def test_the_change_is_between_populations_that_are_no_pairs():
    table = trends(Study(paper(), rows())).set_index(["line", "population"])
    first, last = (np.subtract(MADE_ANEW[name], BEST[name]).tolist() for name in ("small", "large"))
    expected = stats.ttest_ind(last, first, equal_var=False)

    row = table.loc[("repair", "large")]

    assert row["change"] == pytest.approx(np.mean(last) - np.mean(first))
    interval = expected.confidence_interval(0.95)
    assert (row["change_low"], row["change_high"]) == pytest.approx((interval.low, interval.high))
    assert math.isnan(table.loc[("repair", "small"), "change"])


def test_a_search_that_saw_some_test_images_is_measured_on_these():
    methods = {**PAPER["methods"]}
    methods["leaky"] = {**methods["leaky"], "fitness": {"split": "test", "images": 16}}
    rng = np.random.default_rng(0)
    right = {
        (f"{entry}-{population}", seed, "keep"): np.packbits(rng.random(1000) < 0.5 + 0.1 * better)
        for better, entry in enumerate(("best", "leaky"))
        for population in ("small", "large")
        for seed in range(3)
    }
    shares = {of: np.unpackbits(bits)[:16].mean() for of, bits in right.items()}

    table = trends(Study(paper(methods=methods), rows(), right)).set_index(["line", "population"])

    expected = [
        shares["leaky-large", seed, "keep"] - shares["best-large", seed, "keep"]
        for seed in range(3)
    ]
    assert table.loc[("gain", "large"), "difference"] == pytest.approx(np.mean(expected))
    assert table.loc[("repair", "large"), "n"] == 4  # on all of them


def test_a_population_that_an_entry_is_not_run_on_is_left_out():
    populations = {
        **PAPER["populations"],
        "middle": {"model": "wide", "take": 2, "entries": ["best"]},
    }
    everywhere = ("small", "middle", "large")
    right = {("best-middle", 0, "keep"): np.packbits(np.ones(1000, bool))}
    runs = rows()
    runs = pd.concat(
        [runs, runs[runs["subject"] == "best-small"].replace("best-small", "best-middle")]
    )

    table = trends(Study(paper(populations=populations), runs, right))

    assert list(table.loc[table["line"] == "gain", "population"]) == ["small", "large"]
    assert list(table.loc[table["line"] == "repair", "population"]) == list(everywhere)


def test_one_population_is_no_trend():
    assert trends(Study(paper(), rows(["small"]))).empty


def test_a_name_that_leads_nowhere_is_found():
    width = PAPER["trends"]["width"]
    lines = {"gain": {**width["lines"]["gain"], "entry": "leeky"}}
    ill = paper(trends={"width": {**width, "lines": lines, "populations": ["small", "larg"]}})

    assert checks.problems(ill) == [
        "trends.width.populations: there is no 'larg' (did you mean 'large'?)",
        "trends.width.lines.gain: there is no 'leeky' (did you mean 'leaky'?)",
    ]
