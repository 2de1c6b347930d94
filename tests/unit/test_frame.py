"""What an axis shows, what stands at its border, and labels that keep apart."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mergesuite.report.frame import Frame, apart, around

NEAR = [(0.4, 0.1, 0.7), (-1.2, -3.0, 0.6), (1.5, 0.9, 2.1), (-0.3, -0.9, 0.2)]


def test_a_collapse_leaves_the_gains_to_be_seen():
    frame = around([*NEAR, (-51.0, -60.0, -42.0)])

    assert frame.holds(-3.0)
    assert frame.holds(2.1)
    assert frame.low > -4
    assert not frame.holds(-51.0)


def test_far_values_are_shown_where_they_are_more_than_a_few():
    frame = around([*NEAR, (-51.0, -60.0, -42.0), (48.0, 40.0, 56.0), (47.0, 46.0, 48.0)])

    assert frame.holds(-51.0)
    assert frame.holds(48.0)


def test_a_frame_holds_no_effect_and_follows_wide_intervals_so_far():
    frame = around([(1.0, -80.0, 82.0), (0.8, 0.7, 0.9)])

    assert frame.holds(0)
    assert -2.5 < frame.low < frame.high < 2.5


def test_what_was_not_measured_is_not_drawn():
    axis = Figure().subplots()
    Frame(-2.0, 2.0).mean(axis, 0, float("nan"), "k", "o")
    assert not axis.lines
    assert not axis.texts


def drawn(ends, mean=True):
    axis = Figure().subplots()
    frame = Frame(-2.0, 2.0)
    frame.interval(axis, 0, ends, "k")
    if mean:
        frame.mean(axis, 0, ends[0], "k", "o")
    arrows = {(line.get_marker(), line.get_xdata()[0]) for line in axis.lines}
    return arrows, axis


def test_an_interval_that_leaves_the_frame_has_an_arrowhead_where_it_does():
    arrows, axis = drawn((1.0, -0.5, 7.0))

    assert arrows == {("None", -0.5), (">", 2.0), ("o", 1.0)}
    assert np.asarray(axis.lines[0].get_xdata()).max() == 2.0
    assert not axis.texts


def test_a_mean_beyond_the_frame_is_a_number_at_its_border():
    arrows, axis = drawn((-38.7, -106.0, 29.0))

    assert arrows == {("None", -2.0), ("<", -2.0), (">", 2.0)}
    (text,) = axis.texts
    assert text.get_text() == "\u221239"
    assert text.xy[0] == -2.0


def test_an_interval_without_ends_is_its_mean_alone():
    arrows, _ = drawn((1.0, np.nan, np.nan))

    assert arrows == {("o", 1.0)}


@pytest.mark.parametrize("places", [[5.0], [1, 1, 1], [9, 0, 8.5, 8.6, 3], [0, 1, 2, 3]])
def test_labels_keep_apart_in_their_order_and_near_their_places(places):
    found = np.array(apart(places, 1.0))

    ranked = found[np.argsort(places, kind="stable")]
    assert (np.diff(ranked) >= 1 - 1e-9).all()
    assert found.mean() == pytest.approx(np.mean(places))
    if (np.diff(sorted(places)) >= 1).all():
        assert found == pytest.approx(places)
