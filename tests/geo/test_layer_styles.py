from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import fiona
import numpy as np
import pyogrio
import shapely

from builtup.geo.layer_styles import polygon_style
from builtup.geo.vector_writers import Features, geopackage
from helpers import CRS


def write(path: Path) -> Path:
    box = np.asarray([shapely.box(0, 0, 1, 1)])
    with geopackage(path, city="A", crs=CRS) as writer:
        writer.write(Features(box, np.ones(1, np.int32), np.ones(1), np.full(1, 0.6)))
    return path


def test_a_geopackage_carries_its_style_as_the_default_of_its_layer(tmp_path: Path) -> None:
    path = write(tmp_path / "38SLF_Ağrı.gpkg")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            # the columns by which QGIS looks for a layer's default
            "SELECT styleQML FROM layer_styles WHERE f_table_catalog = '' AND f_table_schema = '' "
            "AND f_table_name = ? AND f_geometry_column = 'geom' AND useAsDefault",
            [path.stem],
        ).fetchall()
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not database.execute("PRAGMA foreign_key_check").fetchall()
    assert rows == [(polygon_style(),)]


def test_readers_find_the_polygons_first_and_the_styles_as_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg")
    assert pyogrio.list_layers(path).tolist() == [["a", "Polygon"], ["layer_styles", None]]
    with fiona.open(path) as layer:  # another GDAL
        assert layer.name == "a"
        assert len(layer) == 1


def test_the_bytes_of_a_styled_geopackage_are_the_same_again(tmp_path: Path) -> None:
    first = write(tmp_path / "a.gpkg").read_bytes()
    shutil.rmtree(tmp_path)
    assert write(tmp_path / "a.gpkg").read_bytes() == first


def test_the_classes_of_the_style_cover_all_probabilities_without_a_gap() -> None:
    root = ElementTree.fromstring(polygon_style().partition("\n")[2])
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "mean_prob"
    ranges = [(float(r.get("lower", "")), float(r.get("upper", ""))) for r in root.iter("range")]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1
    assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
    symbols = {symbol.get("name") for symbol in root.iter("symbol")}
    assert {r.get("symbol") for r in root.iter("range")} == symbols
