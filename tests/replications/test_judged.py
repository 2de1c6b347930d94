"""Every profile of every paper is judged to the end, on made-up measurements of all it runs.

A profile may leave out populations, entries and models that the base names. A night of runs must
not end in a comparison that does not expect that.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mergesuite.core import streams
from mergesuite.experiment import loading
from mergesuite.judge.compare import compare
from mergesuite.judge.controls import controls
from mergesuite.judge.study import Study
from mergesuite.judge.trends import trends
from mergesuite.judge.verdict import NOT_RUN, VERDICTS
from mergesuite.judge.waterfall import waterfall
from mergesuite.report import answers, claims, forest, tables
from mergesuite.report.names import Names
from mergesuite.stages.columns import COLUMNS, COSTS

REPLICATIONS = Path(__file__).parents[2] / "replications"
EVERY = [
    (file.parent.name, profile)
    for file in sorted(REPLICATIONS.glob("[a-z]*/paper.yaml"))
    for profile in loading.profiles(file.parent)
]
IMAGES = 2000


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_a_profile_is_judged_to_the_end(name, profile):
    folder = REPLICATIONS / name
    paper, reported = loading.paper(folder, profile), loading.reported(folder)
    runs, right = measured(paper)
    study, names = Study(paper, runs, right), Names(paper)

    verdicts, beside = compare(paper, reported, runs, right), controls(study)
    followed, steps = trends(study), waterfall(study)

    ran = paper.subjects().keys()
    expected = [c for c, one in paper.claims.items() if {one.subject, one.against} <= ran]
    table = verdicts.set_index("claim")
    assert set(table["verdict"]) <= set(VERDICTS)
    assert [claim for claim in expected if table.loc[claim, "verdict"] == NOT_RUN] == []
    assert set(steps["subject"]) <= ran
    assert set(followed["subject"]) <= ran
    made = {one.name: one for one in tables.make(paper, runs, verdicts, beside)}
    assert set(made) == set(tables.NAMES)
    assert len(claims.told(verdicts, names, made["price"].numbers)) == len(verdicts)
    assert forest.rows(names, verdicts, beside, name, name) or profile == "smoke"
    assert str(answers.find(paper, names, verdicts, beside))


def measured(paper):
    """Rows of runs.csv of all that a profile runs, and which test images each result gets right."""
    rng = np.random.default_rng(streams.derive("judged", paper.title))
    rows, right = [], {}
    for subject, parts in paper.subjects().items():
        entry = paper.entry_of(subject)
        common = {
            "subject": subject, "kind": "merged" if parts else "parent", "n": IMAGES, "members": 1,
            "entry": parts[0] if parts else "", "population": parts[1] if parts else "",
            "method": entry.use if entry else "train", "leaky": bool(entry and entry.leaky),
            "protocol": entry.protocol if entry else "-", "model": paper.model_of(subject),
        }  # fmt: skip
        for seed in paper.seeds(subject):
            of = common | {"seed": seed}
            rows += [
                of | {"batchnorm": "-", "metric": metric, "split": "-", "value": value}
                for metric, value in zip(COSTS, rng.uniform(10, 1000, len(COSTS)), strict=True)
            ]
            for treatment in ("keep", "average", "re-estimate"):
                bits = rng.random(IMAGES) < 0.7
                right[subject, seed, treatment] = np.packbits(bits)
                of_images = of | {"batchnorm": treatment}
                for split in ("fit", "search", "test", *paper.evaluate):
                    share = bits if split == "test" else rng.random(IMAGES) < 0.7
                    loss = {"metric": "cross_entropy", "value": rng.uniform(0.9, 1.1)}
                    rows += [
                        of_images | {"metric": "accuracy", "split": split, "value": share.mean()},
                        of_images | {"split": split} | loss,
                    ]
    words = dict.fromkeys(("subject", "metric", "split", "batchnorm"), "category")
    return pd.DataFrame(rows, columns=COLUMNS).astype(words), right  # as `read_runs` has them
