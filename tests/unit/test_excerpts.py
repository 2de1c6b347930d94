"""Tables and figures as a paper prints them; LaTeX compiles them, where there is one."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.experiment import spec
from mergesuite.report import canvas, figures, tables, wording
from mergesuite.report.excerpts import EXCERPTS, MOST


@pytest.fixture(scope="module")
def printed(compared, tmp_path_factory):
    """The folder of excerpts, that of the paper, and the results."""
    with fixture.copied(compared, tmp_path_factory.mktemp("printed")) as (folder, results):
        yield tables.write_for_paper(folder, "laptop", results), folder, results


def texts(printed):
    return {file.stem: file.read_text() for file in printed[0].glob("*.tex")}


def rows(text):
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [line for line in body.splitlines() if line.endswith(r"\\")]


def test_each_table_has_ten_rows_at_most_and_a_label_of_its_own(printed):
    found = texts(printed)

    assert {name.split("-")[1] for name in found} == {
        "results", "reported", "controls", "leakage", "cost",
    }  # fmt: skip
    for name, text in found.items():
        assert 1 <= len(rows(text)) <= MOST
        assert re.findall(r"\\label\{(.*)\}", text) == [f"tab:{name}"]
        assert name.startswith("mega-")


def test_the_parts_hold_each_subject_once_as_it_was_searched(printed):
    parts = [text for name, text in texts(printed).items() if name.startswith("mega-results")]

    subjects = [line.split("&")[0].strip(" {}").split("}")[0] for p in parts for line in rows(p)]
    names = [name.split()[0] for name in subjects]
    assert len(parts) > 1
    assert len(names) == len(set(names))
    assert {f"{entry}-{p}" for entry in fixture.GAINS for p in fixture.POPULATIONS} <= set(names)


def test_a_subject_that_was_never_searched_so_is_there_under_what_it_has():
    paper = spec.Paper.model_validate({k: v for k, v in fixture.SPEC.items() if k != "profiles"})
    subjects = ["mega-clean-pair", "mega-clean-pair", "mega-clean-deep", "mega-pair", "mega-pair"]
    treatments = ["keep", "re-estimate", "-", "keep", "re-estimate"]
    table = pd.DataFrame({"subject": subjects, "batchnorm": treatments})

    assert list(EXCERPTS["results"].keep(paper, table)) == [False, True, True, True, False]


def test_a_caption_says_protocol_n_and_profile(printed):
    for name, text in texts(printed).items():
        (caption,) = re.findall(r"\\caption\{(.*)\}\\smallskip", text)
        assert "protocol " in caption, name
        assert re.search(r"n = \d+", caption), name
        assert "profile laptop" in caption, name


def test_what_is_the_same_in_all_rows_is_no_column(printed):
    text = texts(printed)["mega-leakage"]

    header = text.split(r"\toprule")[1].split(r"\midrule")[0]
    assert "{n}" not in header
    assert "BatchNorm" not in header
    assert "BatchNorm keep; n = 5" in text


def test_leaky_rows_are_marked_and_the_mark_is_explained(printed):
    found = texts(printed)

    for name, text in found.items():
        marked = [row for row in rows(text) if r"$\dagger$" in row]
        assert bool(marked) == (wording.LEAK_NOTE.split(" ", 1)[1] in text), name
    assert len(rows(found["mega-leakage"])) == 2 == found["mega-leakage"].count(r"$\dagger$") - 1
    assert "not a held-out estimate" in found["mega-reported-1"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex, with booktabs")
def test_a_document_with_all_of_it_compiles_and_nothing_sticks_out(printed, tmp_path):
    excerpts, folder, results = printed
    narrow = figures.write(folder, "laptop", results, canvas.Canvas("single", serif=True))
    body = [rf"\input{{{file}}}" for file in sorted(excerpts.glob("*.tex"))]
    body += [
        rf"\begin{{figure}}\includegraphics{{{file}}}\caption{{{file.stem}}}\end{{figure}}"
        for file in sorted(narrow.glob("*.pdf"))
    ]
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    document = tmp_path / "document.tex"
    document.write_text("\n".join([head, *body, r"\end{document}"]))

    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "document.pdf").stat().st_size > 50_000
    wrong = re.findall(r"Overfull \\hbox.*|.*multiply.defined.*|Float too large.*", done.stdout)
    assert wrong == []
