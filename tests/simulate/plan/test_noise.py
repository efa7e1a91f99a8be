"""Fields and hashes are functions of the ground alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from builtup.simulate.plan.noise import SmoothField, hash_cells, hash_uniform, stream


def test_smooth_fields_are_one_function_of_the_ground() -> None:
    field = SmoothField.draw(stream(5), 2000, 120)
    x, y = np.linspace(-300, 2300, 61), np.linspace(-200, 2200, 41)
    grid = field.grid(x, y)
    columns, rows = np.meshgrid(x, y)
    np.testing.assert_allclose(grid.ravel(), field.at(columns.ravel(), rows.ravel()), atol=1e-5)
    np.testing.assert_allclose(field.grid(x[7:20], y[3:9]), grid[3:9, 7:20], atol=1e-5)
    assert SmoothField.draw(stream(6), 40_000, 100).coefficients.std() > 1
    wide = SmoothField.draw(stream(6), 40_000, 100).grid(
        np.arange(0, 40_000, 70), np.arange(0, 40_000, 70)
    )
    assert wide.std() == pytest.approx(1, abs=0.05)


def test_hashes_are_uniform_and_depend_on_cell_and_salt() -> None:
    x, y = np.meshgrid(np.arange(-100, 100), np.arange(-100, 100))
    values = hash_uniform(hash_cells(x, y, 3))
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    for other in (hash_uniform(hash_cells(x, y, 4)), hash_uniform(hash_cells(x, y, 3), 1)):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 0.02
