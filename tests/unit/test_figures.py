"""Every figure is made of what is there, says so where nothing is, and has the same bytes again."""

import shutil

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mergesuite.experiment.jobs import Jobs
from mergesuite.judge import trends, waterfall
from mergesuite.judge.gains import gains, leakage
from mergesuite.judge.study import Study
from mergesuite.report import canvas, curves, figures, traces


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


def test_the_last_digits_of_the_layout_leave_no_trace(made, monkeypatch):
    execute = ConstrainedLayoutEngine.execute
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv")

    def shifted(engine, figure):
        execute(engine, figure)
        for axis in figure.axes:
            x, y, width, height = axis.get_position(original=True).bounds
            axis.set_position((x + 1e-12, y, width - 1e-12, height))

    first = canvas.drawn(figures.reported(verdicts), ".svg")
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", shifted)

    assert canvas.drawn(figures.reported(verdicts), ".svg") == first


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fitness", ["pair: mega-clean", "deep: mega †", "on search, re-estimate", "best parent"]),
        ("segment", ["parent A", "accuracy (%)", "cross-entropy (nats)", "grid (BatchNorm keep)"]),
        ("gains", ["mean-parent", "mega-released †", "BatchNorm re-estimate"]),
        ("reported", ["pair-gain †", "deep-average", "cheap", "held-out twin", "less than of int"]),
        ("waterfall", ["merging", "test images †", "their average"]),
        ("trends", ["Depth of the network", "search on test †", "average"]),
        ("leakage", ["held-out twin", "the leak adds", "leaky search †", "mega"]),
    ],
)
def test_what_a_figure_names(made, name, words):
    text = read(made[1], name)

    assert [word for word in words if f">{word}" not in text] == []


def test_without_traces_the_figure_says_so(made, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(made[1], copy, ignore=shutil.ignore_patterns("merge"))
    jobs = Jobs("mega", "laptop", str(copy))

    drawn = figures.fitness(jobs, fixture.runs()), figures.segment(jobs)

    said = [figure.texts[0].get_text().replace("\n", " ") for figure in drawn]
    assert said[0].startswith("No search has left a trace")
    assert said[1].startswith("No interpolation grid")


def test_each_search_has_an_axis_and_the_same_gain_is_as_high_in_all(made):
    drawn = figures.fitness(jobs_of(made), fixture.runs())

    titles = [axis.get_title() for axis in drawn.axes]
    assert len(titles) == 4 * 2  # of two populations
    assert len(set(titles)) == len(titles)
    assert titles[0] == "pair: mega \u2020\non test, keep"
    tall = {round(float(np.ptp(axis.get_ylim())), 6) for axis in drawn.axes}
    assert len(tall) == 1


def test_the_end_of_a_mean_and_the_best_parent_are_in_numbers_that_keep_apart(made):
    jobs, runs = jobs_of(made), fixture.runs()
    axis = figures.fitness(jobs, runs).axes[0]

    mean, parent = (float(text.get_text()) for text in axis.texts)
    last = [t.frame["best"].iloc[-1] for t in traces.read(jobs)
            if (t.entry, t.population) == ("mega", "pair")]  # fmt: skip
    best = runs.query("subject == 'best-parent-pair' and split == 'test' and metric == 'accuracy'")
    best = best[best["batchnorm"] == "keep"]["value"]
    assert mean == pytest.approx(100 * np.mean(last), abs=0.051)
    assert parent == pytest.approx(100 * best.mean(), abs=0.051)
    places = [text.xy[1] for text in axis.texts]
    assert abs(places[0] - places[1]) >= 0.199 * np.ptp(axis.get_ylim())


def test_no_two_lines_of_an_axis_share_a_colour_or_a_dash():
    colours, dashes = zip(*curves.LINES, strict=True)

    assert len(set(colours)) == len(set(dashes)) == len(curves.LINES) >= 6


def test_two_grids_are_two_lines_with_a_label_each(made):
    grid = [t for t in traces.read(jobs_of(made), segment=True)
            if (t.population, t.metric) == ("pair", "accuracy")]  # fmt: skip
    axis = canvas.PAGE.panels([2.0])[1][0]

    curves.segments(axis, {"grid": grid, "grid-aligned": grid})

    means = [line for line in axis.lines if line.get_linewidth() > 1 and len(line.get_xdata()) > 2]
    assert len({(line.get_color(), line.get_linestyle()) for line in means}) == 2
    assert [t.get_text() for t in axis.texts] == [
        "grid (BatchNorm keep)", "grid-aligned (BatchNorm keep)",
    ]  # fmt: skip
    assert len({text.xy[1] for text in axis.texts}) == 2
    assert [t.get_color() for t in axis.texts] == [line.get_color() for line in means]


@pytest.mark.parametrize("width", canvas.WIDTHS)
@pytest.mark.parametrize("serif", [False, True])
def test_a_canvas_has_its_width_and_its_type_and_nothing_sticks_out(made, width, serif, tmp_path):
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv")
    chosen = canvas.Canvas(width, serif)

    with chosen.style():
        drawn = figures.reported(verdicts, chosen)
    canvas.save(drawn, tmp_path / "a.pdf", chosen)

    written = (tmp_path / "a.pdf").read_bytes()
    inches = canvas.WIDTHS[width][0]
    assert f"/MediaBox [ 0 0 {72 * inches:g} ".encode() in written
    assert (b"STIX" in written) == serif
    assert (b"DejaVu" in written) != serif
    assert b"/Type3" not in written
    with chosen.style():
        box = drawn.get_tightbbox()
    assert box.x0 > -0.02
    assert box.x1 < inches + 0.02


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


def test_each_bar_of_the_waterfall_starts_where_the_one_before_ends(made):
    table = waterfall.read(made[1] / "laptop" / "mega")

    axis = figures.steps(table).axes[0]
    table = table.set_index("step")

    merging, leak = axis.patches
    assert merging.get_width() == pytest.approx(100 * table.loc["merging", "difference"])
    assert leak.get_x() == pytest.approx(merging.get_x() + merging.get_width())
    assert leak.get_x() + leak.get_width() == pytest.approx(100 * table.loc["leak", "gain"])
    assert leak.get_facecolor()[:3] == (1, 1, 1) != merging.get_facecolor()[:3]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "merging", "test images †", "their average",
    ]  # fmt: skip


