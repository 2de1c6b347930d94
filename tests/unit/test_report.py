"""One page, offline, for readers: valid, escaped, one script of ours, ids that do not collide."""

import base64
import hashlib
import re
import shutil
import webbrowser
from html.parser import HTMLParser

import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite import cli
from mergesuite.judge.verdict import MEANINGS
from mergesuite.report import figures, page

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use", "rect", "circle"}
DRAWN = {"path", "use", "rect", "circle"}


class Page(HTMLParser):
    """Checks nesting, and collects ids, references and tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID or tag in DRAWN:
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


def test_the_page_needs_no_network(made):
    page = Page(made[2])

    assert [r for r in page.references if not r.startswith("#")] == []
    assert "@import" not in made[2]


def test_no_script_runs_but_ours_and_nothing_is_fetched(made):
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', made[2])
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", made[2], re.DOTALL)
    (ours,) = (text for attributes, text in scripts if "json" not in attributes)
    digest = base64.b64encode(hashlib.sha256(ours.encode()).digest()).decode()

    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    assert f"script-src 'sha256-{digest}'" in policy[0]
    assert not re.search(r"<[^>]+\son\w+=", made[2])


def test_ids_are_unique_and_references_lead_somewhere(made):
    page = Page(made[2])

    assert len(page.ids) == len(set(page.ids))
    assert {r.removeprefix("#") for r in page.references} <= set(page.ids)


def test_text_from_a_spec_is_escaped(made):
    assert "<made up>" not in made[2]
    assert "&lt;made up&gt;" in made[2]


def part_of(text, start, end):
    """The page from the place with the id `start` up to that with the id `end`."""
    return text[text.index(f'id="{start}"') : text.index(f'id="{end}"')]


def claim_of(text, name, key="mega"):
    """The row of a claim."""
    return re.search(rf'<tr role="row" id="{key}/{name}".*?</tr>', text, re.DOTALL)[0]


def test_the_first_screen_answers_for_each_paper(made):
    first = part_of(made[2], "glance", "claims")

    cards = re.findall(r'<article class="card".*?</article>', first, re.DOTALL)

    assert len(cards) == 2
    for card in cards:
        assert ">only under leakage</span>" in card
        assert "Only with test images in the search: without them nothing as large as 0.50" in card
        assert "Reported +1.30 points; as published\u2020 +1.81 [+1.64,\u00a0+1.98]," in card
        assert "over the best parent at n = 5 (enough to see " in card
        assert "7 claims: 2 reproduced, 1 direction only, 1 no gain" in card


def test_the_forest_plot_has_every_measured_claim_and_leads_to_it(made):
    wide, narrow = re.findall(r'<svg [^>]*class="(?:wide|narrow)">.*?</svg>', made[2], re.DOTALL)
    ids = {r for r in Page(made[2]).ids if "/" in r and "/table/" not in r and "/figure/" not in r}

    for plot in (wide, narrow):
        targets = re.findall(r'<g data-target="([^"]+)">', plot)
        assert len(targets) == len(set(targets)) == 12
        assert set(targets) <= ids
        assert 'role="img"' in plot


def test_each_claim_has_its_row_with_reason_interval_and_evidence(made):
    row = claim_of(made[2], "pair-gain")

    for said in ("only under leakage", "+1.81 [+1.64, +1.98]", "98.3 % interval, 5 pairs"):
        assert said in row
    assert "The search saw test images; its held-out twin shows no gain." in row
    assert 'title="mega-pair against best-parent-pair"' in row
    assert "MeGA, as published against best parent" in row or "MeGA against best parent" in row


def test_a_claim_says_what_could_have_been_seen_and_what_would_tell(made):
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv").set_index("claim")
    known = verdicts.loc["grid"]

    row = claim_of(made[2], "grid")

    seen = f"{100 * known['detectable']:.2f} points"
    assert f"<dt>could have seen</dt><dd>\u00b1{seen}</dd>" in row
    assert "<dt>of interest from</dt><dd>0.50 points (half a point at most)</dd>" in row
    assert f"<dt>pairs that would tell</dt><dd>{known['pairs_needed']:.0f}</dd>" in row
    loss = claim_of(made[2], "loss")
    assert "0.005 nats (as much as half a point of accuracy here)" in loss


def test_a_leaky_claim_is_marked_and_stands_beside_its_twin(made):
    row = claim_of(made[2], "pair-gain")

    assert page.LEAK in row
    assert "<dt>held-out twin, " in row
    assert "<dd>\u22120.04 [" in row
    assert "<dt>the leak adds</dt><dd>+1.85 [" in row
    table = part_of(made[2], "table-of-claims", "not-run")
    assert table.count("the leak adds") == 2  # one in each of two papers


def test_what_is_not_measured_is_folded_with_the_reason(made):
    rest = part_of(made[2], "not-run", "papers")

    assert rest.count('<tr role="row" id=') == 2
    assert "Merging scales to &lt;twenty&gt; networks." in rest
    assert "Twenty networks would take a day." in rest
    assert "twenty" not in part_of(made[2], "glance", "not-run")


def test_families_and_protocols_can_be_chosen(made):
    table = part_of(made[2], "table-of-claims", "not-run")

    assert table.count('data-family="primary"') == 8
    assert table.count('data-family="secondary"') == 4
    assert {"published", "clean"} <= set(re.findall(r'data-protocol="([^"]+)"', table))


def test_the_best_control_at_equal_cost_is_named_with_its_interval(made):
    first = pd.read_csv(made[1] / "laptop/mega/controls.csv").iloc[0]

    there = made[2].partition("The best control at equal cost</h4>")[2].partition("</ul>")[0]

    assert first["best"] == "network"
    assert there.count("<li>") == 1
    assert "The best control at equal cost is " in there
    assert first["against"] not in there
    assert "99.2 % interval, 5 pairs" in there


def test_every_word_is_explained_in_one_line_and_counted(made):
    words = made[2].partition('<dl class="words"')[2].partition("</dl>")[0]

    for name, meaning in MEANINGS.items():
        assert f">{name}</span></dt><dd><b>" in words
        assert f"&middot; {meaning}</dd>" in words


def test_plain_names_stand_on_the_page_and_ids_on_hover(made):
    table = part_of(made[2], "mega/table/results", "mega/table/controls")

    assert '<span title="average-pair">average of the weights</span>' in table
    assert ">average-pair<" not in table
    assert '<td class="text">keep</td>' in table


def test_what_is_the_same_in_every_row_is_said_once(made):
    assert "In every row: n: 5" in part_of(made[2], "mega/table/selection", "mega/table/cost")


def test_results_of_another_place_stand_beside(made, tmp_path):
    folders, results, _ = made
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(results, elsewhere)

    also = [page.Place("laptop", elsewhere)]
    page.write(folders[:1], "laptop", results, tmp_path / "both.html", also)

    text = (tmp_path / "both.html").read_text()
    both = Page(text)
    assert both.open == []
    assert len(both.ids) == len(set(both.ids))
    assert {r.removeprefix("#") for r in both.references} <= set(both.ids)
    for place in ("laptop in results", "laptop in elsewhere"):
        assert text.count(f'data-place="{place}"') == 7
    cards = re.findall(r'<article class="card".*?</article>', text, re.DOTALL)
    assert len(cards) == 1
    assert cards[0].count("Only with test images") == 2


def test_every_figure_has_a_name_for_screen_readers(made):
    figures_there = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', made[2])

    assert len(figures_there) == 2 * len(figures.NAMES) + 2


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


def test_the_command_opens_the_page_and_names_what_cannot_stand_beside(
    made, tmp_path, monkeypatch, capsys
):
    opened, out = [], tmp_path / "index.html"
    words = ["report", "--results", str(made[1]), "--papers", "mega", "--out", str(out)]
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or len(opened) == 1)

    assert cli.run([*words, "--open"]) == 0
    assert opened == [out.resolve().as_uri()]
    assert cli.run([*words, "--open"]) == 3
    assert "open it yourself" in capsys.readouterr().err
    assert cli.run([*words, "--also", "labtop"]) == 2
    assert "laptop" in capsys.readouterr().err
    assert cli.run([*words, "--also", f"full@{tmp_path}"]) == 2
    assert f"there is no folder {tmp_path / 'full'}" in capsys.readouterr().err


def test_a_paper_without_results_is_on_the_page(made, tmp_path):
    folder = made[0][0]

    page.write([folder], "laptop", tmp_path, tmp_path / "index.html")

    text = (tmp_path / "index.html").read_text()
    assert "No results under this profile yet" in text
    assert Page(text).open == []


def test_a_path_before_the_program_is_left_out_of_commands():
    assert page._short("/a/b/mergesuite merge --seed 1") == "mergesuite merge --seed 1"
