"""Plain shapefiles read into arrays: the same polygons as GDAL's, or none at all."""

from __future__ import annotations

from pathlib import Path

import fiona
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.geo.shapefile import plain_polygons


def write(path: Path, geometries: list[shapely.Geometry], geometry: str = "Polygon") -> Path:
    schema = {"geometry": geometry, "properties": {"DN": "int"}}
    with fiona.open(path, "w", driver="ESRI Shapefile", crs="EPSG:4326", schema=schema) as out:
        for shape in geometries:
            out.write({"geometry": shapely.geometry.mapping(shape), "properties": {"DN": 255}})
    return path


def read(path: Path) -> np.ndarray | None:
    found = plain_polygons(path, path.with_suffix(".shx"), path.with_suffix(".dbf"))
    if found is None:
        return None
    middle = len(found) // 2
    return np.concatenate((found.geometries(0, middle), found.geometries(middle)))


def square(x: float, y: float, side: float, holes: int = 0) -> shapely.Polygon:
    step = side / (holes + 1)
    inner = [
        shapely.box(x + i * step + 0.2 * step, y + 0.1, x + i * step + 0.6 * step, y + 0.3).exterior
        for i in range(holes)
    ]
    return shapely.Polygon(shapely.box(x, y, x + side, y + side).exterior, inner)


places = st.tuples(st.floats(-170, 170), st.floats(-80, 80), st.floats(1, 5), st.integers(0, 3))


@settings(max_examples=25, deadline=None)
@given(st.lists(places, min_size=1, max_size=6))
def test_plain_polygons_are_those_that_gdal_reads(
    tmp_path_factory: pytest.TempPathFactory, squares: list[tuple[float, float, float, int]]
) -> None:
    path = write(tmp_path_factory.mktemp("shp") / "a.shp", [square(*s) for s in squares])
    with fiona.open(path) as source:
        expected = [shapely.geometry.shape(feature.geometry) for feature in source]
    found = read(path)
    assert found is not None
    assert shapely.equals_exact(found, expected).all()


def test_a_shape_of_several_polygons_is_left_to_gdal(tmp_path: Path) -> None:
    several = shapely.MultiPolygon([square(0, 0, 1), square(5, 5, 1)])
    assert read(write(tmp_path / "a.shp", [square(9, 9, 2), several])) is None


def test_shapes_with_heights_are_left_to_gdal(tmp_path: Path) -> None:
    raised = shapely.force_3d(square(0, 0, 1), 3.0)
    assert read(write(tmp_path / "a.shp", [raised], "3D Polygon")) is None


def test_deleted_rows_are_left_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.shp", [square(0, 0, 1), square(5, 5, 1)])
    dbf = path.with_suffix(".dbf")
    data = bytearray(dbf.read_bytes())
    start = int.from_bytes(data[8:10], "little")
    data[start] = ord("*")
    dbf.write_bytes(bytes(data))
    assert read(path) is None
