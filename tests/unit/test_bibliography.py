"""BibTeX of what a page rests on."""

import re

from mergesuite.experiment import config, declared
from mergesuite.report import bibliography
from mergesuite.report.bibliography import CITED

PAPERS = ("cade", "darwinian", "mega", "sa-shade")


def test_papers_come_first_and_every_work_once_under_a_key_of_its_own():
    made = bibliography.entries([config.paper(name, "full") for name in PAPERS])
    keys = re.findall(r"^@misc\{([^,]+),$", made, re.M)

    assert keys[:2] == ["jiang2024", "du2024"]
    assert len(keys) == len(set(keys)) > 10
    assert made.count("MeGA: Merging Multiple") == 1
    assert made.count("\n}") == len(keys)
    assert "eprint = {2406.04607v1}" in made
    assert "author = {Storn and Price}" in made
    assert "author = {Jiang and others}" in made
    assert "  key = {evolving2023},\n" in made
    assert made.count("  author = ") + made.count("  key = ") == len(keys)
    assert made.count("{") == made.count("}")


def test_everything_registered_is_cited_in_the_order_that_is_read():
    cited = {m.cite for m in declared.methods().values()} - {declared.OURS}

    assert [cite for cite in cited if not CITED.match(cite)] == []


def test_words_in_another_order_are_kept_whole_and_escaped():
    paper = config.paper("mega", "full")
    cite = paper.cite.model_copy(update={"text": "A_note & no year"})
    paper = paper.model_copy(update={"cite": cite, "title": "50 % {more}"})

    made = bibliography.entries([paper])

    assert made.startswith("@misc{more,\n")
    assert r"A\_note \& no year" in made
    assert r"title = {{50 \% \{more\}}}" in made
