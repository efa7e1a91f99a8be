"""Windows of images: colours, heights, and what is no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window
from builtup.sensors.optical.image_reader import open_image
from builtup.sensors.optical.stored_images import ImageHeaders, find_images, read_headers
from helpers import CRS, write_raster

METRES = Affine(1, 0, 500000, 0, -1, 4100000)


def headers_of(path: Path, with_height: bool = False) -> ImageHeaders:
    (headers,) = read_headers(find_images(str(path)).scenes, with_height=with_height)
    assert isinstance(headers, ImageHeaders)
    return headers


def test_alpha_tells_no_data_and_black_roofs_stay(tmp_path: Path) -> None:
    values = np.full((4, 30, 40), 100, np.uint8)
    values[3] = 255
    values[:3, 10:15, 10:15] = 0
    values[3, :4] = 0
    write_raster(tmp_path / "a.tif", values, METRES, CRS, photometric="RGB", alpha="YES")
    with gdal_env(), open_image(headers_of(tmp_path), with_height=False) as image:
        read = image.read(Window(2, 5, 20, 30))
    assert read.shape == (3, 20, 30) and read.dtype == np.float32
    assert np.isnan(read[:, :2]).all() and np.isfinite(read[:, 2:]).all()
    assert (read[:, 8:13, 5:10] == 0).all() and (read[:, 2:8] == 100).all()


@pytest.mark.parametrize("place", [Window(0, 0, 600, 2300), Window(190, 1900, 130, 300)])
def test_without_alpha_black_that_hangs_together_with_the_border_is_no_data(
    tmp_path: Path, place: Window
) -> None:
    values = np.full((3, 600, 2300), 100, np.uint8)
    values[:, 200:300, 1990:2100] = 0  # a roof over the corner of four windows
    values[:, :, 2280:] = 0
    values[:, 250:260, 2100:2290] = 0  # which is reached from the border
    values[:, 400:420, 700:750] = 0
    write_raster(tmp_path / "a.tif", values, METRES, CRS)
    with gdal_env(), open_image(headers_of(tmp_path), with_height=False) as image:
        read = image.read(place)
    dark = (values == 0).all(axis=0)
    dark[400:420, 700:750] = False
    rows, columns = place.slices
    np.testing.assert_array_equal(np.isnan(read).all(axis=0), dark[rows, columns])
    assert (
        read[:, ~dark[rows, columns]] == values[:, rows, columns][:, ~dark[rows, columns]]
    ).all()


def test_the_height_above_ground_is_that_of_the_surface_over_its_terrain(tmp_path: Path) -> None:
    y, x = np.mgrid[:400, :400].astype(np.float32)
    surface = 100 + 0.05 * x + 0.02 * y
    surface[180:200, 150:180] += 7
    surface[:, 380:] = np.nan
    write_raster(tmp_path / "a.tif", np.full((3, 400, 400), 90, np.uint8), METRES, CRS)
    write_raster(tmp_path / "a_dsm.tif", surface, METRES, CRS)
    headers = headers_of(tmp_path, with_height=True)
    with gdal_env(), open_image(headers, with_height=True) as image:
        height = image.read(Window(100, 100, 200, 300))[3]
    assert np.isnan(height[:, 280:]).all() and np.isfinite(height[:, :280]).all()
    assert height[85:95, 55:75] == pytest.approx(7, abs=0.3)
    assert np.abs(height[:70, :250]).max() < 0.5


def test_a_height_above_ground_is_taken_as_it_is_and_may_be_missing(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.full((3, 20, 20), 90, np.uint8), METRES, CRS)
    with gdal_env(), open_image(headers_of(tmp_path, True), with_height=True) as image:
        values = image.read(Window(0, 0, 20, 20))
    assert np.isnan(values[3]).all() and (values[:3] == 90).all()
    write_raster(tmp_path / "a_height.tif", np.full((20, 20), 4.5, np.float32), METRES, CRS)
    with gdal_env(), open_image(headers_of(tmp_path, True), with_height=True) as image:
        assert (image.read(Window(3, 3, 9, 9))[3] == 4.5).all()
