"""Counting by cells."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.windows import aligned
from builtup.report.block_sum import CellCounts

sizes = st.integers(1, 40)


@given(sizes, sizes, st.data())
def test_counts_are_those_of_the_whole_raster_whatever_the_windows(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    window = data.draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    chosen = np.random.default_rng(height * width).random((height, width)) < 0.4
    cells = CellCounts.shrunk((height, width), (rows, columns))
    for part in aligned(width, height, window):
        cells.add(part, chosen[part.slices])
    expected = np.zeros((rows, columns), int)
    for y, x in np.argwhere(chosen):
        expected[y * rows // height, x * columns // width] += 1
    assert (cells.counts == expected).all()
    assert cells.shares.max() <= 1


def test_squares_are_cut_at_the_edge():
    cells = CellCounts.squares((5, 7), 3)
    for part in aligned(7, 5, (2, 7)):
        cells.add(part, np.ones((part.height, part.width), bool))
    assert cells.counts.tolist() == [[9, 9, 3], [6, 6, 2]]
    assert (cells.shares == 1).all()
