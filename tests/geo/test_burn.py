"""Polygons burnt by windows are those that GDAL burns into the whole grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterioCRS

from builtup.geo import burn
from builtup.geo.burn import BlockBurner, Burner, placed_burner
from builtup.geo.grid import Grid
from builtup.geo.vectors import PolygonSet
from builtup.geo.windows import Window, aligned
from helpers import CRS, TRANSFORM, on_ground

UTM = rasterio.crs.CRS.from_string(CRS)
SIZE = 96


def whole(
    polygons: list[shapely.Polygon], all_touched: bool, transform: Affine = TRANSFORM
) -> NDArray[np.uint8]:
    """GDAL's mask of the whole grid at once, by rasterio."""
    shapes = [(polygon, 1) for polygon in polygons]
    return rasterio.features.rasterize(
        shapes, (SIZE, SIZE), transform=transform, all_touched=all_touched, dtype="uint8"
    )


def by_windows(
    polygons: list[shapely.Polygon],
    all_touched: bool,
    window: tuple[int, int],
    transform: Affine = TRANSFORM,
) -> NDArray[np.uint8]:
    found = PolygonSet(Path("a.shp"), np.array(polygons, dtype=object), UTM)
    burner = Burner.of(found, Grid(UTM, transform, SIZE, SIZE), all_touched=all_touched)
    mask = np.full((SIZE, SIZE), 99, dtype=np.uint8)
    for part in aligned(SIZE, SIZE, window):
        mask[part.slices] = burner.burn(part)
    return mask


@st.composite
def random_polygons(draw: st.DrawFn) -> list[shapely.Polygon]:
    """Hulls of random points, within and beyond the raster, from less than a pixel to all of it."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    polygons = []
    for _ in range(draw(st.integers(1, 12))):
        centre, size = generator.uniform(-10, SIZE + 10, 2), generator.choice([0.5, 3, 20, 90])
        points = centre + generator.uniform(-size, size, (draw(st.integers(3, 9)), 2))
        polygons.append(on_ground(shapely.convex_hull(shapely.multipoints(points))))
    return polygons


@pytest.mark.parametrize("uncut", [0, 16, 256])
@given(
    polygons=random_polygons(),
    all_touched=st.booleans(),
    window=st.sampled_from([(16, 16), (16, 48), (7, 96), (96, 96)]),
)
def test_masks_by_windows_equal_gdal_s_of_the_whole_grid(
    uncut: int, polygons: list[shapely.Polygon], all_touched: bool, window: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burn, "LARGEST_UNCUT", uncut)
        made = by_windows(polygons, all_touched, window)
    np.testing.assert_array_equal(made, whole(polygons, all_touched))


@given(
    boxes=st.lists(
        st.tuples(*2 * [st.integers(-5, SIZE)], *2 * [st.integers(1, 40)]), min_size=1, max_size=9
    ),
    all_touched=st.booleans(),
    noise=st.sampled_from([0.0, 1e-8]),
)
def test_boxes_on_pixel_edges_are_burnt_as_they_are(
    boxes: list[tuple[int, int, int, int]], all_touched: bool, noise: float
) -> None:
    """Outlines of a mask give the mask again, also after a reprojection's rounding."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    polygons = []
    generator = np.random.default_rng(0)
    for x, y, width, height in boxes:
        mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = 1
        corners = shapely.get_coordinates(on_ground(shapely.box(x, y, x + width, y + height)))[:-1]
        polygons.append(shapely.Polygon(corners + generator.normal(0, noise, corners.shape)))
    np.testing.assert_array_equal(by_windows(polygons, all_touched, (16, 32)), mask)


def test_holes_stay_empty_and_overlaps_stay_full() -> None:
    ring = shapely.box(10, 10, 50, 50) - shapely.box(20, 20, 40, 40)
    polygons = [on_ground(p) for p in (ring, shapely.box(5, 5, 15, 15), shapely.box(8, 8, 12, 12))]
    mask = by_windows(polygons, False, (16, 16))
    assert mask[30, 30] == 0
    assert mask[9, 9] == mask[14, 14] == 1
    np.testing.assert_array_equal(mask, whole(polygons, False))


def test_rotated_grids_are_burnt_too() -> None:
    turned = TRANSFORM @ Affine.rotation(30)
    centre = shapely.Point(turned @ (48, 48)).buffer(200)
    np.testing.assert_array_equal(
        by_windows([centre], True, (32, 32), turned), whole([centre], True, turned)
    )


def test_windows_cut_from_blocks_are_those_burnt_by_themselves() -> None:
    generator = np.random.default_rng(3)
    centres = generator.uniform(0, 300, (60, 2))
    shapes = shapely.buffer(shapely.points(centres * 10), generator.uniform(5, 400, 60))
    grid = Grid(UTM, Affine(10, 0, 0, 0, 10, 0), 300, 300)
    burner = Burner.of(PolygonSet(Path("a.shp"), shapes, UTM), grid, all_touched=True)
    blocks = BlockBurner(burner, (128, 96))
    for window in aligned(300, 300, (32, 48)):
        np.testing.assert_array_equal(blocks.burn(window), burner.burn(window))
    with pytest.raises(ValueError, match="one block"):
        blocks.burn(Window(100, 0, 64, 10))


def in_degrees(grid: Grid, shapes: list[shapely.Polygon]) -> PolygonSet:
    """Polygons of a grid's pixels, in WGS 84."""
    way = pyproj.Transformer.from_crs(grid.crs.to_wkt(), "EPSG:4326", always_xy=True)

    def move(xy):
        return np.stack(way.transform(*grid.to_ground(xy).T), axis=1)

    moved = shapely.transform(np.array(shapes, dtype=object), move)
    return PolygonSet(Path("a.geojson"), moved, pyproj.CRS("EPSG:4326"))


def test_polygons_of_another_crs_are_placed_or_it_is_said_by_what_they_miss() -> None:
    grid = Grid(RasterioCRS.from_epsg(32638), Affine(1, 0, 300_000, 0, -1, 4_000_000), 40, 30)
    here = in_degrees(grid, [shapely.box(2.5, 3.5, 9.5, 8.5)])
    burner, far = placed_burner(here, grid, all_touched=True)
    assert far == ""
    assert burner.burn(Window(0, 0, 30, 40)).sum() == 8 * 6
    away = in_degrees(grid, [shapely.box(5040, 0, 5050, 10)])
    burner, far = placed_burner(away, grid, all_touched=True)
    assert (len(burner), far) == (0, "5.0 km away")
    turned = replace(here, geometries=shapely.transform(here.geometries, lambda xy: xy[:, ::-1]))
    assert "latitude first" in placed_burner(turned, grid, all_touched=True)[1]
    metres = np.array([shapely.box(300_002, 3_999_990, 300_009, 3_999_995)], dtype=object)
    told = placed_burner(replace(here, geometries=metres), grid, all_touched=True)[1]
    assert told == "300009.0, 3999990.0 are no degrees, as their CRS has them"
