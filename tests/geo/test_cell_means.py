"""Means of a coarse layer over cells."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS as Crs
from rasterio.warp import transform_bounds

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


@pytest.mark.parametrize(("full", "said"), [(100.0, True), (255.0, False)])
def test_values_of_another_legend_do_not_hide_in_means(tmp_path, full, said):
    """The world settlement footprint is 0 and 255: its means may all be below 100."""
    footprint = np.zeros((1, 8, 8), np.uint8)
    footprint[0, :2, :4] = 255
    write_raster(tmp_path / "wsf.tif", footprint, PLACE, CRS)
    grid = Grid(Crs.from_user_input(CRS), PLACE, 8, 8)
    if said:
        with pytest.raises(InputError, match="values from 0 to 255, where shares are from 0 to 1"):
            cell_means(tmp_path / "wsf.tif", grid, 8, full, "s")
    else:
        assert cell_means(tmp_path / "wsf.tif", grid, 8, full, "s") == pytest.approx(8 / 64)


def test_a_layer_of_another_crs_and_a_faint_or_unplaced_one(tmp_path, caplog):
    grid = Grid(Crs.from_user_input(CRS), PLACE, 40, 40)
    ones = np.ones((1, 100, 100), np.uint8)
    left, _, _, top = transform_bounds(CRS, "EPSG:4326", 3e5, 4e6 - 400, 3e5 + 400, 4e6)
    degrees = Affine(0.01, 0, left - 0.5, 0, -0.01, top + 0.5)
    write_raster(tmp_path / "ll.tif", ones, degrees, "EPSG:4326")
    assert cell_means(tmp_path / "ll.tif", grid, 20, 1.0, "s") == pytest.approx(1.0)
    assert not caplog.messages
    assert cell_means(tmp_path / "ll.tif", grid, 20, 100.0, "s") == pytest.approx(0.01)
    assert "its greatest value on scene s is 1, and full=100" in caplog.text
    write_raster(tmp_path / "bare.tif", ones, PLACE, None)
    with pytest.raises(InputError, match=r"has no CRS; assign it"):
        cell_means(tmp_path / "bare.tif", grid, 20, 1.0, "s")
