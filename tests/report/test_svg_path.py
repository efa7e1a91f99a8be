"""Outlines as an SVG path."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio
import shapely

from builtup.geo.grid import Grid
from builtup.report.svg_path import FRACTION, outline_path
from helpers import CRS, TRANSFORM, write_polygons
from report_data import square

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
