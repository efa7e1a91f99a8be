from __future__ import annotations

import hashlib
import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pyogrio.raw
import pyproj
import pytest
import rasterio
import rasterio.warp
import shapely
from PIL import Image

from builtup.errors import InputError, OutputError
from builtup.maps.polygonize import polygonize
from builtup.maps.products import write_products
from builtup.runs.results import PredictionTags
from builtup.sensors.classes import Classes
from city_data import CITY, MASK, make_city
from helpers import CRS, TRANSFORM, write_raster


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def geopackage(raw: Path) -> tuple[list[bytes], dict[str, list[Any]]]:
    meta, _, wkb, fields = pyogrio.raw.read(raw / f"{CITY}.gpkg", layer=CITY)
    named = {name: list(values) for name, values in zip(meta["fields"], fields, strict=True)}
    return [bytes(g) for g in wkb], named


def test_geoparquet_holds_the_same_polygons_with_valid_metadata(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
    assert write_products(tmp_path).counts == {"polygons": 2}
    table = pq.read_table(raw / f"{CITY}.parquet")
    wkb, fields = geopackage(raw)
    assert table.column("geom").to_pylist() == wkb
    assert table.drop_columns("geom").to_pydict() == fields
    # GeoParquet 1.0.0: what its schema requires
    meta = json.loads(pq.read_schema(raw / f"{CITY}.parquet").metadata[b"geo"])
    assert meta["version"] == "1.0.0"
    column = meta["columns"][meta["primary_column"]]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon"]
    assert pyproj.CRS.from_json_dict(column["crs"]) == pyproj.CRS(CRS)
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32638}
    assert column["bbox"] == shapely.total_bounds(shapely.from_wkb(wkb)).tolist()


def test_a_city_without_polygons_gives_valid_files(tmp_path: Path) -> None:
    raw = make_city(tmp_path, mask=np.zeros((20, 20), np.uint8))
    assert write_products(tmp_path).counts == {"polygons": 0}
    assert pq.read_table(raw / f"{CITY}.parquet").num_rows == 0
    meta = json.loads(pq.read_schema(raw / f"{CITY}.parquet").metadata[b"geo"])
    assert meta["columns"]["geom"]["geometry_types"] == []
    assert "bbox" not in meta["columns"]["geom"]


def test_a_geopackage_under_another_name_is_one_line(tmp_path: Path) -> None:
    raw, other = make_city(tmp_path / "one"), make_city(tmp_path / "two", "38SLF_Beta")
    (other / "38SLF_Beta.gpkg").replace(raw / f"{CITY}.gpkg")
    with pytest.raises(InputError, match="cannot be read"):
        write_products(tmp_path / "one")
    assert not (raw / f"{CITY}.parquet").exists()


