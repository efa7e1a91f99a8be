"""Pictures: what they show, where they know nothing, how large they are."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from PIL import Image

from builtup.geo.grid import Grid
from builtup.geo.rasters import open_raster
from builtup.report.pictures import (
    FRACTION,
    Drawing,
    Stretch,
    encode,
    outline_path,
    paint_image,
    paint_probability,
    read_band,
    shade,
)
from builtup.sensors.radar.bands import to_db
from builtup.sensors.radar.sentinel1 import SENTINEL1
from helpers import CRS, TRANSFORM, write_polygons
from report_data import add_city, square


def decoded(uri):
    data = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.fixture
def maps(tmp_path):
    return add_city(tmp_path)


def test_false_colours_are_decibels_of_vv_vh_and_ratio():
    power = np.array([[[0.01]], [[0.1]]], np.float32)
    np.testing.assert_allclose(SENTINEL1.colours(power)[:, 0, 0], [-10, -20, 10], atol=1e-4)
    rows = np.stack([np.linspace(0.01, 0.1, 100)[None], np.linspace(0.1, 1, 100)[None]])
    rows[:, 0, 0] = np.nan
    rows = rows.astype(np.float32)
    stretch = Stretch.of(SENTINEL1.colours(rows))
    picture = paint_image(rows, stretch, SENTINEL1)
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
    assert np.abs(picture[0, :3].astype(int) - expected).max() <= 5
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


GRID = Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, 400, 300)


def polygons(d):
    """The rings of a path as polygons in pixels."""
    made = []
    for ring in d.split("z")[:-1]:
        start, steps = re.fullmatch(r"M(-?\d+ -?\d+)l([-\d ]+)", ring).groups()
        moves = np.array(steps.split(), int).reshape(-1, 2)
        points = np.array(start.split(), int) + np.vstack([[0, 0], moves.cumsum(axis=0)])
        made.append(shapely.Polygon(points / FRACTION))
    return made


def test_outlines_stand_where_the_polygons_are(tmp_path):
    town = square(slice(10, 60), slice(20, 120))
    found = outline_path(write_polygons(tmp_path / "a.shp", [town]), GRID, 10_000)
    (drawn,) = polygons(found.d)
    assert drawn.bounds == pytest.approx((20.1, 10.1, 119.9, 59.9), abs=0.11)
    assert (found.drawn, found.left_out) == (1, 0)


def test_polygons_of_another_crs_are_moved(tmp_path):
    town = square(slice(10, 60), slice(20, 120))
    xs, ys = rasterio.warp.transform(CRS, "EPSG:4326", *zip(*town.exterior.coords, strict=True))
    path = write_polygons(
        tmp_path / "a.shp", [shapely.Polygon(zip(xs, ys, strict=True))], crs="EPSG:4326"
    )
    (drawn,) = polygons(outline_path(path, GRID, 10_000).d)
    assert drawn.bounds == pytest.approx((20.1, 10.1, 119.9, 59.9), abs=0.2)


def test_holes_are_rings_of_their_own(tmp_path):
    town = square(slice(10, 60), slice(20, 120)) - square(slice(20, 30), slice(40, 60))
    found = polygons(outline_path(write_polygons(tmp_path / "a.shp", [town]), GRID, 10_000).d)
    assert sorted(round(ring.area) for ring in found) == [194, 4970]


def test_a_full_budget_keeps_the_largest(tmp_path):
    houses = [
        square(slice(y, y + 2 + (x == 0)), slice(x, x + 3))
        for y in range(0, 300, 10)
        for x in range(0, 400, 10)
    ]
    path = write_polygons(tmp_path / "a.shp", houses)
    whole, part = outline_path(path, GRID, 10**6), outline_path(path, GRID, 2_000)
    assert whole.drawn == len(houses)
    assert len(part.d) <= 2_000
    assert part.drawn + part.left_out == len(houses)
    assert sum(ring.area > 7 for ring in polygons(part.d)) == 30  # all of 3 x 3, few of 2 x 3


def test_no_polygons_give_an_empty_path(tmp_path):
    found = outline_path(write_polygons(tmp_path / "a.shp", []), GRID, 100)
    assert (found.d, found.drawn) == ("", 0)