def test_a_trend_has_a_row_per_population_below_what_it_is(made):
    jobs, table = jobs_of(made), trends.read(made[1] / "laptop" / "mega")

    axis = figures.trend_panels(Study(jobs.paper, fixture.runs()), table).axes[0]

    names = [label.get_text() for label in axis.get_yticklabels()]
    (gain,) = (int(t.get_position()[1]) for t in axis.texts if t.get_text() == "search on test †")
    assert names[gain : gain + 3] == ["", *(table["network"].unique())]
    means = {float(line.get_ydata()[0]): line for line in axis.lines if line.get_marker() == "o"}
    row = table.set_index(["line", "population"]).loc[("gain", "deep")]
    assert means[gain + 2].get_xdata()[0] == pytest.approx(100 * row["difference"])
    assert means[gain + 2].get_markerfacecolor() == "white"  # it saw test images


def test_the_bars_of_a_leak_add_up_under_the_treatment_that_was_searched(made):
    paper, runs = jobs_of(made).paper, fixture.runs()
    table = leakage(paper, runs, gains(paper, runs)).set_index(["subject", "batchnorm"])

    axes = figures.leaks(paper, runs).axes

    assert [axis.get_title() for axis in axes] == ["mega, pair", "mega, deep"]  # it has a twin
    twin, added, gain = axes[0].patches
    row = table.loc[("mega-pair", "keep")]
    assert twin.get_width() == pytest.approx(100 * row["twin_gain"])
    assert (added.get_x(), added.get_width()) == pytest.approx(
        (100 * row["twin_gain"], 100 * row["excess"])
    )
    assert added.get_x() + added.get_width() == pytest.approx(gain.get_width())


def test_without_leaky_searches_the_figure_says_so(made):
    runs = fixture.runs()
    honest = runs[~runs["leaky"].astype(bool)]

    drawn = figures.leaks(jobs_of(made).paper, honest)

    assert "No leaky search" in drawn.texts[0].get_text()


def test_what_is_not_run_or_not_tested_is_said_or_left_out(made):
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv")
    nothing = ["difference", "low", "high"]
    verdicts.loc[verdicts["claim"] == "grid", ["verdict", *nothing]] = ["not run", *[np.nan] * 3]

    drawn = figures.reported(verdicts)

    names = [tick.get_text() for axis in drawn.axes for tick in axis.get_yticklabels()]
    assert set(names) == {"pair-gain †", "deep-average", "cheap", "fast", "loss"}
    assert drawn.legends[0].get_title().get_text() == "Not run: grid."
    only = verdicts[verdicts["claim"] == "scales"]
    assert "no claims" in figures.reported(only).texts[0].get_text()


def test_the_band_of_interest_is_on_the_side_of_the_claim(made):
    verdicts = pd.read_csv(made[1] / "laptop/mega/verdicts.csv")

    bands = {}
    for axis in figures.reported(verdicts).axes:
        grey = [line for line in axis.lines if line.get_label() == "less than of interest"]
        names = [tick.get_text() for tick in axis.get_yticklabels()]
        bands |= {n: tuple(b.get_xdata()) for n, b in zip(names, grey, strict=True)}
    assert bands["pair-gain †"] == pytest.approx((0, 0.5))
    assert bands["cheap"] == pytest.approx((0, np.log10(1.5)))
    assert bands["loss"] == pytest.approx((0, -0.005))


def test_scores_become_fractions(made):
    found = traces.read(jobs_of(made))

    assert {t.entry for t in found} == {"mega", "mega-released", "mega-held-out", "mega-clean"}
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