def test_the_styles_are_xml_for_the_values_that_the_rasters_hold(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
    write_products(tmp_path)

    def items(name: str, tag: str) -> list[tuple[float, str]]:
        root = ElementTree.fromstring((raw / name).read_text().partition("\n")[2])
        return [(float(i.get("value", "")), i.get("label", "")) for i in root.iter(tag)]

    stops = items(f"{CITY}_prob.qml", "item")  # of probabilities: the raster has a scale
    assert [label for _, label in stops] == ["0.00", "0.25", "0.50", "0.67", "0.83", "1.00"]
    assert items(f"{CITY}.qml", "paletteEntry") == [(0, "not built-up"), (1, "built-up")]
    assert items(f"{CITY}_std.qml", "item")[0] == (0, "0.00")


def test_a_second_run_does_nothing_and_a_fresh_one_gives_the_same_bytes(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
    assert write_products(tmp_path).done == 1
    first = digests(raw)
    assert write_products(tmp_path).up_to_date == 1
    for path in (raw / ".manifest").iterdir():
        path.unlink()
    assert write_products(tmp_path).done == 1
    assert digests(raw) == first


@pytest.mark.parametrize("most", [100, 800, 2_500, 6_000])
def test_a_full_disk_is_one_line_and_leaves_whole_files_only(tmp_path: Path, most: int) -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same way."""
    calm, full = make_city(tmp_path / "calm"), make_city(tmp_path / "full")
    before = digests(full)
    write_products(tmp_path / "calm")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_products(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    expected = digests(calm)
    for name, digest in digests(full).items():
        assert digest == (before.get(name) or expected[name])  # whole, and nothing else
    assert write_products(tmp_path / "full").done == 1
    assert digests(full) == expected


def test_products_without_polygons_are_refused_or_skipped(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
    (raw / f"{CITY}.gpkg").unlink()
    with pytest.raises(InputError, match=r"gpkg: no such file; run polygonize first"):
        write_products(tmp_path)
    summary = write_products(tmp_path, on_error="skip")
    assert (summary.done, len(summary.skipped)) == (0, 1)
    assert not (raw / f"{CITY}.parquet").exists()


def test_products_of_more_classes_show_the_mapped_one_and_name_all(tmp_path: Path) -> None:
    classes = Classes.of(("water & ice", "street", "building"))
    label = np.where(MASK == 1, 2, MASK).astype(np.uint8)
    levels = np.stack([np.where(label == k, 200, 27) for k in range(3)]).astype(np.uint8)
    levels[:, label == 255] = 255
    raw = tmp_path / "raw"
    tags = PredictionTags("", CITY, 80, 60, "run", 0.5, classes.names)
    for name, values, kind in ((CITY, label, "classes"), (f"{CITY}_prob", levels, "prob")):
        path = write_raster(raw / f"{name}.tif", values, TRANSFORM, CRS, nodata=255)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags.of_kind(kind).as_gdal())
    scene = replace(tags, scene="s1a_38SLF_{}_20150214").of_kind("scene")
    path = write_raster(raw / "s1a_38SLF_prob_20150214.tif", levels, TRANSFORM, CRS, nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**scene.as_gdal())
    assert polygonize(input_path=str(tmp_path)).counts["polygons"] == 2
    assert write_products(tmp_path).counts == {"polygons": 2}
    item = json.loads((raw / f"{CITY}.json").read_text())
    assert item["properties"]["title"] == f"Building of {CITY}"
    assert item["properties"]["builtup:classes"] == list(classes.names)
    assert item["assets"]["mask"]["title"] == "Classes: 0 water & ice, 1 street, 2 building"
    assert len(item["assets"]["probability"]["raster:bands"]) == 3
    entries = ElementTree.parse(raw / f"{CITY}.qml").iter("paletteEntry")
    assert [entry.get("label") for entry in entries] == list(classes.names)
    shader = next(ElementTree.parse(raw / f"{CITY}_prob.qml").iter("rasterrenderer"))
    assert shader.get("band") == "3"
    assert Image.open(raw / f"{CITY}_preview.png").size[0] > 100


def test_the_item_of_a_year_has_the_dates_of_that_year(tmp_path: Path) -> None:
    raw = make_city(tmp_path, scenes=("s1a_38SLF_prob_20150522", "s1a_38SLF_prob_20200214"))
    make_city(tmp_path, f"{CITY}_2020", scenes=())

    def told(pattern: str, **tags: str) -> None:
        for path in raw.glob(pattern):
            with rasterio.open(path, "r+") as dataset:
                dataset.update_tags(**tags)

    told(f"{CITY}.tif", BUILTUP_YEAR="2015")
    told(f"{CITY}_2020.tif", BUILTUP_YEAR="2020")
    told("*_2015*.tif", BUILTUP_YEAR="2015")
    told("s1a_*_2020*.tif", BUILTUP_YEAR="2020")  # of the city, as in the chain
    write_products(tmp_path)

    def dates(city: str) -> str:
        properties = json.loads((raw / f"{city}.json").read_text())["properties"]
        return str(properties.get("datetime") or properties["start_datetime"])[:10]

    assert [dates(CITY), dates(f"{CITY}_2020")] == ["2015-05-22", "2020-02-14"]
    told(f"{CITY}.tif", BUILTUP_YEAR="")  # years=mean
    write_products(tmp_path)
    properties = json.loads((raw / f"{CITY}.json").read_text())["properties"]
    assert [properties[f"{end}_datetime"][:4] for end in ("start", "end")] == ["2015", "2020"]
