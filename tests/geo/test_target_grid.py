"""MGRS squares, UTM zones, and the grid that a scene is predicted on."""

from __future__ import annotations

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS as RasterioCRS
from rasterio.warp import transform_bounds

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.target_grid import mgrs_square, shared_ground, square_of, target_grid, utm_zone
from helpers import CRS, TRANSFORM


def grid(crs: str, transform: Affine, width: int = 400, height: int = 300) -> Grid:
    return Grid(RasterioCRS.from_user_input(crs), transform, width, height)


@pytest.mark.parametrize(
    ("longitude", "latitude", "square"),
    [
        # names of Sentinel-2 tiles in which these places lie
        (43.13, 36.34, "38SLF"),  # Mosul
        (-0.76, 38.1, "30SXH"),  # Vega Baja
        (17.3, 48.8, "33UXQ"),  # Senica
        (-122.42, 37.77, "10SEG"),  # San Francisco
        (31.24, 30.05, "36RUU"),  # Cairo
        (-43.2, -22.9, "23KPQ"),  # Rio de Janeiro
        (151.2, -33.87, "56HLH"),  # Sydney
    ],
)
def test_squares_are_named_as_the_tiles_are(longitude: float, latitude: float, square: str) -> None:
    assert mgrs_square(longitude, latitude) == square


@given(st.floats(-180, 179.999), st.floats(-90, 90))
def test_every_place_has_a_square(longitude: float, latitude: float) -> None:
    square = mgrs_square(longitude, latitude)
    assert len(square) == 5
    assert 1 <= int(square[:2]) <= 60
    assert not set("IO") & set(square)


def test_a_grid_of_ten_metres_stays() -> None:
    for own in (
        grid(CRS, TRANSFORM),
        grid(CRS, TRANSFORM @ Affine.scale(1.01)),
        grid("EPSG:3035", Affine(10, 0, 4_321_000, 0, -10, 3_210_000)),
    ):
        assert target_grid(own, "scene") is own


def test_other_pixels_get_ten_metres_in_their_own_crs() -> None:
    goal = target_grid(grid(CRS, TRANSFORM @ Affine.scale(2), 100, 50), "scene")
    assert goal == grid(CRS, TRANSFORM, 200, 100)
    goal = target_grid(grid(CRS, TRANSFORM @ Affine.scale(0.25), 1000, 80), "scene")
    assert goal == grid(CRS, TRANSFORM, 250, 20)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(0.0001, 0, 17.2, 0, -0.0001, 48.7)),
        ("EPSG:3857", Affine(10, 0, 1_915_000, 0, -10, 6_222_000)),  # stretched at 48.7° N
    ],
)
def test_degrees_and_stretched_maps_go_to_utm(crs: str, transform: Affine) -> None:
    own = grid(crs, transform)
    goal = target_grid(own, "scene")
    assert goal.crs == RasterioCRS.from_epsg(32633)
    assert goal.resolution == (10, 10)
    assert goal.transform.c % 10 == goal.transform.f % 10 == 0
    inner = transform_bounds(own.crs, goal.crs, *own.bounds)
    left, bottom, right, top = goal.bounds
    assert left <= inner[0] and bottom <= inner[1] and right >= inner[2] and top >= inner[3]


@pytest.mark.parametrize("left", [20_037_000, -20_038_000])
def test_a_mercator_map_across_the_date_line_is_refused(left: float) -> None:
    own = grid("EPSG:3857", Affine(10, 0, left, 0, -10, 6_222_000))
    with pytest.raises(InputError, match=r"scene: goes on beyond .* the date line; warp it to UTM"):
        target_grid(own, "scene")


def test_the_poles_are_refused() -> None:
    with pytest.raises(InputError, match="beyond the UTM zones"):
        target_grid(grid("EPSG:4326", Affine(0.001, 0, 0, 0, -0.001, 85)), "scene")


def test_the_south_has_its_zones() -> None:
    assert utm_zone(151.2, -33.87).to_epsg() == 32756


def test_ground_is_shared_by_share_of_the_smaller() -> None:
    one = grid(CRS, TRANSFORM, 100, 100)
    assert shared_ground(one, one) == pytest.approx(1)
    assert shared_ground(one, one.window(50, 0, 100, 100)) == pytest.approx(0.5, abs=0.01)
    assert shared_ground(one, one.window(20, 20, 30, 30)) == pytest.approx(1, abs=0.01)
    assert shared_ground(one, one.window(500, 0, 100, 100)) == 0
    assert square_of(one).startswith("38S")


def test_ground_is_shared_on_either_side_of_the_date_line() -> None:
    east = grid("EPSG:4326", Affine(0.0001, 0, 179.99, 0, -0.0001, -16), 200, 200)
    west = grid("EPSG:4326", Affine(0.0001, 0, -180.01, 0, -0.0001, -16), 200, 200)
    assert shared_ground(east, west) == pytest.approx(1)
    half = grid("EPSG:4326", Affine(0.0001, 0, -180, 0, -0.0001, -16), 200, 200)
    assert shared_ground(east, half) == shared_ground(half, east) == pytest.approx(0.5)
