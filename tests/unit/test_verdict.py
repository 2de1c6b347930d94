"""The truth table of docs/verdicts.md."""

from dataclasses import replace
from pathlib import Path

import pytest

from mergesuite.judge import verdict
from mergesuite.judge.verdict import Evidence

FOR = Evidence(n=5, low=0.004, high=0.016, p=0.004, reported=True, equivalent=True)
NOISE = replace(FOR, low=-0.004, high=0.016, p=0.2)
AGAINST = replace(FOR, low=-0.016, high=-0.004)
RATIO = replace(FOR, null=1.0, low=8.0, high=12.0, ratio=10.0)
LEAKY = replace(FOR, leaky=True, protocol="published")
RELEASED = replace(FOR, protocol="released")

TABLE = [
    ("1 missing", replace(FOR, missing=("mega-pair",)), "not run"),
    ("2 zero", replace(RATIO, undefined="a measured value is zero"), "not comparable"),
    ("3 none", replace(FOR, n=0), "not comparable"),
    ("3 one", replace(FOR, n=1), "not comparable"),
    ("3 two", replace(FOR, n=2), "not comparable"),
    ("4 includes zero", NOISE, "within noise"),
    ("4 touches zero", replace(FOR, low=0.0), "within noise"),
    ("4 Holm", replace(FOR, p=0.05), "within noise"),
    ("4 against, Holm", replace(AGAINST, p=0.06), "within noise"),
    ("4 ratio of one", replace(RATIO, low=0.9, high=1.2), "within noise"),
    ("4 before leakage", replace(NOISE, leaky=True, clean="noise"), "within noise"),
    ("5", AGAINST, "contradicted"),
    ("5 reduced", replace(AGAINST, reduced="small"), "contradicted"),
    ("5 ratio", replace(RATIO, low=0.2, high=0.8), "contradicted"),
    ("6", replace(LEAKY, clean="noise"), "only under leakage"),
    ("6 worse", replace(LEAKY, clean="against"), "only under leakage"),
    ("6 before reduced", replace(LEAKY, clean="noise", reduced="small"), "only under leakage"),
    ("7", replace(RELEASED, clean="noise"), "direction only"),
    ("8", replace(LEAKY, clean="unknown"), "direction only"),
    ("9", replace(FOR, reduced="small"), "direction only"),
    ("9 ratio", replace(RATIO, reduced="small"), "direction only"),
    ("10", RATIO, "reproduced"),
    ("10 more", replace(RATIO, low=20.0, high=30.0), "reproduced"),
    ("10 leaky", replace(RATIO, leaky=True, protocol="published"), "reproduced"),
    ("11", replace(RATIO, low=3.0, high=5.0), "direction only"),
    ("12", replace(FOR, reported=False, equivalent=False), "direction only"),
    ("13", FOR, "reproduced"),
    ("13 leaky", replace(LEAKY, clean="in favour"), "reproduced"),
    ("13 released", replace(RELEASED, clean="unknown"), "reproduced"),
    ("14", replace(FOR, equivalent=False), "direction only"),
]


@pytest.mark.parametrize(("evidence", "expected"), [(e, v) for _, e, v in TABLE],
                         ids=[name for name, _, _ in TABLE])  # fmt: skip
def test_truth_table(evidence, expected):
    found = verdict.verdict(evidence)

    assert found.name == expected
    assert found.why


def test_every_verdict_is_in_the_table_and_has_meaning_and_colour():
    assert {v for _, _, v in TABLE} == set(verdict.VERDICTS)
    assert set(verdict.MEANINGS) == set(verdict.COLOURS) == set(verdict.VERDICTS)


def test_the_reason_names_what_is_missing():
    assert "mega-pair" in verdict.verdict(replace(FOR, missing=("mega-pair",))).why


def test_reduced_scale_is_said_where_it_matters():
    assert "reduced" in verdict.verdict(replace(AGAINST, reduced="small")).why
    assert "small" in verdict.verdict(replace(FOR, reduced="small")).why


def test_white_text_is_readable_on_every_colour():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    contrasts = {n: 1.05 / (luminance(c) + 0.05) for n, c in verdict.COLOURS.items()}

    assert min(contrasts.values()) >= 4.5, contrasts


def test_the_documentation_names_every_verdict():
    text = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()

    assert [name for name in verdict.VERDICTS if f"**{name}**" not in text] == []
