"""Polygons in another CRS: straight edges, datums, the date line; distances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo.reprojection import densify, distance_to, reproject
from builtup.geo.vectors import PolygonSet, read_polygons
from helpers import write_polygons

SQUARE = shapely.box(300_000, 3_999_000, 300_100, 3_999_100)


def polygons(*shapes: shapely.Polygon, crs: object = 4326, name: str = "a.shp") -> PolygonSet:
    return PolygonSet(Path(name), np.array(shapes, dtype=object), pyproj.CRS.from_user_input(crs))


def test_a_crs_without_a_place_on_earth_cannot_be_reprojected(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [SQUARE])
    path.with_suffix(".prj").write_text('LOCAL_CS["arbitrary",UNIT["metre",1]]')
    with pytest.raises(InputError, match=r"a\.shp: its CRS \(arbitrary\) cannot be brought to"):
        reproject(read_polygons(path), "EPSG:32638")


@given(x=st.floats(200_000, 800_000), y=st.floats(10_000, 8_000_000), size=st.floats(1, 5000))
def test_reprojection_there_and_back_moves_nothing(
    tmp_path_factory: pytest.TempPathFactory, x: float, y: float, size: float
) -> None:
    box = shapely.box(x, y, x + size, y + size)
    found = read_polygons(write_polygons(tmp_path_factory.mktemp("v") / "a.shp", [box]))
    back = reproject(reproject(found, "EPSG:4326"), "EPSG:32638")
    assert shapely.hausdorff_distance(back.geometries[0], box) < 0.1  # metres: edges are split


def test_longitude_comes_first(tmp_path: Path) -> None:
    mosul = shapely.box(43.1, 36.3, 43.2, 36.4)
    found = read_polygons(write_polygons(tmp_path / "a.shp", [mosul], "EPSG:4326"))
    left, bottom, *_ = reproject(found, "EPSG:32638").geometries[0].bounds
    assert 300_000 < left < 400_000
    assert 4_000_000 < bottom < 4_100_000


def test_distance_is_that_of_the_nearest_polygon(tmp_path: Path) -> None:
    shapes = [shapely.box(0, 0, 1, 1), shapely.box(100, 0, 101, 1)]
    found = read_polygons(write_polygons(tmp_path / "a.shp", shapes))
    corners = [(110.0, 0.0), (120.0, 0.0), (120.0, 9.0), (110.0, 9.0)]
    assert distance_to(found, corners) == 9
    assert distance_to(found, [(x - 60, y) for x, y in corners]) == 40
    feet = replace(found, crs=pyproj.CRS("EPSG:2263"))
    assert distance_to(feet, corners) == pytest.approx(9 * 0.3048, rel=1e-4)
    nowhere = np.empty(0, dtype=object)
    assert distance_to(type(found)(found.path, nowhere, found.crs), corners) == float("inf")


@pytest.mark.parametrize(("latitude", "degree"), [(0, 111_319.5), (60, 55_800.2)])
def test_distances_in_degrees_are_metres_on_the_ellipsoid(
    tmp_path: Path, latitude: float, degree: float
) -> None:
    """A degree of longitude at the equator and at 60° (WGS 84: cos φ · a / √(1 − e² sin² φ))."""
    shapes = [
        shapely.box(11, latitude, 11.1, latitude + 0.01),
        shapely.box(9, latitude + 0.8, 10, latitude + 0.9),  # nearer in degrees, farther at 60°
    ]
    found = read_polygons(
        write_polygons(tmp_path / "a.shp", shapes[: 1 + (latitude == 60)], "EPSG:4326")
    )
    corners = [(9.0, latitude), (10.0, latitude), (10.0, latitude + 0.01), (9.0, latitude + 0.01)]
    assert distance_to(found, corners) == pytest.approx(degree, rel=1e-3)


# --- edges, datums, the date line ---------------------------------------------------------------


def test_an_edge_along_a_parallel_stays_on_it_when_it_is_moved() -> None:
    """The middle of 1.2° of the parallel of 36.3° N lies 167 m south of the chord in UTM."""
    moved = reproject(polygons(shapely.box(42.0, 36.3, 43.2, 36.8)), "EPSG:32638").geometries[0]
    there = pyproj.Transformer.from_crs(4326, 32638, always_xy=True)
    for longitude in np.linspace(42.0, 43.2, 55):
        point = shapely.Point(there.transform(longitude, 36.3))
        assert moved.exterior.distance(point) < 0.02
    straight = shapely.LineString([there.transform(42.0, 36.3), there.transform(43.2, 36.3)])
    assert straight.distance(shapely.Point(there.transform(42.6, 36.3))) == pytest.approx(
        167, abs=1
    )


def test_short_edges_are_left_as_they_are() -> None:
    small = shapely.Polygon([(42, 36), (42.009, 36), (42.004, 36.008)])
    found = polygons(small, shapely.box(42, 36, 42.025, 36.001))
    assert shapely.get_num_coordinates(densify(found).geometries).tolist() == [4, 9]
    near = polygons(SQUARE, crs=32638)
    assert densify(near) is near
    assert reproject(near, "EPSG:32638") is near


NAHRWAN = 27038  # UTM 38N; no way that PROJ knows is meant for Mosul


def test_a_datum_that_is_only_guessed_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    found = polygons(shapely.box(330_000, 4e6, 330_100, 4_000_100), crs=NAHRWAN, name="guess.shp")
    for _ in range(2):
        reproject(found, "EPSG:32638")
    (said,) = caplog.messages
    assert said.startswith("guess.shp: PROJ knows no way from the datum of its CRS (Nahrwan 1967")
    assert "ballpark" in said


def test_a_shift_that_is_off_by_more_than_a_pixel_is_said(caplog: pytest.LogCaptureFixture) -> None:
    kalianpur = polygons(shapely.box(77.0, 28.0, 77.1, 28.1), crs=4146, name="kalianpur.shp")
    reproject(kalianpur, "EPSG:32643")
    (said,) = caplog.messages
    assert said.startswith("kalianpur.shp: ")
    assert "has an accuracy of 22 m" in said


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32637", "EPSG:3857", "EPSG:23038", "EPSG:3392"])
def test_datums_with_a_known_way_are_not_remarked(
    caplog: pytest.LogCaptureFixture, crs: str
) -> None:
    there = reproject(polygons(SQUARE, crs=32638), crs)
    back = reproject(there, "EPSG:32638")
    assert not caplog.messages
    assert shapely.hausdorff_distance(back.geometries[0], SQUARE) < 0.01


@pytest.mark.parametrize(("shape", "said"), [
    (shapely.box(-179.9, -17, 179.9, -16), True),
    (shapely.box(-180, -90, 180, 90), False),
    (shapely.box(-10, -17, 100, -16), False),
])  # fmt: skip
def test_a_ring_the_wrong_way_round_the_earth_is_said(
    caplog: pytest.LogCaptureFixture, shape: shapely.Polygon, said: bool
) -> None:
    reproject(polygons(shape, name=f"{said} {shape.bounds[0]}.geojson"), "EPSG:3857")
    assert any("split it there (RFC 7946" in line for line in caplog.messages) is said
