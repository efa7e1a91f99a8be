"""Reading polygons: repair, reprojection, refusals."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fiona
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo import vectors
from builtup.geo.vectors import (
    PolygonFile,
    distance_to,
    read_polygons,
    reproject,
    stream_polygons,
    vector_files,
)
from helpers import write_polygons

SQUARE = shapely.box(300_000, 3_999_000, 300_100, 3_999_100)
BOWTIE = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
RING = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (3, 6), (6, 6), (6, 3)]])


def test_polygons_come_back_as_they_were_written(tmp_path: Path) -> None:
    found = read_polygons(write_polygons(tmp_path / "a.shp", [SQUARE, RING]))
    assert found.repaired == 0
    assert pyproj.CRS(found.crs).to_epsg() == 32638
    assert [g.equals(e) for g, e in zip(found.geometries, [SQUARE, RING], strict=True)] == [1, 1]


def test_multipolygons_come_as_their_parts(tmp_path: Path) -> None:
    parts = [shapely.box(0, 0, 1, 1), shapely.box(5, 5, 7, 6)]
    found = read_polygons(write_polygons(tmp_path / "a.shp", [shapely.MultiPolygon(parts)]))
    assert sorted(g.area for g in found.geometries) == [1, 2]


def test_invalid_geometries_are_repaired_and_counted(tmp_path: Path) -> None:
    found = read_polygons(write_polygons(tmp_path / "a.shp", [BOWTIE, SQUARE]))
    assert found.repaired == 1
    assert shapely.is_valid(found.geometries).all()
    assert shapely.union_all(found.geometries[:2]).area == pytest.approx(2)  # both lobes


def test_other_formats_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {},'
        ' "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}}]}'
    )
    assert read_polygons(path).geometries[0].area == 2
    assert vector_files(path) == (path,)


def test_streamed_batches_hold_the_polygons_that_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 2)
    path = write_polygons(tmp_path / "a.shp", [SQUARE, RING, BOWTIE])
    batches = list(stream_polygons(path))
    whole = read_polygons(path)
    assert [len(batch) for batch in batches] == [2, 2]  # the bow tie has two lobes
    assert sum(batch.repaired for batch in batches) == whole.repaired
    streamed = np.concatenate([batch.geometries for batch in batches])
    assert shapely.equals(streamed, whole.geometries).all()
    assert not list(stream_polygons(write_polygons(tmp_path / "empty.shp", [])))


def test_heights_are_dropped(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [shapely.force_3d(SQUARE, 7)])
    assert not shapely.has_z(read_polygons(path).geometries).any()


def without(suffix: str) -> Callable[[Path], None]:
    return lambda path: path.with_suffix(suffix).unlink()


def cut(suffix: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        file = path.with_suffix(suffix)
        file.write_bytes(file.read_bytes()[:-10])

    return spoil


def zero(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(b"no shapefile" * 100)


def crs_of(text: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.with_suffix(".prj").write_text(text)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.unlink(), "no such file"),
        (without(".shx"), ".shx file is missing"),
        (without(".dbf"), ".dbf file is missing"),
        (without(".prj"), ".prj file is missing"),
        (cut(".shp"), "cut off"),
        (cut(".shx"), "cut off"),
        (cut(".dbf"), "cut off"),
        (zero, "empty file"),
        (noise, "cut off"),
        (crs_of("nowhere"), "CRS"),
        (crs_of('GEOGCS["nonsense"]'), "its CRS is not understood"),
        (crs_of('GEOGCS["WGS 84",DATUM["WGS_1984"'), "its CRS is not understood"),
    ],
)
def test_bad_shapefiles_are_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    path = write_polygons(tmp_path / "a.shp", [SQUARE] * 9)
    spoil(path)
    with pytest.raises(InputError) as caught:
        read_polygons(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert why in message
    assert "\n" not in message
    with pytest.raises(InputError, match=re.escape(why)):
        list(stream_polygons(path))


def test_a_crs_without_a_place_on_earth_cannot_be_reprojected(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [SQUARE])
    path.with_suffix(".prj").write_text('LOCAL_CS["arbitrary",UNIT["metre",1]]')
    with pytest.raises(InputError, match=r"a\.shp: its CRS \(arbitrary\) cannot be brought to"):
        reproject(read_polygons(path), "EPSG:32638")


def test_a_file_without_polygons_is_refused(tmp_path: Path) -> None:
    for name, shapes in (("none", []), ("empty", [shapely.Polygon()])):
        path = write_polygons(tmp_path / f"{name}.shp", shapes)
        with pytest.raises(InputError, match="holds no polygon"):
            read_polygons(path)


def test_other_geometries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}')
    with pytest.raises(InputError, match="holds a LineString"):
        read_polygons(path)


def test_side_files_in_capitals_are_found(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "a.shp", [SQUARE])
    path.with_suffix(".prj").rename(tmp_path / "a.PRJ")
    assert tmp_path / "a.PRJ" in vector_files(path)


@given(x=st.floats(200_000, 800_000), y=st.floats(10_000, 8_000_000), size=st.floats(1, 5000))
def test_reprojection_there_and_back_moves_nothing(
    tmp_path_factory: pytest.TempPathFactory, x: float, y: float, size: float
) -> None:
    box = shapely.box(x, y, x + size, y + size)
    found = read_polygons(write_polygons(tmp_path_factory.mktemp("v") / "a.shp", [box]))
    back = reproject(reproject(found, "EPSG:4326"), "EPSG:32638")
    assert shapely.hausdorff_distance(back.geometries[0], box) < 1e-3  # metres


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


def test_a_file_read_in_parts_holds_what_it_holds_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = [shapely.box(i, 0, i + 0.8, 1) for i in range(7)]
    path = write_polygons(tmp_path / "a.shp", [*squares, BOWTIE])
    monkeypatch.setattr(vectors, "BATCH", 3)
    file, whole = PolygonFile(path), read_polygons(path)
    for _ in range(2):  # each reading counts anew
        parts = list(file.parts())
        assert len(parts) == 3
        assert shapely.equals_exact(
            np.concatenate([part.geometries for part in parts]), whole.geometries
        ).all()
        assert file.repaired == whole.repaired == 1


def test_a_file_without_polygons_is_refused_when_it_is_read_in_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no polygon"):
        list(PolygonFile(write_polygons(tmp_path / "empty.shp", [])).parts())


def test_a_plain_shapefile_that_is_not_read_to_its_end_ends_no_other_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 1)
    path = write_polygons(tmp_path / "a.shp", [SQUARE, RING])
    given_up = stream_polygons(path)
    next(given_up)
    with fiona.open(path):  # fails at its end where the environment is gone
        del given_up
        gc.collect()


def test_several_polygons_in_a_shape_are_not_read_further_than_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 1)
    path = write_polygons(tmp_path / "a.shp", [shapely.MultiPolygon([SQUARE, RING])] * 2)
    parts = PolygonFile(path).parts()
    next(parts)
    with fiona.open(path):
        pass
    parts.close()  # closes the file within as well
    with fiona.open(path):
        del parts
        gc.collect()
