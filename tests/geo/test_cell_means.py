"""Means of a coarse layer over cells."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS as Crs

from builtup.errors import InputError
from builtup.geo.cell_means import cell_means
from builtup.geo.grid import Grid
from helpers import CRS, write_raster

PLACE = Affine(10, 0, 300_000, 0, -10, 4_000_000)


def test_cells_are_means_by_area_and_unknown_where_the_layer_is(tmp_path):
    layer = np.array([[[0, 100], [50, -1]]], np.float32)
    write_raster(tmp_path / "l.tif", layer, PLACE @ Affine.scale(20), CRS, nodata=-1)
    grid = Grid(Crs.from_user_input(CRS), PLACE, 40, 40)
    found = cell_means(tmp_path / "l.tif", grid, 20, 100.0, "s")
    np.testing.assert_allclose(found, [[0, 1], [0.5, np.nan]])
    assert cell_means(tmp_path / "l.tif", grid, 40, 100.0, "s") == pytest.approx(0.5)
    with pytest.raises(InputError, match="values from 0 to 100, where shares are from 0 to 1"):
        cell_means(tmp_path / "l.tif", grid, 20, 1.0, "s")
