"""MGRS squares, UTM zones, and the grid that a scene is predicted on."""

from __future__ import annotations

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
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


def by_the_regular_pattern(longitude: float, latitude: float) -> str:
    """The square by the 6° zones and 8° bands of DMA TM 8358.1, without its exceptions."""
    zone = int((longitude + 180) // 6) % 60 + 1
    to_utm = Transformer.from_crs(4326, utm_zone(longitude, latitude).to_epsg(), always_xy=True)
    east, north = to_utm.transform(longitude, latitude)
    band = "CDEFGHJKLMNPQRSTUVWX"[min(19, int((latitude + 80) // 8))]
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(east // 100_000) - 1]
    row = "ABCDEFGHJKLMNPQRSTUV"[(int(north // 100_000) + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{band}{column}{row}"


def is_exception(longitude: float, latitude: float) -> bool:
    """Whether the standard moves the zones: south-west Norway, Svalbard."""
    norway = 56 <= latitude < 64 and 3 <= longitude < 6
    return norway or (latitude >= 72 and 6 <= longitude < 36)


@given(st.floats(-180, 179.999), st.floats(-79.9, 83.9))
def test_squares_are_those_of_the_regular_pattern_but_for_the_exceptions(
    longitude: float, latitude: float
) -> None:
    square, regular = mgrs_square(longitude, latitude), by_the_regular_pattern(longitude, latitude)
    if is_exception(longitude, latitude):
        assert square[2] == regular[2]  # the band stays
    else:
        zone = utm_zone(longitude, latitude).to_epsg()
        to_utm = Transformer.from_crs(4326, zone, always_xy=True)
        edge = min(abs(v - 1e5 * round(v / 1e5)) for v in to_utm.transform(longitude, latitude))
        assert square == regular or edge < 1  # metres: two formulas at the border of squares


@pytest.mark.parametrize(
    ("longitude", "latitude", "zone", "regular"),
    [
        # either side of each moved border
        (2.9, 60.0, 31, 31),
        (3.1, 60.0, 32, 31),
        (5.3, 60.4, 32, 31),  # Bergen
        (11.9, 60.0, 32, 32),
        (3.1, 55.9, 31, 31),
        (3.1, 64.1, 31, 31),
        (8.9, 78.0, 31, 32),
        (9.1, 78.0, 33, 32),
        (15.6, 78.2, 33, 33),  # Longyearbyen
        (20.9, 78.0, 33, 34),
        (21.1, 78.0, 35, 34),
        (32.9, 78.0, 35, 36),
        (33.1, 78.0, 37, 36),
        (8.9, 71.9, 32, 32),
    ],
)
def test_zones_of_norway_and_svalbard_are_those_of_the_standard(
    longitude: float, latitude: float, zone: int, regular: int
) -> None:
    assert int(mgrs_square(longitude, latitude)[:2]) == zone
    # grids stay in the regular zones: EPSG's areas of use know no exceptions
    assert utm_zone(longitude, latitude).to_epsg() == 32600 + regular


def test_beyond_the_zones_it_is_the_nearest_square() -> None:
    assert mgrs_square(10, 89) == mgrs_square(10, 84)
    assert mgrs_square(10, -89) == mgrs_square(10, -80)


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
        assert target_grid(own, "scene", 10.0) is own


def test_other_pixels_get_ten_metres_in_their_own_crs() -> None:
    goal = target_grid(grid(CRS, TRANSFORM @ Affine.scale(2), 100, 50), "scene", 10.0)
    assert goal == grid(CRS, TRANSFORM, 200, 100)
    goal = target_grid(grid(CRS, TRANSFORM @ Affine.scale(0.25), 1000, 80), "scene", 10.0)
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
    goal = target_grid(own, "scene", 10.0)
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
        target_grid(own, "scene", 10.0)


def test_the_poles_are_refused() -> None:
    with pytest.raises(InputError, match="beyond the UTM zones"):
        target_grid(grid("EPSG:4326", Affine(0.001, 0, 0, 0, -0.001, 85)), "scene", 10.0)


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
