"""What a reader sees: marks, dashes, escapes, n in every table."""

import math
import re

import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.experiment import loading, spec
from mergesuite.judge import compare, controls
from mergesuite.judge.study import Study
from mergesuite.report import controls as report
from mergesuite.report import markup, tables, wording


@pytest.fixture(scope="module")
def written(compared, tmp_path_factory):
    with fixture.copied(compared, tmp_path_factory.mktemp("tables")) as (folder, results):
        made = {table.name: table for table in tables.write(folder, "laptop", results)}
    return made, results / "laptop" / "mega" / "tables"


def test_each_table_is_written_three_times(written):
    _, folder = written

    names = {file.name for file in folder.iterdir()}

    assert names == {f"{n}.{kind}" for n in tables.NAMES for kind in ("csv", "md", "tex")}


@pytest.mark.parametrize("name", [n for n in tables.NAMES if n != "price"])
def test_every_table_shows_n_and_says_what_its_spread_is(written, name):
    table = written[0][name]

    assert "n" in table.shown.columns
    assert any("nterval" in note or "standard deviation" in note for note in table.notes)


@pytest.mark.parametrize("name", ["results", "reported", "leakage", "cost"])
def test_leaky_rows_are_marked_and_the_mark_is_explained(written, name):
    table = written[0][name]

    marked = table.shown[
        table.shown.apply(lambda row: row.str.contains(wording.LEAK).any(), axis=1)
    ]

    assert len(marked) > 0
    assert len(marked) < len(table.shown) or name == "leakage"
    assert wording.LEAK_NOTE in table.notes


def test_the_mark_is_on_leaky_subjects_only(written):
    names = written[0]["results"].shown["subject"]

    leaky = {name.split()[0] for name in names if wording.LEAK in name}

    assert leaky == {
        f"{entry}-{population}" for entry in fixture.LEAKY for population in fixture.POPULATIONS
    }


def test_nothing_is_shown_as_nan(written):
    for file in written[1].glob("*.md"):
        assert "nan" not in file.read_text().lower().split(), file.name


def test_the_numbers_come_back_from_the_csv(written):
    table = pd.read_csv(written[1] / "results.csv").set_index(["subject", "batchnorm"])

    runs = fixture.runs().query("subject == 'mega-pair' and split == 'test'")
    values = runs.query("metric == 'accuracy' and batchnorm == 'keep'")["value"]
    assert table.loc[("mega-pair", "keep"), "test_mean"] == pytest.approx(values.mean())
    assert table.loc[("mega-pair", "keep"), "test_sd"] == pytest.approx(values.std())


def test_the_processor_time_of_all_runs_is_summed_up_by_stage(written):
    runs = fixture.runs()
    spent = runs[runs["metric"] == "cpu_seconds"].groupby("kind")["value"].sum() / 3600
    (note,) = [n for n in written[0]["cost"].notes if n.startswith(tables.IN_ALL)]
    assert f"training {spent['parent']:.2g}, merging {spent['merged']:.2g}." in note
    older = runs[runs["metric"] != "cpu_seconds"]
    paper = spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})
    made = tables.cost(paper, older)
    assert not [n for n in made.notes if n.startswith(tables.IN_ALL)]


def test_one_value_has_no_spread():
    assert wording.spread([0.5]) == "50.00"
    assert wording.spread([]) == wording.NOTHING
    assert wording.interval(0.01, math.nan, math.nan) == "+1.00"
    assert wording.interval(None, None, None) == wording.NOTHING


def test_latex_is_escaped_once():
    assert markup.escape(r"a_b & 5 % \x {y} $") == (r"a\_b \& 5 \% \textbackslash{}x \{y\} \$")


def test_latex_columns_and_rows_fit(written):
    text = (written[1] / "results.tex").read_text()

    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {6}
    assert r"\begin{tabular}{lllrrrr}" in text


def test_a_bar_in_a_cell_does_not_end_a_markdown_cell():
    shown = pd.DataFrame([{"subject": "a|b", "n": "1"}])

    text = markup.markdown(markup.Table("x", "Caption.", shown, shown))

    assert r"a\|b" in text


