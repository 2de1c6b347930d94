"""A gain taken apart: steps on the same replicates whose differences add up to it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mergesuite.experiment import checks, spec
from mergesuite.judge.study import Study
from mergesuite.judge.waterfall import waterfall
from mergesuite.stages.columns import COLUMNS

PAPER = {
    "title": "made up",
    "cite": {"text": "nobody"},
    "data": {"name": "digits"},
    "models": {"net": {"build": "resnet8-w8", "seeds": 12}},
    "populations": {"pair": {"model": "net", "take": 2}},
    "methods": {
        "best": {"use": "best-parent"},
        "best-bn": {"use": "best-parent", "fitness": {"batchnorm": "re-estimate"}},
        "mean": {"use": "uniform-average"},
        "clean": {"use": "mega", "fitness": {"split": "search"}},
        "leaky": {
            "use": "mega",
            "protocol": "released",
            "leaky": True,
            "fitness": {"split": "test"},
        },
    },
    "waterfall": {
        "start": {"text": "the parent", "subject": "best-pair"},
        "bn": {"text": "statistics", "subject": "best-bn-pair", "batchnorm": "re-estimate"},
        "merge": {"text": "merging", "subject": "clean-pair", "batchnorm": "re-estimate"},
        "leak": {"text": "the leak", "subject": "leaky-pair"},
        "average": {"text": "an average", "subject": "mean-pair", "beside": True},
    },
}
TREATED = {name: step.get("batchnorm", "keep") for name, step in PAPER["waterfall"].items()}
ACCURACIES = {
    "start": [0.80, 0.81, 0.79, 0.82],
    "bn": [0.82, 0.82, 0.81, 0.83],
    "merge": [0.815, 0.825, 0.815, 0.835],
    "leak": [0.85, 0.84, 0.86],
    "average": [0.10, 0.12, 0.11, 0.10],
}


def paper(**other):
    return spec.Paper.model_validate({**PAPER, **other})


def rows(without=()):
    found = [
        {
            "subject": PAPER["waterfall"][step]["subject"], "batchnorm": TREATED[step],
            "metric": "accuracy", "split": "test", "seed": seed, "value": value, "n": 1000,
        }
        for step, values in ACCURACIES.items()
        if step not in without
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def test_the_steps_add_up_to_the_whole_gain():
    table = waterfall(Study(paper(), rows())).set_index("step")
    way = table[~table["beside"]]

    assert list(way.index) == ["start", "bn", "merge", "leak"]
    assert way["difference"].sum() == pytest.approx(way.loc["leak", "gain"])
    assert way.loc["leak", "gain"] == pytest.approx((0.85 + 0.84 + 0.86 - 0.80 - 0.81 - 0.79) / 3)
    assert set(way["n"]) == {3}  # of the replicates that every step has
    assert list(way["leaky"]) == [False, False, False, True]


def test_each_difference_has_the_interval_of_its_pairs():
    row = waterfall(Study(paper(), rows())).set_index("step").loc["merge"]

    pairs = [b - a for a, b in zip(ACCURACIES["bn"][:3], ACCURACIES["merge"][:3], strict=True)]
    low, high = stats.t.interval(0.95, 2, pd.Series(pairs).mean(), stats.sem(pairs))
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_what_is_beside_the_way_is_compared_with_the_start():
    row = waterfall(Study(paper(), rows())).set_index("step").loc["average"]

    assert row["after"] == "start"
    assert row["difference"] == row["gain"] < -0.6


def test_a_step_that_was_not_measured_is_passed_over():
    table = waterfall(Study(paper(), rows(without=["bn"]))).set_index("step")

    assert table.loc["merge", "after"] == "start"
    assert table.loc["merge", "difference"] == table.loc["merge", "gain"]


@pytest.mark.parametrize("without", [["start"], ["bn", "merge", "leak"]])
def test_without_a_start_or_a_step_there_is_none(without):
    assert waterfall(Study(paper(), rows(without))).empty


def test_a_search_that_saw_some_test_images_is_measured_on_these():
    methods = {**PAPER["methods"]}
    methods["leaky"] = {**methods["leaky"], "fitness": {"split": "test", "images": 400}}
    rng = np.random.default_rng(1)
    before, leaky = rng.random((3, 1000)) < 0.8, rng.random((3, 1000)) < 0.9
    right = {
        (subject, seed, treatment): np.packbits(bits[seed])
        for subject, treatment, bits in (
            ("clean-pair", "re-estimate", before), ("leaky-pair", "keep", leaky),
        )
        for seed in range(3)
    }  # fmt: skip

    table = waterfall(Study(paper(methods=methods), rows(), right)).set_index("step")

    on_seen = leaky[:, :400].mean() - before[:, :400].mean()
    assert table.loc["leak", "difference"] == pytest.approx(on_seen)
    way = table[~table["beside"]]
    assert way["difference"].sum() == pytest.approx(way.loc["leak", "gain"])


def test_a_step_names_what_there_is():
    step = {"text": "a guess", "subject": "clen-pair"}

    assert checks.problems(paper(waterfall={"guess": step})) == [
        "waterfall.guess: there is no 'clen-pair' (did you mean 'clean-pair'?)"
    ]
