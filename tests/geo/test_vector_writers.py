from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import fiona
import numpy as np
import pyogrio.raw
import pytest
import shapely

from builtup.errors import InputError, OutputError
from builtup.geo.vector_writers import (
    SHAPEFILE_PARTS,
    Features,
    geopackage,
    mapped_total,
    shapefile,
)
from builtup.jobs.files import owner
from helpers import CRS


def boxes(count: int, first: int = 1) -> Features:
    x = np.arange(first, first + count, dtype=float)
    polygons = np.asarray(shapely.box(x, 0, x + 0.5, 1))
    return Features(polygons, np.arange(first, first + count, dtype=np.int32), x, x / 100)


def ids(path: Path) -> list[int]:
    return [int(i) for i in pyogrio.raw.read(path)[3][0]]


def test_batches_are_appended_in_both_formats(tmp_path: Path) -> None:
    with (
        shapefile(tmp_path / "a.shp", city="Ağrı", crs=CRS) as shp,
        geopackage(tmp_path / "a.gpkg", city="Ağrı", crs=CRS, style="") as gpkg,
    ):
        for writer in (shp, gpkg):
            writer.write(boxes(3))
            writer.write(Features.none())
            writer.write(boxes(2, first=4))
            assert writer.count == 5
    for path in (tmp_path / "a.shp", tmp_path / "a.gpkg"):
        assert ids(path) == [1, 2, 3, 4, 5]
        assert set(pyogrio.raw.read(path)[3][1]) == {"Ağrı"}
        assert pyogrio.list_layers(path)[0][0] == "a"
    assert {p.name for p in tmp_path.iterdir()} == {
        "a.gpkg",
        *(f"a{suffix}" for suffix in SHAPEFILE_PARTS),
    }


def test_a_failure_leaves_the_old_files_whole(tmp_path: Path) -> None:
    with shapefile(tmp_path / "a.shp", city="A", crs=CRS) as writer:
        writer.write(boxes(3))
    with (
        pytest.raises(RuntimeError, match="halfway"),
        shapefile(tmp_path / "a.shp", city="A", crs=CRS) as writer,
    ):
        writer.write(boxes(1))
        raise RuntimeError("halfway")
    assert ids(tmp_path / "a.shp") == [1, 2, 3]
    assert len(list(tmp_path.iterdir())) == len(SHAPEFILE_PARTS)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.993, 0.999])
@pytest.mark.parametrize("suffix", [".shp", ".gpkg"])
def test_a_full_disk_is_noticed_at_any_byte(tmp_path: Path, suffix: str, share: float) -> None:
    write = {".shp": shapefile, ".gpkg": partial(geopackage, style="")}[suffix]
    with write(tmp_path / f"a{suffix}", city="A", crs=CRS) as writer:
        writer.write(boxes(3000))
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * largest), limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=rf"a\{suffix}: .*; check the free space"),
            write(tmp_path / f"a{suffix}", city="A", crs=CRS) as writer,
        ):
            writer.write(boxes(3000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(OutputError, match=r"a\.shp.*: cannot be written"),
        shapefile(tmp_path / "file" / "a.shp", city="A", crs=CRS),
    ):
        pass


def test_what_a_dead_process_left_is_swept_away(tmp_path: Path) -> None:
    dead = owner(2**22 + 1)  # beyond the largest process id
    left = tmp_path / f".a.shp.{dead}.partial.parts"
    left.mkdir()
    (left / "a.shx").write_text("half")
    journal = tmp_path / f".a.{dead}.partial.gpkg-journal"
    journal.write_text("half")
    with (
        shapefile(tmp_path / "a.shp", city="A", crs=CRS),
        geopackage(tmp_path / "a.gpkg", city="A", crs=CRS, style=""),
    ):
        pass
    assert not left.exists()
    assert not journal.exists()
    assert ids(tmp_path / "a.shp") == []


# --- GeoPackages with a style -------------------------------------------------------------------


def styled(path: Path) -> Path:
    box = np.asarray([shapely.box(0, 0, 1, 1)])
    with geopackage(path, city="A", crs=CRS, style="<qgis/>") as writer:
        writer.write(Features(box, np.ones(1, np.int32), np.ones(1), np.full(1, 0.6)))
    return path


def test_a_geopackage_carries_its_style_as_the_default_of_its_layer(tmp_path: Path) -> None:
    path = styled(tmp_path / "38SLF_Ağrı.gpkg")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            # the columns by which QGIS looks for a layer's default
            "SELECT styleQML FROM layer_styles WHERE f_table_catalog = '' AND f_table_schema = '' "
            "AND f_table_name = ? AND f_geometry_column = 'geom' AND useAsDefault",
            [path.stem],
        ).fetchall()
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
    assert rows == [("<qgis/>",)]


def test_readers_find_the_polygons_first_and_the_styles_as_a_table(tmp_path: Path) -> None:
    path = styled(tmp_path / "a.gpkg")
    assert pyogrio.list_layers(path).tolist() == [["a", "Polygon"], ["layer_styles", None]]
    with fiona.open(path) as layer:  # another GDAL
        assert layer.name == "a"
        assert len(layer) == 1


def test_the_bytes_of_a_styled_geopackage_are_the_same_again(tmp_path: Path) -> None:
    first = styled(tmp_path / "a.gpkg").read_bytes()
    shutil.rmtree(tmp_path)
    assert styled(tmp_path / "a.gpkg").read_bytes() == first


def test_the_total_is_that_of_all_batches(tmp_path: Path) -> None:
    with geopackage(tmp_path / "a.gpkg", city="A", crs=CRS, style="") as writer:
        writer.write(boxes(3))
        writer.write(boxes(40_000, first=4))
    assert mapped_total(tmp_path / "a.gpkg") == (40_003, 40_003 * 40_004 / 2)
    with geopackage(tmp_path / "none.gpkg", city="A", crs=CRS, style="") as writer:
        pass
    assert mapped_total(tmp_path / "none.gpkg") == (0, 0)
    pyogrio.raw.write(
        tmp_path / "other.gpkg",
        shapely.to_wkb(boxes(1).polygons),
        [],
        [],
        crs=CRS,
        geometry_type="Polygon",
    )
    with pytest.raises(InputError, match="no area_m2"):
        mapped_total(tmp_path / "other.gpkg")
