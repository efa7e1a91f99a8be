"""An area by a box or a file: which windows meet it, and which pixels it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS as RasterioCRS
from rasterio.features import geometry_mask
from rasterio.warp import transform_bounds

from builtup.errors import BuiltupError, InputError
from builtup.geo.area import parse_area
from builtup.geo.grid import Grid
from builtup.geo.windows import Window, tiling
from helpers import CRS, TRANSFORM, write_polygons

GRID = Grid(RasterioCRS.from_user_input(CRS), TRANSFORM, 90, 70)


def test_a_file_holds_the_pixels_that_gdal_says(tmp_path: Path) -> None:
    circle = shapely.Point(300_400, 3_999_700).buffer(180)
    area = parse_area(str(write_polygons(tmp_path / "area.shp", [circle])))
    assert area is not None
    on = area.on(GRID)
    assert on is not None
    expected = geometry_mask([circle], GRID.shape, TRANSFORM, invert=True)
    for window in tiling(GRID.width, GRID.height, 25, 5):
        inside = expected[window.slices]
        np.testing.assert_array_equal(on.holds(window), inside)
        assert on.meets(window) or not inside.any()
    assert not on.meets(Window(0, 0, 5, 5))


def test_a_box_in_degrees_is_warped(tmp_path: Path) -> None:
    bounds = transform_bounds(GRID.crs, "EPSG:4326", *GRID.window(30, 20, 40, 30).bounds)
    area = parse_area(",".join(map(str, bounds)))
    assert area is not None
    on = area.on(GRID)
    assert on is not None
    held = on.holds(Window(0, 0, 70, 90))
    assert held[20:50, 30:70].mean() > 0.98
    assert held.sum() < 1.15 * 40 * 30


@pytest.mark.parametrize("box", ["-180,-90,180,90", "-100,0,100,80"])
def test_an_area_far_larger_than_the_scene_holds_all_of_it(box: str) -> None:
    area = parse_area(box)  # its corners have no place, or a wrong one, in the scene's UTM zone
    assert area is not None
    on = area.on(GRID)
    assert on is not None
    assert on.holds(Window(0, 0, 70, 90)).all()


def test_an_area_stops_at_the_date_line_of_a_scene_across_it() -> None:
    across = RasterioCRS.from_epsg(32701)
    grid = Grid(across, Affine(10, 0, 177_500, 0, -10, 8_228_000), 300, 300)
    held = []
    for box in ("-180,-90,180,90", "170,-20,180,0", "-180,-20,-170,0"):
        area = parse_area(box)
        assert area is not None
        on = area.on(grid)
        assert on is not None
        held.append(on.holds(Window(0, 0, 300, 300)))
    whole, east, west = held
    assert whole.all()
    np.testing.assert_array_equal(east, ~west)
    assert east[:, :100].all() and west[:, 200:].all()


def test_a_box_across_the_date_line_has_its_west_above_its_east() -> None:
    grid = Grid(RasterioCRS.from_epsg(32701), Affine(10, 0, 177_500, 0, -10, 8_228_000), 300, 300)
    held = []
    for box in (
        "179.99,-20,-179.99,0",
        "179.99,-20,180,0",
        "-180,-20,-179.99,0",
        "180,-20,-179.99,0",
    ):
        area = parse_area(box)
        assert area is not None
        on = area.on(grid)
        assert on is not None
        held.append(on.holds(Window(0, 0, 300, 300)))
    both, east, west, half = held
    np.testing.assert_array_equal(both, east | west)
    np.testing.assert_array_equal(half, west)
    assert 0.4 < both.mean() < 0.9


def test_an_area_elsewhere_meets_nothing() -> None:
    area = parse_area("0,0,1,1")
    assert area is not None
    assert area.on(GRID) is None
    assert parse_area(" ") is None


def test_areas_are_told_apart() -> None:
    one, other = parse_area("0,0,1,1"), parse_area("0,0,1,2")
    assert one is not None and other is not None
    assert one.digest != other.digest


@pytest.mark.parametrize(
    "text", ["1,0,0,1", "-10,0,-100,1", "181,0,-179,1", "0,0,1,95", "a,b,c,d", "0,0,nan,1"]
)
def test_boxes_without_sense_are_refused(text: str) -> None:
    with pytest.raises(BuiltupError, match="use minx,miny,maxx,maxy"):
        parse_area(text)


def test_the_remedy_of_a_box_names_the_date_line() -> None:
    with pytest.raises(BuiltupError, match="across the date line"):
        parse_area("-10,-17,-100,-16")


def test_a_file_that_is_absent_is_named() -> None:
    with pytest.raises(InputError, match=r"absent\.gpkg"):
        parse_area("absent.gpkg")


def test_the_text_of_a_polygon_is_no_area() -> None:
    ring = ", ".join(f"{i / 100} {i / 50}" for i in range(100))
    with pytest.raises(InputError, match=r"POLYGON .*; give a polygon file, or minx,miny"):
        parse_area(f"POLYGON (({ring}))")
