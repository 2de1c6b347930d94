"""The truth table of docs/verdicts.md: each line of it, and which of two lines counts first."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mergesuite.judge import verdict
from mergesuite.judge.verdict import Evidence, Twin

DOCUMENT = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")
NAN = math.nan

# The paper reports a gain of 1 point; half of it counts, half a point is of interest.
FOR = Evidence(
    n=5, low=0.006, high=0.016, interest=0.005, least=0.005, reported=0.01, run_low=-0.005,
    run_high=0.027, needed=9,
)  # fmt: skip
AGAINST = replace(FOR, low=-0.016, high=-0.004)
NONE = replace(FOR, low=-0.003, high=0.004)
WIDE = replace(FOR, low=-0.004, high=0.016)
UNREPORTED = replace(FOR, least=None, reported=None)
HONEST = Twin(low=0.004, high=0.014, excess_low=-0.002, excess_high=0.003)
LEAKY = replace(FOR, leaky=True, twin=HONEST)


def ratio(low, high, claimed, run_low, run_high, near=1.5):
    """Evidence on a claimed factor, as `compare` gives it: all on the log scale."""
    return replace(
        FOR, low=math.log(low), high=math.log(high), interest=math.log(1.5),
        least=math.log(claimed / near), reported=math.log(claimed),
        run_low=math.log(run_low / near), run_high=math.log(run_high * near),
    )  # fmt: skip


def leaky(low, high, excess_low, excess_high, **other):
    return replace(LEAKY, twin=Twin(low, high, excess_low, excess_high), **other)


TABLE = [
    ("1 untestable", replace(FOR, untestable="seconds decide nothing"), "not comparable"),
    ("1 before 2", replace(FOR, untestable="x", missing=("a",)), "not comparable"),
    ("2", replace(FOR, missing=("mega-pair",)), "not run"),
    ("2 before 3", replace(FOR, missing=("a",), undefined="zero"), "not run"),
    ("3 zero", replace(FOR, undefined="a measured value is zero"), "not comparable"),
    ("4 none", replace(FOR, n=0, low=NAN, high=NAN), "not comparable"),
    ("4 one", replace(FOR, n=1, low=NAN, high=NAN), "not comparable"),
    ("4 two", replace(FOR, n=2), "not comparable"),
    ("4 no interval", replace(FOR, low=NAN, high=NAN), "not comparable"),
    ("5", AGAINST, "contradicted"),
    ("5 before leakage", replace(AGAINST, leaky=True), "contradicted"),
    ("5 reduced", replace(AGAINST, reduced="small"), "contradicted"),
    ("6", NONE, "no gain"),
    ("6 touches zero", replace(NONE, low=-0.004, high=0.0), "no gain"),
    ("6 before leakage", replace(NONE, leaky=True), "no gain"),
    ("6 reduced", replace(NONE, reduced="small"), "no gain"),
    ("7", WIDE, "cannot tell yet"),
    ("7 reaches the interest", replace(NONE, high=0.005), "cannot tell yet"),
    ("7 touches zero", replace(FOR, low=0.0), "cannot tell yet"),
    ("7 before leakage", replace(WIDE, leaky=True, twin=HONEST), "cannot tell yet"),
    ("7 before reduced", replace(WIDE, reduced="small"), "cannot tell yet"),
    ("8 no twin", replace(FOR, leaky=True), "cannot tell yet"),
    ("8 twin not measured", leaky(NAN, NAN, NAN, NAN), "cannot tell yet"),
    ("8 twin alone", leaky(0.004, 0.014, NAN, NAN), "cannot tell yet"),
    ("9", leaky(-0.003, 0.004, 0.005, 0.015), "only under leakage"),
    ("9 the twin loses", leaky(-0.02, -0.01, 0.015, 0.03), "only under leakage"),
    ("9 the twin gains little", leaky(0.001, 0.004, 0.002, 0.012), "only under leakage"),
    ("9 before reduced", leaky(-0.003, 0.004, 0.005, 0.015, reduced="s"), "only under leakage"),
    ("10 the twin gains", leaky(0.002, 0.009, 0.001, 0.008), "direction only"),
    ("10 the twin is undecided", leaky(-0.004, 0.009, 0.001, 0.012), "direction only"),
    ("11 both undecided", leaky(-0.004, 0.009, -0.001, 0.012), "cannot tell yet"),
    ("11 no gain, no leak shown", leaky(-0.003, 0.004, -0.001, 0.012), "cannot tell yet"),
    ("12 reduced", replace(FOR, reduced="small"), "direction only"),
    ("12 before smaller", replace(FOR, high=0.004, low=0.003, reduced="s"), "direction only"),
    ("12 the leak is none, reduced", replace(LEAKY, reduced="small"), "direction only"),
    ("13", UNREPORTED, "direction only"),
    ("13 leaky", replace(UNREPORTED, leaky=True, twin=HONEST), "direction only"),
    ("14 below half", replace(FOR, low=0.001, high=0.0049), "smaller than reported"),
    ("15 one run", replace(FOR, run_high=0.0099), "smaller than reported"),
    ("16", FOR, "reproduced"),
    ("16 at half", replace(FOR, low=0.005), "reproduced"),
    ("16 the leak is none", LEAKY, "reproduced"),
    ("17 half is not shown", replace(FOR, low=0.004), "direction only"),
    ("17 more than reported", replace(FOR, low=0.03, run_low=0.02, run_high=0.05),
     "direction only"),
    ("ratio", ratio(8, 12, 10, 6, 16), "reproduced"),
    ("ratio near", ratio(7, 8, 10, 6.8, 8.2), "reproduced"),
    ("ratio, so wide that it says little", ratio(1.05, 40, 10, 0.2, 200), "direction only"),
    ("ratio 5 of 10", ratio(4.7, 5.3, 10, 4.3, 5.8), "smaller than reported"),
    ("ratio 5 of 10, wider", ratio(4, 6.3, 10, 3.2, 7.8), "smaller than reported"),
    ("ratio, one run", ratio(6.2, 6.9, 10, 6.1, 6.5), "smaller than reported"),
    ("ratio of one", ratio(0.9, 1.2, 10, 0.8, 1.3), "no gain"),
    ("ratio undecided", ratio(0.9, 1.6, 10, 0.5, 3), "cannot tell yet"),
    ("ratio below one", ratio(0.2, 0.8, 10, 0.1, 1), "contradicted"),
    ("ratio reduced", replace(ratio(8, 12, 10, 6, 16), reduced="small"), "direction only"),
]  # fmt: skip
IDS = [name for name, _, _ in TABLE]


@pytest.mark.parametrize(("evidence", "expected"), [(e, v) for _, e, v in TABLE], ids=IDS)
def test_truth_table(evidence, expected):
    found = verdict.verdict(evidence)

    assert found.name == expected
    assert found.why


def documented():
    """Number -> word of each line of the table in the document."""
    lines = re.findall(r"^\| (\d+) \|.*\| \*\*([a-z ]+)\*\*", DOCUMENT, re.M)
    return {int(number): word for number, word in lines}


def test_every_line_of_the_document_is_in_the_table_and_says_the_same():
    lines = documented()
    tested = {(int(m[1]), v) for name, _, v in TABLE if (m := re.match(r"(\d+)\b", name))}

    assert list(lines) == list(range(1, len(lines) + 1))
    # A line `N before M` says what N does where both hold.
    assert tested == set(lines.items())


def test_every_verdict_is_in_the_table_and_has_meaning_and_colour():
    assert {v for _, _, v in TABLE} == set(verdict.VERDICTS)
    assert set(verdict.MEANINGS) == set(verdict.COLOURS) == set(verdict.VERDICTS)
    assert set(verdict.DECIDED) < set(verdict.VERDICTS)


@pytest.mark.parametrize("name", verdict.VERDICTS)
def test_the_document_and_the_page_say_the_same_of_every_word(name):
    assert f"| **{name}** | {verdict.MEANINGS[name]} |" in DOCUMENT


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (replace(FOR, missing=("mega-pair",)), "mega-pair"),
        (replace(FOR, missing=("a", "b")), "a nor of b"),
        (replace(FOR, n=1), "1 pair: no interval exists, 3 are needed"),
        (replace(FOR, n=2), "2 pairs, 3 are needed"),
        (replace(AGAINST, reduced="small"), "at reduced scale"),
        (replace(NONE, reduced="small"), "at reduced scale"),
        (replace(FOR, reduced="small nets."), "compared: small nets"),
        (WIDE, "9 pairs would tell, there are 5"),
        (replace(WIDE, needed=None), "no number of pairs would tell"),
        (replace(WIDE, needed=4), "4 pairs tell in four of five studies"),
        (replace(WIDE, remark="4 of 5 pairs"), "; 4 of 5 pairs"),
        (replace(FOR, leaky=True), "twin is missing"),
        (leaky(0.002, 0.009, 0.001, 0.008), "inflated"),
    ],
)  # fmt: skip
def test_the_reason_says_what_a_reader_needs(evidence, words):
    assert words in verdict.verdict(evidence).why


def test_an_inflated_gain_is_never_called_reproduced_nor_smaller():
    found = {
        verdict.verdict(leaky(low, 0.02, excess, 0.03)).name
        for low in (-0.01, 0.0, 0.001, 0.006)
        for excess in (0.001, 0.01)
    }
    assert found == {"direction only"}


def test_white_text_is_readable_on_every_colour():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    contrasts = {n: 1.05 / (luminance(c) + 0.05) for n, c in verdict.COLOURS.items()}

    assert min(contrasts.values()) >= 4.5, contrasts
