from __future__ import annotations

from pathlib import Path

import pyogrio
import pytest
import shapely

from tile_data import add_scene, moved, prepared


def layer(path: Path, name: str) -> tuple[dict, list[shapely.Geometry], dict[str, list]]:
    meta, _, geometry, fields = pyogrio.raw.read(path, layer=name)
    columns = {key: list(v) for key, v in zip(meta["fields"], fields, strict=True)}
    return meta, list(shapely.from_wkb(geometry)), columns


def test_blocks_and_gaps_lie_where_the_folds_say(tmp_path: Path) -> None:
    add_scene(tmp_path)
    folds, _ = prepared(tmp_path, gap=6)
    path = tmp_path / "tiles/folds.gpkg"
    meta, blocks, columns = layer(path, "folds")
    assert meta["crs"] == "EPSG:32638"
    assert columns == {"fold_index": [0, 1, 2, 3], "name": list(folds.names)}
    for block, shape in zip(folds.blocks, blocks, strict=True):
        assert shape.equals(shapely.box(*block.bounds))
    _, gaps, _ = layer(path, "gaps")
    for shape, gap in zip(blocks, gaps, strict=True):
        assert gap.intersection(shape).area == 0
        assert gap.union(shape).equals(shape.buffer(60, join_style="mitre"))


def test_cities_in_two_zones_are_drawn_in_degrees(tmp_path: Path) -> None:
    add_scene(tmp_path)
    add_scene(tmp_path, date="20150201", transform=moved(3, 3))
    add_scene(tmp_path, city="Beta_2015", tile="37SGF", crs="EPSG:32637")
    prepared(tmp_path)
    meta, cities, columns = layer(tmp_path / "tiles/folds.gpkg", "folds")
    assert meta["crs"] == "EPSG:4326"
    assert columns["name"] == ["37SGF_Beta", "38SLF_Alpha"]
    west, east = (c.centroid for c in cities)
    assert east.x - west.x == pytest.approx(6, abs=1e-3)  # zones are six degrees wide
    _, _, scenes = layer(tmp_path / "tiles/folds.gpkg", "scenes")
    assert len(scenes["scene"]) == 3
