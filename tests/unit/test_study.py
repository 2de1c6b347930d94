"""On which test images, and over which pairs, two subjects are compared."""

import numpy as np
import pandas as pd
import pytest

from mergesuite.experiment import spec, statements
from mergesuite.judge.claimed import claimed
from mergesuite.judge.evidence import evidence
from mergesuite.judge.samples import CROSSED, PAIRED, UNPAIRED
from mergesuite.judge.study import Study, measure
from mergesuite.stages.columns import COLUMNS

IMAGES, SEEN = 80, 20
NET = {"build": "resnet8-w8", "seeds": 4}


def paper(**models):
    return spec.Paper.model_validate(
        {
            "title": "made up",
            "cite": {"text": "nobody"},
            "data": {"name": "digits"},
            "models": {
                "source": NET,
                "a": {**NET, "start": "source"},
                "b": {**NET, "start": "source"},
                **models,
            },
            "populations": {"two": {"models": ["a", "b"]}},
            "methods": {
                "leaky": {
                    "use": "mega", "protocol": "released", "leaky": True, "twin": "held-out",
                    "fitness": {"split": "test", "images": SEEN},
                },
                "held-out": {"use": "mega", "protocol": "released"},
                "best": {"use": "best-parent"},
            },
        }
    )  # fmt: skip


def study(made, gains):
    """`gains`: subject -> images right beyond half, of those seen and of the others."""
    rows, hits = [], {}
    for subject, (seen, unseen) in gains.items():
        for seed in range(4):
            right = np.zeros(IMAGES, dtype=bool)
            right[: SEEN // 2 + seen + seed % 2] = True
            right[SEEN : SEEN + (IMAGES - SEEN) // 2 + unseen] = True
            hits[subject, seed, "keep"] = np.packbits(right)
            rows.append(
                {"subject": subject, "seed": seed, "metric": "accuracy", "split": "test"}
                | {"batchnorm": "keep", "value": right.mean(), "n": IMAGES}
            )
    return Study(made, pd.DataFrame(rows, columns=COLUMNS), hits)


def claim(subject, against):
    return statements.Claim(text="it gains", subject=subject, against=against)


def test_a_leaky_search_is_judged_on_the_images_that_it_saw_and_says_so():
    gains = {"leaky-two": (4, 0), "held-out-two": (1, 1), "best-two": (0, 0)}
    asked = claim("leaky-two", "best-two")
    there = study(paper(), gains)

    found = measure(there, asked, 0.95)

    assert found.main.effect.mean == pytest.approx(4 / SEEN)
    assert found.twin.effect.mean == pytest.approx(1 / SEEN)
    assert found.excess.effect.mean == pytest.approx(3 / SEEN)
    known = evidence(there, asked, claimed("it", asked, {}), found, 0.95)
    assert f"the {SEEN} test images that the search saw" in known.remark


def test_a_search_that_is_not_leaky_is_judged_on_all_images():
    found = measure(
        study(paper(), {"held-out-two": (1, 1), "best-two": (0, 0)}),
        claim("held-out-two", "best-two"), 0.95,
    )  # fmt: skip

    assert found.main.effect.mean == pytest.approx(2 / IMAGES)
    assert found.main.spread_kind == CROSSED


def test_a_result_is_paired_with_the_net_that_its_parents_come_from():
    gains = {"held-out-two": (1, 1), "source": (0, 0)}

    found = measure(study(paper(), gains), claim("held-out-two", "source"), 0.95)

    assert found.main.spread_kind == CROSSED
    other = paper(b={**NET})
    found = measure(study(other, gains), claim("held-out-two", "source"), 0.95)
    assert found.main.spread_kind == UNPAIRED


def test_images_of_another_data_set_are_not_the_same_images():
    made = paper(source={**NET, "data": {"name": "digits5"}})

    found = measure(study(made, {"a": (1, 1), "source": (0, 0)}), claim("a", "source"), 0.95)

    assert found.main.spread_kind == PAIRED
