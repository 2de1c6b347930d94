"""One page, offline, for readers: valid, escaped, no script, ids that do not collide."""

import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.judge.verdict import MEANINGS
from mergesuite.report import figures, page

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use"}


class Page(HTMLParser):
    """Checks nesting, and collects ids, references and tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID or tag in ("path", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def _note(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.references.append(value)
            self.references += re.findall(r"url\((.*?)\)", value or "")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory):
    with fixture.copied(drawn, tmp_path_factory.mktemp("report")) as (folder, results):
        folders = [folder, folder.with_name("other")]
        shutil.copytree(folder, folders[1])
        shutil.copytree(results / "laptop" / "mega", results / "laptop" / "other")
        out = results / "laptop" / "report" / "index.html"
        page.write(folders, "laptop", results, out)
        yield folders, results, out.read_text()


def test_tags_are_nested_and_headings_skip_no_level(made):
    page = Page(made[2])

    assert page.open == []
    assert page.headings[0] == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))


def test_the_page_needs_no_network_and_no_script(made):
    page = Page(made[2])

    assert "script" not in page.tags
    assert [r for r in page.references if not r.startswith("#")] == []
    assert "@import" not in made[2]


def test_ids_are_unique_and_references_lead_somewhere(made):
    page = Page(made[2])

    assert len(page.ids) == len(set(page.ids))
    assert {r.removeprefix("#") for r in page.references} <= set(page.ids)


def test_text_from_a_spec_is_escaped(made):
    assert "<made up>" not in made[2]
    assert "&lt;made up&gt;" in made[2]


def test_verdicts_come_first_with_reason_and_interval(made):
    text = made[2]

    start = text.index('id="verdicts"')
    first = text[start : text.index("<section")]
    for word in ("only under leakage", "reproduced", "no gain", "+1.81 [+1.64, +1.98]"):
        assert word in first
    assert "98.3 % interval, 5 pairs" in first


def claims_of(text, heading):
    """The part of the verdicts below a heading of a family."""
    first = text[text.index('id="verdicts"') : text.index("<section")]
    return re.split("<h[34]", first.partition(heading)[2])[0]


def test_a_claim_says_what_could_have_been_seen_and_what_would_tell(made):
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv").set_index("claim")
    row = verdicts.loc["grid"]

    ours = claims_of(made[2], "Our own questions")

    assert f"could have seen <b>±{100 * row['detectable']:.2f}</b> points" in ours
    assert "of interest from <b>0.50</b> points (half a point at most)" in ours
    assert f"pairs that would tell: <b>{row['pairs_needed']:.0f}</b>" in ours
    assert "of interest from <b>0.005</b> nats (as much as half a point of accuracy here)" in ours


def test_a_leaky_claim_stands_beside_its_twin(made):
    theirs = claims_of(made[2], "What the paper claims")

    assert "held-out twin mega-held-out-pair <b>\u22120.04 [" in theirs
    assert "the leak adds <b>+1.85 [" in theirs
    assert theirs.count("the leak adds") == 1


def test_families_and_what_is_not_tested_have_headings_of_their_own(made):
    theirs = claims_of(made[2], "What the paper claims")
    ours = claims_of(made[2], "Our own questions")
    left = claims_of(made[2], "is not tested here")

    assert theirs.count("<li>") == 4
    assert ours.count("<li>") == 2
    assert "Merging scales to &lt;twenty&gt; networks." in left
    assert "Twenty networks would take a day." in left
    assert "twenty" not in theirs + ours


def test_the_best_control_at_equal_cost_is_named_with_its_interval(made):
    first = pd.read_csv(made[1] / "laptop/mega/controls.csv").iloc[0]

    there = claims_of(made[2], "The best control at equal cost")

    assert first["best"] == "network"
    assert there.count("<li>") == 1
    assert f"The best control at equal cost is {first['against']}: mega-clean-deep" in there
    assert "99.2 % interval, 5 pairs" in there


def test_every_word_is_explained_in_one_line_and_counted(made):
    start = made[2].index('id="verdicts"')
    words = made[2][start : made[2].index("</dl>", start)]

    for name, meaning in MEANINGS.items():
        assert f">{name}</span></dt><dd><b>" in words
        assert f"&middot; {meaning}</dd>" in words


def test_every_figure_has_a_name_for_screen_readers(made):
    figures_there = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', made[2])

    assert len(figures_there) == 2 * len(figures.NAMES)


def test_every_table_head_has_a_scope(made):
    heads = re.findall(r"<th\b[^>]*>", made[2])

    assert heads
    assert [head for head in heads if "scope=" not in head] == []


def test_commands_and_environment_are_named(made):
    assert "mergesuite merge --method mega" in made[2]
    assert "2.15.0" in made[2]


def test_the_same_files_make_the_same_page(made, tmp_path):
    folders, results, text = made

    page.write(folders, "laptop", results, tmp_path / "again.html")

    assert (tmp_path / "again.html").read_text() == text


def test_a_paper_without_results_is_on_the_page(made, tmp_path):
    folder = made[0][0]

    page.write([folder], "laptop", tmp_path, tmp_path / "index.html")

    text = (tmp_path / "index.html").read_text()
    assert "No results under this profile yet" in text
    assert Page(text).open == []


def test_a_path_before_the_program_is_left_out_of_commands():
    assert page._short("/a/b/mergesuite merge --seed 1") == "mergesuite merge --seed 1"
