"""The forest plot: turned, on honest axes, within its frame, and the same bytes each time."""

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_fixture as fixture

from mergesuite import cli
from mergesuite.errors import UserError
from mergesuite.judge.verdict import VERDICTS
from mergesuite.report import answers, axis, forest, sheet

ROOT = Path(__file__).parents[2]
CLAIM = {
    "effect": "difference", "metric": "accuracy", "direction": "higher", "leaky": False,
    "verdict": "no gain", "text": "<a> claim & more", "difference": 0.01, "low": -0.02,
    "high": 0.03, "reported_difference": 0.05, "detectable": 0.02, "n": 5,
}  # fmt: skip


def row(free=(), **known):
    return forest._row_of(CLAIM | known, free, "MeGA", "as published vs best parent", "mega/claim")


def test_right_is_what_the_paper_claims():
    up, down = row(), row(direction="lower")

    assert (up.low, up.mean, up.high, up.reported) == pytest.approx((-2, 1, 3, 5))
    assert (down.low, down.mean, down.high, down.reported) == pytest.approx((-3, -1, 2, -5))
    assert up.unseen() == down.unseen() == pytest.approx((-2, 2))


def test_free_controls_stand_where_their_own_gain_is():
    # The method gains 1 point and is 3 behind the control, so the control gains 4.
    beside = [{"difference": -0.03, "n": 5}, {"difference": 0.02, "n": 4}]

    assert row(beside).free == pytest.approx((4,))  # the other one has other pairs


def test_factors_and_other_units_have_axes_of_their_own():
    factor = row(effect="ratio", difference=8, low=4, high=16, reported_difference=10, detectable=2)
    loss = row(metric="cross_entropy")
    made = axis.holding(factor.unit, factor.values(), 0, 100)

    assert (factor.unit, loss.unit) == ("factor", "cross_entropy")
    assert factor.unseen() == (0.5, 2)
    assert made.at(4) - made.at(2) == pytest.approx(made.at(8) - made.at(4))
    said = sheet.to_svg(forest.draw([row(), loss, factor]), "x")
    places = [said.index(f">{name}<") for name in forest.NAMES.values()]
    assert places == sorted(places)


def test_the_axis_of_points_is_even_near_no_effect_and_never_turns():
    made = axis.holding(axis.POINTS, (-60, 70), 100, 500)
    values = [-60, -10, -1, -0.2, 0, 0.2, 1, 10, 70]
    places = [made.at(value) for value in values]

    assert places == sorted(places)
    assert made.at(0.2) - made.at(0) == pytest.approx(made.at(0.1) * 2 - made.at(0) * 2, rel=0.03)
    assert min(places) >= 100
    assert max(places) <= 500
    ticks = made.ticks(apart=26)
    assert 0 in ticks
    gaps = [made.at(b) - made.at(a) for a, b in itertools.pairwise(ticks)]
    assert min(gaps) >= 26


@pytest.mark.parametrize("layout", [forest.WIDE, forest.NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scale", [0.001, 1, 30], ids=str)
def test_every_mark_is_inside(layout, scale):
    names = ("difference", "low", "high", "reported_difference", "detectable")
    known = {name: scale * CLAIM[name] for name in names}
    rows = [row([{"difference": -0.9 * scale, "n": 5}], **known, verdict=v) for v in VERDICTS]
    rows.append(row(detectable=math.nan, reported_difference=math.nan, low=0.01, high=0.01))

    drawn = forest.draw(rows, layout)

    for mark in (mark for _, _, marks in drawn.groups for mark in marks):
        x, y = mark.at[:2]
        right = x + mark.at[2] if mark.kind in ("rect", "area") else x
        assert -1 <= x <= right <= drawn.width + 1, mark
        assert 0 <= y <= drawn.height, mark


def test_a_label_says_which_images_if_not_those_of_the_test(compared, tmp_path):
    with fixture.copied(compared, tmp_path) as (folder, results):
        judged = answers.read(folder.name, "laptop", results)
    of_images = judged.verdicts[judged.verdicts["effect"] == "difference"]
    noisy = of_images.assign(split="noise-3")

    labels = [row.label for row in forest.rows(judged.names, noisy, judged.beside, "MeGA", "mega")]
    usual = [row.label for row in forest.of_paper(folder, "laptop", results)]

    assert labels
    assert all(": noise-3" in label for label in labels)
    assert not any("noise" in label or label.endswith(": test") for label in usual)


def test_a_claim_without_interval_has_no_row():
    assert row(low=math.nan, high=math.nan) is None


def test_what_a_spec_says_is_escaped_and_the_file_stands_alone():
    drawn = forest.draw([row(text='<script>"', verdict="no gain")])

    alone = sheet.to_svg(drawn, 'a "label"', alone=True)

    assert "<script" not in alone
    root = ElementTree.fromstring(alone)
    assert root.attrib["aria-label"] == 'a "label"'
    assert "url(" not in alone
    assert "href" not in alone


def test_every_role_has_a_colour_on_light_and_on_dark():
    drawn = forest.draw([row(verdict=verdict) for verdict in VERDICTS])
    used = {mark.role for _, _, marks in drawn.groups for mark in marks} - {""}

    assert used <= set(sheet.colours())
    for dark in (False, True):
        shown = sheet.colours(dark)
        for role in used - {"faint", "band"}:
            least = 4.5 if role != "v-not-run" else 4.4
            assert contrast(shown[role], shown["ground"]) >= least, (role, dark)


def contrast(one, other):
    """The contrast of two colours, as WCAG 2 defines it."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_figure_alone_is_the_same_bytes_each_time(compared, tmp_path, suffix):
    with fixture.copied(compared, tmp_path / "made") as (_, results):
        for name in ("one", "two"):
            words = ["report", "--results", str(results), "--papers", "mega"]
            assert cli.run([*words, "--forest", str(tmp_path / f"{name}.{suffix}")]) == 0

    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.startswith(b"<svg" if suffix == "svg" else b"%PDF")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ends in \.svg or \.pdf"):
        forest.write([], "laptop", tmp_path, tmp_path / "a.png")
    with pytest.raises(UserError, match="nothing to draw"):
        forest.write([], "laptop", tmp_path, tmp_path / "a.svg")


@pytest.mark.parametrize(
    ("page", "picture"),
    [("README.md", "docs/claims.svg"), ("docs/findings.md", "docs/claims-cifar-cpu.svg")],
)
def test_the_picture_on_a_page_is_current(tmp_path, monkeypatch, page, picture):
    monkeypatch.chdir(ROOT)
    said = (ROOT / page).read_text(encoding="utf-8")
    command = re.search(rf"mergesuite (report .*--forest) {re.escape(picture)}", said)[1]
    out = tmp_path / "claims.svg"

    assert cli.run([*command.split(), str(out)]) == 0

    assert out.read_text() == Path(picture).read_text(), f"run the command in {page}"
