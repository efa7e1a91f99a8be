"""Black connected to the border, window by window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from builtup.geo.windows import aligned
from builtup.sensors.optical.borders import BorderBlack


def outside(black, shape):
    height, width = black.shape
    found = BorderBlack(width, height)
    for window in aligned(width, height, shape):
        found.add(window, black[window.slices])
    result = np.zeros_like(black)
    for window in found.windows:
        result[window.slices] = found.outside(window, black[window.slices])
    return result


def as_whole(black):
    """The rule, with the whole raster in memory: pieces that touch its border, by their sides."""
    labels, _ = ndimage.label(black)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, edges[edges > 0])


def picture(*rows):
    return np.array([[sign == "#" for sign in row] for row in rows])


def test_a_black_roof_stays_and_a_border_goes():
    black = picture(
        "#######",
        "#.....#",
        "#.##..#",
        "#.##...",
        "#......",
    )
    expected = black.copy()
    expected[2:4, 2:4] = False
    for shape in ((2, 2), (1, 3), (5, 7), (3, 4)):
        assert (outside(black, shape) == expected).all()


def test_a_path_through_several_windows_leads_to_the_border():
    black = picture(
        "......",
        ".####.",
        ".#..#.",
        ".#.##.",
        ".#....",
        ".####.",
        "....#.",
    )
    assert (outside(black, (2, 2)) == black).all()
    assert not outside(black[:-1], (2, 2))[:5].all()


def test_corners_do_not_connect():
    black = picture("#...", ".#..", "....", "....")
    assert outside(black, (2, 2)).tolist() == picture("#...", "....", "....", "....").tolist()


@settings(max_examples=200, deadline=None)
@given(
    black=npst.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_any_windows_give_what_the_whole_gives(black, shape):
    assert (outside(black, shape) == as_whole(black)).all()


@pytest.mark.parametrize("value", [True, False])
def test_all_black_and_none(value):
    black = np.full((5, 6), value)
    assert (outside(black, (2, 4)) == black).all()
