"""Reading polygons: repair, reprojection, refusals."""

from __future__ import annotations

import gc
import re
import struct
from collections.abc import Callable
from pathlib import Path

import fiona
import numpy as np
import pyogrio.raw
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo import vectors
from builtup.geo.vectors import (
    PolygonFile,
    polygons_with_number,
    read_polygons,
    stream_polygons,
)
from helpers import ROOT, write_polygons

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


# --- shapefiles, through fiona and through Arrow ------------------------------------------------


@pytest.fixture(params=["few", "many"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read as if they held few polygons, or many."""
    monkeypatch.setattr(vectors, "MANY", 0 if request.param == "many" else 2**60)


def write_shapes(path: Path, shapes: list[bytes], deleted: tuple[int, ...] = ()) -> Path:
    """A shapefile of records as they are (ESRI Shapefile Technical Description, 1998), some of
    them deleted."""
    write_polygons(path, [SQUARE] * len(shapes))
    header = bytearray(path.read_bytes()[:100])
    records, index, at = b"", b"", 50
    for number, shape in enumerate(shapes, 1):
        words = len(shape) // 2
        records += struct.pack(">2i", number, words) + shape
        index += struct.pack(">2i", at, words)
        at += 4 + words
    for file, body in ((path, records), (path.with_suffix(".shx"), index)):
        header[24:28] = struct.pack(">i", (100 + len(body)) // 2)
        file.write_bytes(bytes(header) + body)
    dbf = bytearray(path.with_suffix(".dbf").read_bytes())
    start, length = struct.unpack("<HH", dbf[8:12])
    for row in deleted:
        dbf[start + row * length] = ord("*")
    path.with_suffix(".dbf").write_bytes(bytes(dbf))
    return path


def shape(*rings: list[tuple[float, float]]) -> bytes:
    """A polygon record: its rings as they stand, in whichever direction."""
    points = [xy for ring in rings for xy in ring]
    firsts = np.cumsum([0] + [len(ring) for ring in rings])[:-1].tolist()
    box = (*np.min(points, axis=0), *np.max(points, axis=0))
    return struct.pack("<i4d2i", 5, *box, len(rings), len(points)) + struct.pack(
        f"<{len(rings)}i{2 * len(points)}d", *firsts, *(v for xy in points for v in xy)
    )


def ring(x: float, y: float, side: float, clockwise: bool = True) -> list[tuple[float, float]]:
    made = [(x, y), (x, y + side), (x + side, y + side), (x + side, y), (x, y)]
    return made if clockwise else made[::-1]


NULL = struct.pack("<i", 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([shape(ring(0, 0, 9), ring(2, 2, 3, False))], [72]),
        ([shape(ring(2, 2, 3, False), ring(0, 0, 9))], [72]),  # the hole before its shell
        ([shape(ring(0, 0, 9, False))], [81]),  # a shell that runs the wrong way
        ([shape(ring(0, 0, 9), ring(2, 2, 3))], [81, 9]),  # it says that this is no hole
        ([shape(ring(0, 0, 9), ring(20, 0, 2))], [81, 4]),  # two shells are two polygons
        ([shape(ring(0, 0, 9), ring(2, 2, 5, False), ring(3, 3, 2))], [56, 4]),  # an island
        ([NULL, shape(ring(0, 0, 9)), NULL], [81]),
        ([shape(ring(0, 0, 9), ring(2, 2, 3, False)[:2])], [81]),  # a ring of two points
        ([shape(ring(0, 0, 9)), shape([(0, 0), (1, 1), (0, 0)])], [81]),
        ([shape(ring(0, 0, 9)), shape([(0, 0), (0, np.inf), (1, 1), (0, 0)])], [81]),
    ],
)
def test_the_variants_of_shapes_give_the_polygons_that_are_meant(
    tmp_path: Path, records: list[bytes], expected: list[float]
) -> None:
    found = read_polygons(write_shapes(tmp_path / "a.shp", records))
    assert sorted(shapely.area(found.geometries), reverse=True) == expected
    assert shapely.is_valid(found.geometries).all()


@pytest.mark.usefixtures("either_way")
def test_deleted_rows_are_left_out(tmp_path: Path) -> None:
    records = [shape(ring(0, 0, side)) for side in (1, 2, 3, 4, 5)]
    found = read_polygons(write_shapes(tmp_path / "a.shp", records, deleted=(0, 3)))
    assert shapely.area(found.geometries).tolist() == [4, 9, 25]


@pytest.mark.usefixtures("either_way")
def test_heights_multipolygons_and_repairs_are_the_same_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "BATCH", 2)
    shapes = [SQUARE, RING, shapely.MultiPolygon([SQUARE, RING]), BOWTIE, shapely.Polygon()]
    flat = read_polygons(write_polygons(tmp_path / "a.shp", shapes))
    assert (len(flat), flat.repaired) == (6, 1)
    raised = [shapely.force_3d(one, 3.0) for one in shapes[:3]]
    found = read_polygons(write_polygons(tmp_path / "b.shp", raised))
    assert not shapely.has_z(found.geometries).any()
    assert shapely.equals_exact(found.geometries, flat.geometries[:4]).all()


places = st.tuples(st.floats(-170, 170), st.floats(-80, 80), st.floats(1, 5), st.integers(0, 3))


def holed(x: float, y: float, side: float, holes: int) -> shapely.Polygon:
    step = side / (holes + 1)
    inner = [
        shapely.box(x + i * step + 0.2 * step, y + 0.1, x + i * step + 0.6 * step, y + 0.3).exterior
        for i in range(holes)
    ]
    return shapely.Polygon(shapely.box(x, y, x + side, y + side).exterior, inner)


@settings(max_examples=15, deadline=None)
@given(st.lists(places, min_size=1, max_size=6))
def test_polygons_with_holes_are_the_same_either_way(
    tmp_path_factory: pytest.TempPathFactory, squares: list[tuple[float, float, float, int]]
) -> None:
    path = write_polygons(
        tmp_path_factory.mktemp("shp") / "a.shp", [holed(*s) for s in squares], "EPSG:4326"
    )
    few = read_polygons(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "MANY", 0)
        many = read_polygons(path)
    assert few.crs == many.crs
    assert shapely.equals_exact(few.geometries, many.geometries).all()


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg"])
def test_other_formats_are_the_same_either_way(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shapes = np.array([SQUARE, RING])
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), [], [], geometry_type="Polygon", crs="EPSG:4326"
    )
    assert shapely.equals(read_polygons(path).geometries, shapes).all()
    line = tmp_path / "line.geojson"
    line.write_text('{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}')
    with pytest.raises(InputError, match="holds a LineString"):
        read_polygons(line)


def test_fiona_and_pyogrio_stand_behind_these_modules_alone() -> None:
    package = ROOT / "code" / "builtup"
    having = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) (fiona|pyogrio)", path.read_text(), re.MULTILINE)
    }
    assert having == {"geo/vectors.py", "geo/vector_writers.py"}


# --- layers, and background ---------------------------------------------------------------------

LINE = shapely.LineString([(0, 0), (1, 1)])


def write_layers(path: Path, **layers: list[shapely.Geometry]) -> Path:
    """A GeoPackage of layers in that order, of any geometries."""
    for name, shapes in layers.items():
        pyogrio.raw.write(
            path,
            shapely.to_wkb(np.array(shapes, dtype=object)),
            [],
            [],
            layer=name,
            geometry_type="Unknown",
            crs="EPSG:32638",
            append=path.exists(),
        )
    return path


@pytest.mark.usefixtures("either_way")
def test_of_several_layers_the_only_one_of_polygons_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_layers(tmp_path / "a.gpkg", roads=[LINE], empty=[], aoi=[SQUARE])
    assert shapely.equals(read_polygons(path).geometries, [SQUARE]).all()
    assert caplog.messages == [f"{path}: its layer aoi is read; passed over: roads (LineString)"]
    read_polygons(path)
    assert len(caplog.messages) == 1


def test_several_layers_of_polygons_are_refused_by_name(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "a.gpkg", aoi_2019=[RING], roads=[LINE], aoi_2023=[SQUARE])
    problem = r"several layers of polygons \(aoi_2019, aoi_2023\); choose one, .*ogr2ogr"
    with pytest.raises(InputError, match=problem):
        read_polygons(path)
    with pytest.raises(InputError, match=problem):
        polygons_with_number(path, ["height"])


def test_layers_without_polygons_are_refused_as_one_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a LineString"):
        read_polygons(write_layers(tmp_path / "a.gpkg", roads=[LINE], rails=[LINE]))


def test_kml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    path.write_text(
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><Polygon>'
        "<outerBoundaryIs><LinearRing><coordinates>1,2,0 3,2,0 3,4,0 1,2,0</coordinates>"
        "</LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )
    assert read_polygons(path).geometries[0].area == 2


def write_levels(path: Path, name: str, levels: list[object], kind: str = "int32") -> Path:
    """A shapefile with a square of side 1, 2, … for each value of an attribute."""
    shapes = [shapely.box(0, 0, side, side) for side in range(1, len(levels) + 1)]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapes),
        [np.array(levels, dtype=kind)],
        [name],
        geometry_type="Polygon",
        crs="EPSG:32638",
    )
    return path


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", ["DN", "gridcode"])
def test_the_background_of_a_raster_made_polygons_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = write_levels(tmp_path / "a.shp", name, [0, 255, 0, 1])
    assert shapely.area(read_polygons(path).geometries).tolist() == [4, 16]
    assert caplog.messages == [
        f"{path}: 2 of its features are left out: {name} = 0, the background of a raster that was "
        "polygonised"
    ]


@pytest.mark.usefixtures("either_way")
def test_nothing_but_background_is_refused(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.shp", "DN", [0, 0])
    with pytest.raises(InputError, match=r"all its polygons have DN = 0.*remove the attribute DN"):
        read_polygons(path)


@pytest.mark.usefixtures("either_way")
def test_other_attributes_of_0_and_levels_that_are_no_numbers_mean_nothing(tmp_path: Path) -> None:
    assert len(read_polygons(write_levels(tmp_path / "a.shp", "id", [0, 0, 1]))) == 3
    assert len(read_polygons(write_levels(tmp_path / "b.shp", "DN", ["0", "", "x"], "O"))) == 3