def test_a_paper_without_any_runs_has_empty_tables_in_words(tmp_path):
    paper = spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})
    runs = fixture.runs().iloc[:0]

    verdicts = compare.compare(paper, _reported(tmp_path), runs)
    made = tables.make(paper, runs, verdicts, controls.controls(Study(paper, runs)))

    texts = [markup.markdown(table) for table in made]
    assert sum("Nothing to show" in text for text in texts) == 6
    assert "not run" in texts[1]


def test_a_claim_has_its_family_its_level_and_what_could_be_seen(written):
    table = written[0]["reported"].shown.set_index("claim")

    assert list(table.columns) == [
        "family", "verdict", "metric", "reported", "measured", "level", "n", "could see",
        "of interest", "pairs needed", "sd of pairs", "by search", "by images",
    ]  # fmt: skip
    gain, loss, untested = (table.loc[k] for k in (f"pair-gain {wording.LEAK}", "loss", "scales"))
    assert (gain["family"], gain["level"], gain["reported"]) == ("primary", "98.3 %", "+1.30")
    assert (loss["family"], loss["level"], loss["of interest"]) == ("secondary", "97.5 %", "0.005")
    assert loss["measured"].startswith("\u22120.014 [")
    assert table.loc["cheap", "could see"].endswith(wording.TIMES)
    assert untested["verdict"] == "not comparable"
    assert set(untested.drop(["family", "verdict"])) == {wording.NOTHING}


def test_a_leak_is_the_twin_and_what_it_adds(written):
    table = written[0]["leakage"].shown

    assert list(table["subject"].unique()) == [f"mega-{p} {wording.LEAK}" for p in ("pair", "deep")]
    row = table.iloc[0]
    parts = ["gain of the twin", "the leak adds", "leaky gain"]
    twin, added, gain = (float(row[k].split()[0].replace("\u2212", "-")) for k in parts)
    assert twin + added == pytest.approx(gain, abs=0.011)


def test_a_best_parent_is_shown_beside_one_that_was_picked_on_test(written):
    table = written[0]["selection"].shown.set_index("subject")

    assert table.loc["best-parent-pair", "more than picked on search"].startswith("+0.40")
    assert table.loc["best-parent-bn-pair", "picked on test"] == wording.NOTHING


def test_controls_stand_beside_the_method_of_the_paper_best_first(written):
    made = written[0]["controls"]
    table = made.shown

    assert set(table["subject"]) == {"mega-clean-deep"}
    assert set(table["BatchNorm"]) == {"re-estimate"}
    means = [float(cell) for cell in table["test"]]
    assert means == sorted(means, reverse=True)
    assert list(table["best"]) == ["best", *[""] * 5]
    assert set(table["level"]) == {"99.2 %"}
    assert "best-parent-on-test-deep" not in set(table["control"])
    assert (
        "mega-clean-deep (BatchNorm re-estimate)" in report.told(written[0]["controls"].numbers)[0]
    )


def test_pairs_that_would_tell_are_counted_or_said_to_be_none():
    assert wording.needed(1234.0, 5) == "1,234"
    assert wording.needed(math.nan, 5) == "no number"
    assert wording.needed(math.nan, 1) == wording.NOTHING


def _reported(folder):
    (folder / "reported.csv").write_text(fixture.REPORTED)
    return loading.reported(folder)


def test_nothing_in_a_cell_is_markdown_html_or_a_marker():
    text = "<script> a <!-- verdicts:end --> ![x](http://a.b) `c` \\| |\n\n# d"
    cell = markup.plain(text)
    assert "\n" not in cell
    assert "<" not in cell
    assert "![" not in cell
    assert re.findall(r"(?<!\\)(?:\\\\)*\|", cell) == []
    assert markup.plain("+0.42 [+0.10, +0.74]") == "+0.42 [+0.10, +0.74]"


def test_no_line_of_a_text_ends_an_argument_of_latex():
    assert markup.escape("a\n\nb\x0b\tc") == "a b c"
