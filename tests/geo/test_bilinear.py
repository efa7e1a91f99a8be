"""Values between pixels."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.geo.bilinear import between, between_known

SQUARE = np.array([[0, 10], [20, 50]], np.float32)


def test_by_hand():
    found = between(SQUARE, np.array([0, 0.5, 1]), np.array([0, 0.25, 1]))
    assert found.tolist() == [[0, 2.5, 10], [10, 15, 30], [20, 27.5, 50]]


def test_beyond_the_centres_as_there():
    assert between(SQUARE, np.array([-3.0, 9.0]), np.array([-0.4, 1.4])).tolist() == SQUARE.tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
def test_rows_and_columns_alone(shape):
    values = np.full(shape, 7, np.float32)
    assert (between(values, np.linspace(-1, 6, 9), np.linspace(-1, 6, 8)) == 7).all()


def test_a_plane_is_met_everywhere():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    rows, columns = np.linspace(0, 19, 77), np.linspace(0, 29, 50)
    found = between(3 * y - 2 * x, rows, columns)
    assert np.abs(found - (3 * rows[:, None] - 2 * columns)).max() < 1e-4


def test_gaps_keep_their_size_and_do_not_mix():
    values = np.full((5, 5), 8, np.float32)
    values[2, 2] = np.nan
    places = np.array([0.0, 1.4, 1.6, 2.0, 2.4, 2.6, 4.0])
    found = between_known(values, places, np.full(1, 2.0))[:, 0]
    assert np.isnan(found).tolist() == [False, False, True, True, True, False, False]
    assert (found[np.isfinite(found)] == 8).all()
    assert (between_known(values[:2], places[:2], places) == 8).all()
