"""What a search reports as its gain, beside what is left of it on test."""

import pandas as pd
import pytest

from mergesuite.experiment import spec
from mergesuite.judge.calibration import calibration
from mergesuite.stages.columns import COLUMNS

HELD_OUT = {"split": "search"}
PAPER = spec.Paper.model_validate(
    {
        "title": "made up",
        "cite": {"text": "nobody"},
        "data": {"name": "digits"},
        "models": {"net": {"build": "resnet8-w8", "seeds": 6}},
        "populations": {"pair": {"model": "net", "take": 2}},
        "methods": {
            "real": {"use": "mega", "fitness": HELD_OUT},
            "null": {"use": "mega", "fitness": {**HELD_OUT, "labels": "permuted"}},
            "same": {"use": "mega", "parents": "copies", "fitness": HELD_OUT},
            "best": {"use": "best-parent"},
        },
    }
)
GAINS = {"real": (0.05, 0.02), "null": (0.03, -0.01), "same": (0.01, 0.0)}
"""Entry -> gain as the search reports it, and on test."""


def rows():
    made = []
    for seed in range(3):
        luck = 0.001 * seed
        for entry, (reported, gain) in {**GAINS, "best": (None, 0.0)}.items():
            common = {"subject": f"{entry}-pair", "batchnorm": "keep", "seed": seed, "n": 1000}
            accuracy = {"metric": "accuracy", "split": "test", "value": 0.8 + luck + gain}
            made.append({**common, **accuracy})
            if reported is not None:
                fitness = {"metric": "fitness_gain", "split": "search", "value": reported}
                made.append({**common, **fitness})
    return pd.DataFrame(made, columns=COLUMNS)


def test_optimism_is_what_is_not_there_on_test():
    table = calibration(PAPER, rows()).set_index("entry")

    assert set(table.index) == set(GAINS)
    for entry, (reported, gain) in GAINS.items():
        row = table.loc[entry]
        assert row["reported"] == pytest.approx(reported)
        assert row["gain"] == pytest.approx(gain)
        assert row["optimism"] == pytest.approx(reported - gain)


def test_an_entry_says_why_it_has_nothing_to_gain():
    table = calibration(PAPER, rows()).set_index("entry")

    assert dict(table["null"]) == {
        "real": "", "null": "permuted labels", "same": "copies of one parent",
    }  # fmt: skip
