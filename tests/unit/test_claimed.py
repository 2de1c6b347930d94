"""What a paper reports for a claim, and what of it is of interest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergesuite.errors import UserError
from mergesuite.experiment import statements
from mergesuite.judge.claimed import claimed

BASE = {"text": "t", "subject": "a-pair", "against": "b-pair"}


def claim(**change):
    return statements.Claim.model_validate(BASE | change)


def row(name, value, metric="accuracy", unit="fraction"):
    return statements.Reported(
        id=name, table="T", row="", metric=metric, value=value, unit=unit, spread=None,
        spread_kind="none", n=None, source="p. 1", origin="paper", note="",
    )  # fmt: skip


def rows(**values):
    return {name: row(name, value) for name, value in values.items()}


def test_the_subject_is_the_mean_of_its_rows_and_the_best_of_the_others_counts():
    known = rows(x=0.82, y=0.84, a=0.80, b=0.79)
    of = {"reported": ["x", "y"], "reported_against": ["a", "b"]}

    found = claimed("c", claim(**of), known)
    lower = claimed("c", claim(**of, direction="lower", metric="cross_entropy",
                               interest=0.01, because="x"), known)  # fmt: skip

    assert (found.subject, found.against) == pytest.approx((0.83, 0.80))
    assert (found.difference, found.effect) == pytest.approx((0.03, 0.03))
    assert lower.difference == pytest.approx(0.83 - 0.79)
    assert lower.effect is None  # as reported it points against the claim


def test_a_gain_may_be_published_alone():
    known = {"gain": row("gain", 0.52, "accuracy_gain", "percentage points")}
    found = claimed("c", claim(reported=["gain"]), known)
    assert (found.subject, found.against) == (None, None)
    assert found.effect == pytest.approx(0.0052)
    assert found.interest == found.least == pytest.approx(0.0026)
    assert found.because == "half of what is reported"


def test_lower_is_turned_so_that_more_is_better():
    known = {
        "x": row("x", 1.1, "cross_entropy", "nats"),
        "a": row("a", 1.5, "cross_entropy", "nats"),
    }
    of = {"reported": ["x"], "reported_against": ["a"], "metric": "cross_entropy"}
    found = claimed("c", claim(**of, direction="lower"), known)
    assert found.difference == pytest.approx(-0.4)
    assert (found.effect, found.least, found.interest) == pytest.approx((0.4, 0.2, 0.2))


@given(st.floats(1e-4, 0.9))
def test_the_interest_is_never_more_than_half_a_point_nor_half_of_what_is_reported(gain):
    known = rows(x=gain, a=0.0)
    found = claimed("c", claim(reported=["x"], reported_against=["a"]), known)
    assert 0 < found.interest <= min(0.005, gain / 2) * (1 + 1e-9)


@given(st.floats(1.01, 100))
def test_a_factor_of_interest_is_at_most_the_root_of_the_claimed_one(ratio):
    found = claimed("c", claim(ratio=ratio, metric="forward_images", split="none"), {})
    assert found.effect == pytest.approx(math.log(ratio))
    assert 0 < found.interest <= min(math.log(1.5), math.log(ratio) / 2) * (1 + 1e-9)
    assert found.least == pytest.approx(math.log(ratio / 1.5))
    assert found.slack == pytest.approx(math.log(1.5))


def test_without_a_reported_value_half_a_point_is_of_interest():
    found = claimed("c", claim(), {})
    assert (found.interest, found.least, found.effect) == (0.005, None, None)
    assert found.because == "half a point at most"


def test_a_claim_may_ask_for_less_with_a_reason():
    known = rows(x=0.81, a=0.80)
    of = {"reported": ["x"], "reported_against": ["a"], "interest": 0.002, "because": "it is free"}
    found = claimed("c", claim(**of), known)
    assert (found.interest, found.because) == (0.002, "it is free")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interest": 0.002}, "because"),
        ({"interest": 0.006, "because": "x"}, "may be 0.005 at most"),
        ({"interest": 1.6, "because": "x", "ratio": 10, "metric": "seconds"}, "1.5 at most"),
        ({"interest": 0.9, "because": "x", "ratio": 10, "metric": "seconds"}, "above 1"),
        ({"interest": 0.0, "because": "x"}, "greater than 0"),
        ({"margin": 0.01}, "margin"),
        ({"clean": "c-pair"}, "clean"),
    ],
)
def test_an_interest_without_reason_or_too_large_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        claim(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reported": ["x"], "reported_against": ["a"], "interest": 0.004, "because": "b"},
         "claims.c.interest: more than half"),
        ({"metric": "cross_entropy"}, "claims.c: nothing is reported .* how much cross_entropy"),
        ({"reported": ["y"]}, "claims.c.reported: reported.csv has no row 'y'"),
        ({"reported_against": ["aa"]}, "did you mean 'a'"),
    ],
)  # fmt: skip
def test_what_no_verdict_can_be_given_on_is_the_users_error(change, message):
    with pytest.raises(UserError, match=message):
        claimed("c", claim(**change), rows(x=0.806, a=0.80))
