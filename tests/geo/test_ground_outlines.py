from __future__ import annotations

from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely import box

from builtup.geo.grid import Grid
from builtup.geo.ground_outlines import ground_polygon, in_crs
from builtup.geo.windows import Window


def test_corners_move_as_gdal_moves_them() -> None:
    source, target = CRS.from_epsg(32638), CRS.from_epsg(32637)
    (found,) = in_crs([box(300_000, 4_000_000, 300_500, 4_000_500)], source, target)
    (left, right), (bottom, top) = transform(
        source, target, [300_000, 300_500], [4_000_000, 4_000_500]
    )
    assert found.distance(box(left, bottom, left, bottom)) < 1e-3
    assert found.distance(box(right, top, right, top)) < 1e-3


def test_long_edges_are_followed() -> None:
    source, target = CRS.from_epsg(32638), CRS.from_epsg(32637)
    (found,) = in_crs([box(300_000, 4_000_000, 400_000, 4_100_000)], source, target)
    assert len(found.exterior.coords) == 4 * 100 + 1
    (same,) = in_crs([box(0, 0, 100_000, 1)], source, source)
    assert len(same.exterior.coords) == 5


def test_the_outline_of_a_window_is_its_part_of_the_grid() -> None:
    grid = Grid(CRS.from_epsg(32638), Affine(10, 0, 300_000, 0, -10, 4_000_000), 30, 20)
    assert ground_polygon(grid).equals(box(300_000, 3_999_800, 300_300, 4_000_000))
    window = Window(2, 3, 4, 5)
    assert ground_polygon(grid, window).equals(box(300_030, 3_999_940, 300_080, 3_999_980))
