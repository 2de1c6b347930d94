"""A figure says the same on our page and in the report of Snakemake."""

import re
from pathlib import Path

import pytest

from mergesuite.report import figures
from mergesuite.report.captions import ALTERNATIVES, CAPTIONS

WORKFLOW = Path(__file__).parents[2] / "workflow"


def test_captions_and_alternatives_cover_the_figures():
    assert set(ALTERNATIVES) == set(figures.NAMES)
    assert set(CAPTIONS) == {*figures.NAMES, "verdicts", "tables"}


@pytest.mark.parametrize("name", CAPTIONS)
def test_the_workflow_has_the_same_text(name):
    text = (WORKFLOW / "report" / f"{name}.rst").read_text(encoding="utf-8")

    assert text.split() == CAPTIONS[name].split()


def test_no_caption_is_left_over():
    assert {file.stem for file in (WORKFLOW / "report").glob("*.rst")} == set(CAPTIONS)


def test_every_caption_that_a_rule_names_is_there():
    rules = "".join(file.read_text(encoding="utf-8") for file in WORKFLOW.glob("rules/*.smk"))

    written = re.findall(r"report/([^/\s]+)\.rst", rules)
    named = {n for name in written for n in (figures.NAMES if name == "{figure}" else [name])}

    assert named
    assert named <= set(CAPTIONS)
