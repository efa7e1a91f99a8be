"""Pictures: what they show, where they know nothing, how large they are."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from builtup.geo.grid import Grid
from builtup.geo.rasters import open_raster
from builtup.report.counts import shrunk
from builtup.report.encode import Drawing, encode
from builtup.report.image_source import SceneImage, find_images
from builtup.report.pictures import (
    Stretch,
    chosen_dates,
    false_colour,
    paint_power,
    paint_probability,
    read_band,
    read_power,
    shade,
)
from builtup.runs.results import Results
from builtup.sensors.radar.bands import to_db
from builtup.tiles.cut import generate_tiles
from helpers import CRS, TRANSFORM, write_raster
from report_data import SHAPE, add_city


def decoded(uri):
    data = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.fixture
def maps(tmp_path):
    return add_city(tmp_path)


def power_of(maps):
    bands = []
    for path in sorted(maps.images.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            bands.append(dataset.read([1, 2]))
    return np.mean(bands, axis=0), Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, *SHAPE[::-1])


def test_power_is_the_mean_of_the_dates_and_unknown_where_they_are(maps):
    expected, grid = power_of(maps)
    found = read_power(find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"], grid)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(found[:, :, :5]).all()


def test_tiles_give_the_image_of_their_scene(maps, tmp_path):
    expected, grid = power_of(maps)
    generate_tiles(
        input_path=maps.images,
        output_path=tmp_path / "tiles",
        tile_size=48,
        overlap=8,
        materialize=True,
        num_workers=1,
    )
    scenes = find_images(Results(maps.folder), str(tmp_path / "tiles"))["38SLF_Alpha"]
    np.testing.assert_allclose(read_power(scenes, grid), expected, rtol=1e-5)


def test_a_smaller_picture_averages_power(maps):
    expected, grid = power_of(maps)
    found = read_power(
        find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"], shrunk(grid, 24)
    )
    blocks = expected.reshape(2, 20, 5, 24, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(found[:, :, 1:], blocks[:, :, 1:], rtol=1e-4)


def test_a_scene_of_another_grid_is_moved_into_place(tmp_path):
    image = np.full((3, 40, 40), 0.01, np.float32)
    image[:, 10:20, 10:20] = 1
    path = write_raster(
        tmp_path / "s.tif", image, TRANSFORM @ rasterio.Affine.translation(7, 3), nodata=np.nan
    )
    grid = Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, 60, 60)
    found = read_power([SceneImage("s", "20150101", (path,))], grid)
    assert (found[:, 13:23, 17:27] > 0.9).all()
    assert np.isnan(found[:, :3]).all() and np.isnan(found[:, :, 47:]).all()
    far = Grid(grid.crs, TRANSFORM @ rasterio.Affine.translation(900, 0), 60, 60)
    assert np.isnan(read_power([SceneImage("s", "20150101", (path,))], far)).all()


def test_dates_are_at_most_four_spread_over_time():
    scenes = [SceneImage(str(i), str(i), ()) for i in range(9)]
    assert [scene.scene for scene in chosen_dates(scenes)] == ["0", "2", "5", "8"]
    assert len(chosen_dates(scenes[:3])) == 3


def test_false_colours_are_decibels_of_vv_vh_and_ratio():
    power = np.array([[[0.01]], [[0.1]]], np.float32)
    np.testing.assert_allclose(false_colour(power)[:, 0, 0], [-10, -20, 10], atol=1e-4)
    rows = np.stack([np.linspace(0.01, 0.1, 100)[None], np.linspace(0.1, 1, 100)[None]])
    rows[:, 0, 0] = np.nan
    rows = rows.astype(np.float32)
    stretch = Stretch.of(false_colour(rows))
    picture = paint_power(rows, stretch)
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    low, high = np.nanpercentile(to_db(rows[1]), (1, 99))
    middle = int(np.rint(255 * (to_db(rows[1, 0, 50]) - low) / (high - low)))
    assert abs(int(picture[0, 50, 0]) - middle) <= 1
    assert picture[0, 99, 0] == 255 and (picture[0, 1:, 3] == 255).all()


def test_probability_is_viridis_and_transparent_where_unknown(maps):
    with open_raster(maps.rasters().prob) as dataset:
        found = read_band(dataset, 1, Grid.of(dataset)) / np.float32(254)
    assert np.isnan(found[:, :5]).all() and found[50, 50] > 0.5
    picture = paint_probability(np.array([[0, 0.5, 1, np.nan]], np.float32))
    expected = np.rint(np.array(colormaps["viridis"]([0, 128, 255])) * 255)
    assert np.abs(picture[0, :3].astype(int) - expected).max() <= 1
    assert picture[0, 3].tolist() == [0, 0, 0, 0]


def test_any_share_of_a_layer_shows():
    assert shade(np.array([0, 1e-5, 0.25, 1], np.float32)).tolist() == [0, 1, 8, 15]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_layers_come_back_as_they_were_drawn(height, width, seed):
    opacity = np.random.default_rng(seed).integers(0, 16, (height, width)).astype(np.uint8)
    found = decoded(encode({"a": Drawing(opacity, (60, 140, 255))}, 100_000)["a"])
    assert (found[..., 3] == opacity * 17).all()
    assert (found[..., :3][opacity > 0] == (60, 140, 255)).all()


@pytest.mark.parametrize("budget", [400_000, 40_000, 4_000])
def test_pictures_keep_to_their_budget(budget):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (500, 400, 4)).astype(np.uint8)
    layer = generator.integers(0, 16, (500, 400)).astype(np.uint8)
    found = encode({"photo": Drawing(noise), "layer": Drawing(layer, (1, 2, 3))}, budget)
    assert sum(map(len, found.values())) <= budget
    height, width = decoded(found["layer"]).shape[:2]
    assert width / height == pytest.approx(0.8, rel=0.1)
