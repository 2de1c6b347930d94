"""Every figure is made of what is there, says so where nothing is, and has the same bytes again."""

import shutil

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture

from mergesuite.experiment.jobs import Jobs
from mergesuite.report import figures, traces


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory):
    with fixture.copied(drawn, tmp_path_factory.mktemp("figures")) as (folder, results):
        yield folder, results


def jobs_of(made):
    return Jobs("mega", "laptop", str(made[1]))


def read(results, name):
    return (results / "laptop" / "mega" / "figures" / f"{name}.svg").read_text()


def test_every_figure_is_there_as_svg_and_pdf(made):
    files = {f.name for f in (made[1] / "laptop" / "mega" / "figures").iterdir()}

    assert files == {f"{name}.{kind}" for name in figures.NAMES for kind in ("svg", "pdf")}


def test_bytes_depend_on_the_data_alone(made, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(made[1], copy)

    figures.write(made[0], "laptop", copy)

    for file in (made[1] / "laptop" / "mega" / "figures").iterdir():
        assert file.read_bytes() == (copy / "laptop/mega/figures" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fitness", ["pair", "deep", "mega-clean", "mega †", "best parent, search"]),
        ("segment", ["parent A", "accuracy (%)", "cross-entropy (nats)", "BatchNorm keep"]),
        ("gains", ["mean-parent", "mega-released †", "BatchNorm re-estimate"]),
        ("reported", ["pair-gain †", "deep-average", "cheap", "measured, protocol clean"]),
        ("leakage", ["protocol published †", "protocol clean"]),
    ],
)
def test_what_a_figure_names(made, name, words):
    text = read(made[1], name)

    assert [word for word in words if f">{word}" not in text] == []


def test_without_traces_the_figure_says_so(made, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(made[1], copy)
    shutil.rmtree(copy / "laptop" / "mega" / "merge")

    figures.write(made[0], "laptop", copy)

    assert "No search has left a trace" in read(copy, "fitness")
    assert "No interpolation grid" in read(copy, "segment")
    assert "mega-clean" in read(copy, "gains")


def test_the_barrier_is_drawn_in_per_cent_and_in_nats(made):
    drawn = figures.segment(jobs_of(made))

    panels = [(axis.get_title(), axis.get_ylabel()) for axis in drawn.axes]
    assert panels == [
        (population, unit)
        for population in ("pair", "deep")
        for unit in ("accuracy (%)", "cross-entropy (nats)")
    ]
    accuracy, loss = (np.asarray(axis.lines[-1].get_ydata()) for axis in drawn.axes[:2])
    assert accuracy.argmin() == loss.argmax() == 10
    assert 30 < accuracy.min() < 40
    assert loss.max() == pytest.approx(2.1)


def test_a_treatment_that_is_off_the_scale_is_in_the_legend(made):
    runs = fixture.runs()
    kept = runs[(runs["subject"] == "mega-pair") & (runs["batchnorm"] == "keep")]
    collapsed = kept.assign(batchnorm="average", value=0.1)

    drawn = figures.gains_strip(jobs_of(made).paper, pd.concat([runs, collapsed]))

    assert "BatchNorm average" in [text.get_text() for text in drawn.legends[0].get_texts()]


def test_scores_become_fractions(made):
    found = traces.read(jobs_of(made))

    assert {t.entry for t in found} == {"mega", "mega-released", "mega-clean"}
    assert all(t.frame["best"].between(0.6, 0.9).all() for t in found)


def test_a_mean_of_searches_ends_where_the_shortest_ends():
    long = pd.DataFrame({"evaluations": [10, 20, 30], "best": [0.1, 0.2, 0.3]})
    short = long.iloc[:2]
    pair = [traces.Trace("a", "p", i, "accuracy", "keep", "search", f)
            for i, f in enumerate((long, short))]  # fmt: skip

    axis, values = traces.curves(pair)

    mean = dict(zip(axis, values.mean(axis=0), strict=True))
    assert np.isnan(mean[9])
    assert mean[15] == pytest.approx(0.1)
    assert mean[20] == pytest.approx(0.2)
    assert np.isnan(mean[21])
