"""What the first screen says of a paper: a phrase per verdict, and none that says too much."""

import math
import re

import pandas as pd
import pytest
import report_fixture as fixture
from hypothesis import given, settings
from hypothesis import strategies as st

from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import compare, controls
from mergesuite.judge.verdict import MEANINGS, Evidence, Twin, verdict
from mergesuite.report import answers
from mergesuite.report.names import Names

ROW = {
    "effect": "difference", "metric": "accuracy", "direction": "higher", "leaky": False,
    "interest": 0.005, "low": 0.01, "high": 0.03, "why": "because",
}  # fmt: skip
PHRASES = [
    ("reproduced", {}, "Yes: a gain, at least half of the reported one."),
    ("smaller than reported", {}, "In part: a gain, but less than reported."),
    ("direction only", {},
     "In part: a gain at this scale; its size is not shown to be the reported one."),
    ("direction only", {"leaky": True, "why": "inflated by leakage: more than its twin"},
     "In part: a gain at this scale, inflated by test images in the search."),
    ("no gain", {"low": -0.01, "high": 0.004},
     "No: nothing as large as 0.50 points at this scale."),
    ("contradicted", {"low": -0.03, "high": -0.01199},
     "No: worse than the best parent, by 1.19 points or more at this scale."),
    ("only under leakage", {"leaky": True},
     "Only with test images in the search: without them nothing as large as 0.50 points."),
    ("cannot tell yet", {"low": -0.01},
     "Cannot tell yet: nothing and a gain of 0.50 points are both possible."),
    ("cannot tell yet", {"leaky": True},
     "Cannot tell yet: it may all be the test images that the search saw."),
    ("not comparable", {"why": "2 pairs, 3 are needed"},
     "Not comparable: 2 pairs, 3 are needed."),
    ("not run", {"low": math.nan, "high": math.nan}, "Not measured here."),
]  # fmt: skip


@pytest.mark.parametrize(("word", "known", "phrase"), PHRASES, ids=lambda value: str(value)[:24])
def test_every_verdict_has_its_phrase(word, known, phrase):
    assert answers.answer({**ROW, **known, "verdict": word}, True, "the best parent") == phrase


def test_no_verdict_is_without_one():
    assert {word for word, _, _ in PHRASES} == set(MEANINGS)


def test_what_is_no_gain_is_not_called_one():
    loss = {**ROW, "metric": "cross_entropy", "direction": "lower", "interest": 0.005}
    factor = {**ROW, "effect": "ratio", "metric": "forward_images", "interest": 1.5}

    against = {"verdict": "contradicted", "low": 0.0112, "high": 0.03}
    assert "the other way round, by 0.011 nats" in answers.answer({**loss, **against}, False, "x")
    against = {"verdict": "contradicted", "low": 0.2, "high": 0.7}
    assert "by a factor of 1.42\u00d7 or more" in answers.answer({**factor, **against}, False, "x")
    assert "an effect as claimed" in answers.answer({**loss, "verdict": "reproduced"}, False, "x")
    two_thirds = answers.answer({**factor, "verdict": "reproduced"}, False, "x")
    assert "at least two thirds of the reported one" in two_thirds


