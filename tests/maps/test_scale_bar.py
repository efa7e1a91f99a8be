"""Scale bar and north."""

from __future__ import annotations

import math

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.maps.scale_bar import centre, ground_width, north, scale_bar

UTM = CRS.from_epsg(32638)


NORTH_UP = Affine(10, 0, 500_000, 0, -10, 4_000_000)


def grid(transform=NORTH_UP, crs=UTM, width=1000, height=800):
    return Grid(crs, transform, width, height)


@given(st.floats(1, 1e7), st.sampled_from([1, 2, 4]))
def test_a_bar_is_a_round_number_of_metres_and_fits(width, zoom):
    bar = scale_bar(width, zoom)
    assert 0.1 < bar.share <= 0.3 + 1e-9
    number, unit = bar.label.split()
    metres = float(number) * (1000 if unit == "km" else 1)
    assert metres == pytest.approx(bar.share * width / zoom)
    assert round(metres / 10 ** math.floor(math.log10(metres) + 1e-9), 6) in {1, 2, 5}


def test_width_is_measured_on_the_ellipsoid():
    assert ground_width(grid()) == pytest.approx(10_000, rel=5e-4)
    degrees = Affine(0.001, 0, 45, 0, -0.001, 60.4)
    # 1° of longitude at 60° N is half as long as at the equator
    width = ground_width(grid(degrees, CRS.from_epsg(4326), 1000, 800))
    assert width == pytest.approx(55_800, rel=2e-3)


def test_north_is_up_turned_and_down():
    assert north(grid()) == pytest.approx(0, abs=0.1)
    assert abs(north(grid(Affine(10, 0, 500_000, 0, 10, 4_000_000)))) == pytest.approx(180, abs=0.1)
    turned = Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    # its columns point 30° north of east, so north lies 30° to the right of up
    assert north(grid(turned)) == pytest.approx(30, abs=0.5)
    west = Affine(10, 0, 200_000, 0, -10, 7_500_000)
    assert north(grid(west)) > 1  # meridians of a zone's western edge lean towards its middle


def test_a_grid_without_crs_has_neither():
    assert ground_width(grid(crs=None)) is None
    assert north(grid(crs=None)) is None
    assert centre(grid(crs=None)) is None


def test_the_centre_is_in_degrees():
    assert centre(grid()) == pytest.approx((45.0555, 36.1086), abs=0.001)
