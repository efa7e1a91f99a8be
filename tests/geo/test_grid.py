"""Grids: the same pixels or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS as ProjCRS
from pyproj import Transformer
from rasterio.crs import CRS

from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid, common_grid, joined_grid
from traced import blobs, traced

UTM = CRS.from_epsg(32638)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    pixel = draw(st.floats(0.5, 60))
    left, top = draw(st.floats(166_000, 830_000)), draw(st.floats(0, 9_300_000))
    turn = draw(st.sampled_from([0.0, 0.0, 17.5]))
    transform = Affine.translation(left, top) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel)
    return Grid(UTM, transform, draw(st.integers(1, 11_000)), draw(st.integers(1, 11_000)))


@given(grids())
def test_a_grid_matches_itself(grid: Grid) -> None:
    assert grid.matches(replace(grid))
    assert grid.pixels == grid.shape[0] * grid.shape[1]


@given(grid=grids(), x=st.integers(0, 500), y=st.integers(0, 500))
def test_a_window_s_corner_is_the_pixel_s(grid: Grid, x: int, y: int) -> None:
    part = grid.window(x, y, 3, 2)
    assert part.shape == (2, 3)
    assert part.corners[0] == pytest.approx(grid.transform @ (x, y), abs=1e-4)
    assert part.resolution == pytest.approx(grid.resolution)


@given(grid=grids(), shift=st.floats(-3, 3))
def test_the_offset_is_counted_in_pixels(grid: Grid, shift: float) -> None:
    other = replace(grid, transform=grid.transform @ Affine.translation(shift, 0))
    assert grid.corner_offset(other) == pytest.approx(abs(shift), abs=1e-5)


def test_the_drift_of_a_slightly_larger_pixel_is_seen_at_the_far_edge() -> None:
    """The case of Bagdad: 10.0027 m for 10 m over 10,193 columns is 2.8 pixels."""
    grid = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 3_700_000), 10193, 1)
    other = replace(grid, transform=Affine(10.0027, 0, 400_000, 0, -10, 3_700_000))
    assert grid.corner_offset(other) == pytest.approx(2.75, abs=0.01)
    assert not grid.matches(other, SAME_CITY_TOLERANCE)


def test_each_difference_is_named() -> None:
    grid = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 3_700_000), 20, 10)
    assert grid.difference(replace(grid, width=21)) == "sizes 20x10 and 21x10 pixels"
    other = replace(grid, crs=CRS.from_epsg(32637))
    assert grid.difference(other) == "CRS EPSG:32638 and EPSG:32637"
    moved = replace(grid, transform=grid.transform @ Affine.translation(0, 0.5))
    assert grid.difference(moved) == "grids up to 0.5 pixels apart"
    assert grid.difference(moved, tolerance=0.6) is None


def test_bounds_are_left_bottom_right_top() -> None:
    grid = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 3_700_000), 20, 10)
    assert grid.bounds == (400_000, 3_699_900, 400_200, 3_700_000)


def test_most_dates_decide_the_grid_and_the_earliest_breaks_ties() -> None:
    a = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 3_700_000), 20, 10)
    b = replace(a, transform=a.transform @ Affine.translation(1, 0))
    assert common_grid([a, b, b]) == b
    assert common_grid([a, b]) == a


def test_grids_of_the_same_pixels_are_joined_and_others_are_not() -> None:
    a = Grid(UTM, Affine(10, 0, 400_000, 0, -10, 3_700_000), 20, 10)
    b = replace(a, transform=a.transform @ Affine.translation(-5, 8), width=7)
    whole = joined_grid([a, b])
    assert whole == joined_grid([b, a])
    assert whole == Grid(UTM, a.transform @ Affine.translation(-5, 0), 25, 18)
    assert joined_grid([a]) == a
    for other in (
        replace(a, transform=a.transform @ Affine.translation(0.5, 0)),
        replace(a, transform=a.transform @ Affine.scale(1.01)),
        replace(a, transform=a.transform @ Affine.rotation(90)),
        replace(a, crs=CRS.from_epsg(32637)),
    ):
        assert joined_grid([a, other]) is None


@given(grid=grids(), x=st.floats(-100, 20_000), y=st.floats(-100, 20_000))
def test_points_go_to_the_ground_and_back(grid: Grid, x: float, y: float) -> None:
    there = grid.to_ground(np.array([[x, y], [0, 0]]))
    assert there[0] == pytest.approx(grid.transform @ (x, y), rel=1e-12)
    assert there[1].tolist() == list(grid.corners[0])
    assert grid.to_pixels(there)[0] == pytest.approx((x, y), abs=1e-6)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32638", Affine(10, 0, 300_000, 0, -10, 4_000_000)),
        ("EPSG:4326", Affine(1e-4, 0, 44.0, 0, -1e-4, 36.0)),
        ("EPSG:3857", Affine(10, 0, 4_900_000, 0, -10, 6_600_000)),
        ("EPSG:2263", Affine(30, 0, 980_000, 0, -30, 200_000)),  # US survey feet
        ("EPSG:32638", Affine(8, 3, 300_000, 3, -8, 4_000_000)),  # turned
    ],
)
def test_areas_are_those_of_the_geodesic_polygon(crs: str, transform: Affine) -> None:
    grid = Grid(CRS.from_string(crs), transform, 100, 80)
    regions = traced(blobs(80))
    centroids = shapely.get_coordinates(shapely.centroid(regions.outlines))
    areas = regions.pixels * grid.pixel_areas(centroids)
    own = ProjCRS.from_string(crs)
    to_geodetic = Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    for outline, area in zip(regions.outlines, areas, strict=True):
        # a straight line of the CRS is no geodesic: follow it in short steps
        xy = shapely.get_coordinates(shapely.segmentize(outline.exterior, 1))
        ground = np.array([transform @ tuple(point) for point in xy])
        polygon = shapely.Polygon(np.column_stack(to_geodetic.transform(*ground.T)))
        whole, _ = own.get_geod().geometry_area_perimeter(polygon)
        share = outline.area / shapely.Polygon(outline.exterior).area
        assert area == pytest.approx(abs(whole) * share, rel=2e-5)


def test_metres_per_pixel_of_degrees_and_feet() -> None:
    degrees = Grid(CRS.from_epsg(4326), Affine(0.001, 0, 44, 0, -0.001, 60.05), 100, 100)
    width, height = degrees.metres_per_pixel
    assert width == pytest.approx(55.8, abs=0.1)
    assert height == pytest.approx(111.4, abs=0.1)
    feet = Grid(CRS.from_epsg(2263), Affine(30, 0, 0, 0, -30, 0), 10, 10)
    assert feet.metres_per_pixel == pytest.approx((9.144, 9.144), abs=1e-3)