ends = st.floats(-0.05, 0.05, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(
    interval=st.tuples(ends, ends).map(sorted),
    twin=st.tuples(ends, ends).map(sorted),
    excess=st.tuples(ends, ends).map(sorted),
    interest=st.floats(0.0001, 0.005),
    leaky=st.booleans(),
)
def test_no_sentence_says_more_than_the_interval(interval, twin, excess, interest, leaky):
    low, high = interval
    evidence = Evidence(
        n=8, low=low, high=high, interest=interest, leaky=leaky, twin=Twin(*twin, *excess)
    )
    found = verdict(evidence)
    row = ROW | {"low": low, "high": high, "interest": interest, "leaky": leaky}

    said = answers.answer(row | {"verdict": found.name, "why": found.why}, False, "it")

    numbers = [float(text) / 100 for text in re.findall(r"(\d+\.\d+) points", said)]
    if "worse than it" in said:
        assert high <= -numbers[0] + 1e-10
    if said.startswith("No: nothing as large as"):
        assert high < numbers[0] + 1e-10
    if said.startswith("Only with test images"):
        assert leaky
        assert twin[1] < numbers[0] + 1e-10
    if "both possible" in said:
        assert low <= 0
        assert high >= numbers[0] - 1e-10
    if said.startswith(("Yes", "In part")):
        assert low > 0


@pytest.fixture(scope="module")
def judged(compared, tmp_path_factory):
    with fixture.copied(compared, tmp_path_factory.mktemp("answers")) as (_, results):
        jobs, folder = Jobs("mega", "laptop", str(results)), results / "laptop/mega"
        yield jobs.paper, compare.read(folder), controls.read(folder)


def named(paper):
    return Names(paper, [claim.subject for claim in paper.claims.values()])


def test_a_gain_over_a_best_parent_answers_and_a_clean_one_before_a_leaky_one(judged):
    paper, verdicts, beside = judged
    clean = verdicts[verdicts["claim"] == "pair-gain"].assign(
        claim="clean", subject="mega-clean-pair", leaky=False, verdict="no gain"
    )

    leaky = answers.find(paper, named(paper), verdicts, beside)
    both = answers.find(paper, named(paper), pd.concat([verdicts, clean]), beside)

    assert (leaky.claim, leaky.verdict) == ("pair-gain", "only under leakage")
    assert (both.claim, both.verdict) == ("clean", "no gain")
    assert "; clean +1.81 [" in both.numbers


def test_nothing_measured_is_said(judged):
    paper, verdicts, beside = judged
    empty = verdicts.assign(low=math.nan, high=math.nan)

    found = answers.find(paper, named(paper), empty, beside)

    assert (found.claim, found.verdict) == ("", "not run")
    assert str(found) == "No claim is measured here yet."


CONTROL = {
    "subject": "mega-clean-pair", "batchnorm": "re-estimate", "against": "average-pair",
    "method": "uniform-average", "members": 1, "difference": -0.02, "low": -0.03, "high": -0.01,
    "n": 5, "cost": 0.0,
}  # fmt: skip


def free(judged, *rows):
    paper, verdicts, _ = judged
    claim = verdicts.iloc[0].to_dict() | {k: CONTROL[k] for k in ("subject", "batchnorm")}
    found = answers.free_controls(pd.DataFrame([CONTROL | row for row in rows]), claim)
    return answers._free(named(paper), found)


def test_who_is_ahead_for_free_is_said_with_its_interval(judged):
    assert free(judged, {}) == "For free: average of the weights ahead by 2.00 [1.00, 3.00]."
    behind = {"difference": 0.02, "low": 0.01, "high": 0.03}
    assert free(judged, behind).endswith("behind by 2.00 [1.00, 3.00].")
    both = {"difference": 0.001, "low": -0.01, "high": 0.012}
    assert free(judged, both).endswith("weights undecided, \u22120.10 [\u22121.20, +1.00].")


@pytest.mark.parametrize("other", [{"split": "contrast-3"}, {"metric": "cross_entropy"}])
def test_controls_are_measured_on_test_and_stand_beside_nothing_else(judged, other):
    claim = judged[1].iloc[0].to_dict() | {k: CONTROL[k] for k in ("subject", "batchnorm")}

    assert len(answers.free_controls(pd.DataFrame([CONTROL]), claim)) == 1
    assert answers.free_controls(pd.DataFrame([CONTROL]), claim | other) == []


def test_one_that_is_shown_to_be_ahead_goes_before_one_that_may_be(judged):
    wide = {"against": "mean-parent-pair", "difference": -0.05, "low": -0.12, "high": 0.02}

    assert free(judged, wide, {}) == "For free: average of the weights ahead by 2.00 [1.00, 3.00]."


def test_what_costs_is_not_free_and_an_ensemble_stands_apart(judged):
    dear = {"against": "grid-pair", "method": "interpolation-grid", "difference": -0.9, "cost": 0.2}
    best = {"against": "best-parent-pair", "method": "best-parent", "difference": -0.9}
    unclear = {"against": "mean-parent-pair", "difference": -0.9, "low": math.nan}
    several = {"against": "ens-pair", "method": "ensemble", "members": 4}

    said = free(judged, dear, best, unclear, {}, several)

    assert said.startswith("For free: average of the weights ahead by 2.00 [1.00, 3.00]; ensemble")
    assert said.endswith("ensemble of 4 ahead by 2.00 [1.00, 3.00].")
    assert free(judged, dear, best) == ""
