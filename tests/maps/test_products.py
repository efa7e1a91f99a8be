from __future__ import annotations

import hashlib
import json
import resource
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pyogrio.raw
import pyproj
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from builtup.errors import InputError, OutputError
from builtup.maps.catalog import date_range
from builtup.maps.polygonize import polygonize
from builtup.maps.products import write_products
from builtup.runs.results import PredictionTags
from builtup.sensors.classes import Classes
from helpers import CRS, TRANSFORM, write_raster

CITY = "38SLF_Alpha"
MASK = np.zeros((60, 80), np.uint8)
MASK[5:20, 5:30] = MASK[30:50, 40:70] = 1
MASK[:, 78:] = 255


def make(
    root: Path,
    city: str = CITY,
    mask: NDArray[np.uint8] = MASK,
    transform: Affine = TRANSFORM,
    crs: str = CRS,
    scenes: tuple[str, ...] = ("s1a_38SLF_prob_ASC_20150522t153536", "s1a_38SLF_prob_20150214"),
) -> Path:
    """A folder of results as all_agg_by_city and polygonize leave it."""
    prob = np.where(mask == 255, 255, 40 + 150 * (mask == 1)).astype(np.uint8)
    std = np.where(mask == 255, np.nan, 0.1).astype(np.float32)
    rasters: list[tuple[str, Any, str]] = [(city, mask, ""), (f"{city}_prob", prob, "")]
    rasters += [(f"{city}_std", std, ""), *((name, prob, f"{name}_id") for name in scenes)]
    for name, values, scene in rasters:
        nodata = np.nan if values.dtype == np.float32 else 255
        path = write_raster(root / "raw" / f"{name}.tif", values, transform, crs, nodata=nodata)
        tags = PredictionTags(scene, city, mask.shape[1], mask.shape[0], "run", 0.5)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags.as_gdal())
    polygonize(input_path=str(root))
    return root / "raw"


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
    raw = make(tmp_path)
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
    raw = make(tmp_path, mask=np.zeros((20, 20), np.uint8))
    assert write_products(tmp_path).counts == {"polygons": 0}
    assert pq.read_table(raw / f"{CITY}.parquet").num_rows == 0
    meta = json.loads(pq.read_schema(raw / f"{CITY}.parquet").metadata[b"geo"])
    assert meta["columns"]["geom"]["geometry_types"] == []
    assert "bbox" not in meta["columns"]["geom"]


def test_the_stac_item_says_where_when_and_which_files(tmp_path: Path) -> None:
    raw = make(tmp_path)
    write_products(tmp_path)
    item = json.loads((raw / f"{CITY}.json").read_text())
    # STAC 1.0.0, item-spec: required fields
    assert (item["type"], item["stac_version"], item["id"]) == ("Feature", "1.0.0", CITY)
    properties = item["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2015-02-14T00:00:00Z"
    assert properties["end_datetime"] == "2015-05-22T15:35:36Z"
    footprint = shapely.from_geojson(json.dumps(item["geometry"]))
    assert footprint.is_valid
    assert footprint.bounds == pytest.approx(item["bbox"])
    with rasterio.open(raw / f"{CITY}.tif") as dataset:
        expected = rasterio.warp.transform_bounds(CRS, "EPSG:4326", *dataset.bounds)
        assert item["bbox"] == pytest.approx(expected, abs=1e-5)
        assert properties["proj:bbox"] == list(dataset.bounds)
        assert properties["proj:shape"] == list(dataset.shape)
        assert Affine(*properties["proj:transform"]) == dataset.transform
    assert properties["proj:epsg"] == 32638
    assert any("projection" in extension for extension in item["stac_extensions"])
    for asset in item["assets"].values():
        assert asset["href"].startswith("./")
        assert (raw / asset["href"]).is_file()
        assert asset["type"]
        assert asset["roles"]
    assert {"probability", "mask", "disagreement", "polygons", "preview"} <= item["assets"].keys()
    catalog = json.loads((raw / "catalog.json").read_text())
    assert catalog["type"] == "Catalog"
    assert [x["href"] for x in catalog["links"] if x["rel"] == "item"] == [f"./{CITY}.json"]
    for link in item["links"]:
        assert (raw / link["href"]).is_file()


@pytest.mark.parametrize("city", ["38SLF_A [1] #2", "38SLF_A*"])
def test_an_item_names_the_files_of_any_city_by_valid_addresses(tmp_path: Path, city: str) -> None:
    raw = make(tmp_path, city)
    write_products(tmp_path)
    item = json.loads((raw / f"{city}.json").read_text())
    links = json.loads((raw / "catalog.json").read_text())["links"]
    hrefs = [asset["href"] for asset in item["assets"].values()]
    hrefs += [link["href"] for link in links if link["rel"] == "item"]
    assert len(hrefs) == 10
    for href in hrefs:
        assert not set(href) & set(" #[]")
        assert (raw / unquote(href)).is_file()


def test_a_name_in_a_script_without_a_font_is_no_warning(tmp_path: Path) -> None:
    city = "38SLF_दिल्ली"
    raw = make(tmp_path, city)
    write_raster(raw / f"{city}_count.tif", np.full(MASK.shape, 300, np.uint16), TRANSFORM, CRS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write_products(tmp_path)
    document = json.loads((raw / f"{city}.json").read_text())
    assert document["assets"]["probability"]["href"] == f"./{city}_prob.tif"
    counts = document["assets"]["count"]["raster:bands"]
    assert counts == [{"data_type": "uint16", "nodata": 65535}]


def test_a_geopackage_under_another_name_is_one_line(tmp_path: Path) -> None:
    raw, other = make(tmp_path / "one"), make(tmp_path / "two", "38SLF_Beta")
    (other / "38SLF_Beta.gpkg").replace(raw / f"{CITY}.gpkg")
    with pytest.raises(InputError, match="cannot be read"):
        write_products(tmp_path / "one")
    assert not (raw / f"{CITY}.parquet").exists()


def test_a_footprint_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    raw = make(tmp_path, transform=Affine(1000, 0, 790_000, 0, -1000, 8_000_000), crs="EPSG:32760")
    write_products(tmp_path)
    item = json.loads((raw / f"{CITY}.json").read_text())
    assert item["geometry"]["type"] == "MultiPolygon"
    west, _, east, _ = item["bbox"]
    assert west > 170
    assert east < -170
    assert shapely.from_geojson(json.dumps(item["geometry"])).is_valid


def test_dates_are_read_from_names_of_scenes_and_nothing_else() -> None:
    found = date_range(["s1a_38SLF_prob_ASC_20150522txxxxxx", "S1A_IW_20150101T010203_99999999"])
    assert found is not None
    assert (found.start, found.end) == ("2015-01-01T01:02:03Z", "2015-05-22T23:59:59Z")
    assert date_range(["no_date", "20151399"]) is None


def test_without_dates_there_is_no_item(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = make(tmp_path, scenes=())
    write_products(tmp_path)
    assert not (raw / f"{CITY}.json").exists()
    assert "no date of a scene is known" in caplog.text


def test_the_styles_are_xml_for_the_values_that_the_rasters_hold(tmp_path: Path) -> None:
    raw = make(tmp_path)
    write_products(tmp_path)

    def items(name: str, tag: str) -> list[tuple[float, str]]:
        root = ElementTree.fromstring((raw / name).read_text().partition("\n")[2])
        return [(float(i.get("value", "")), i.get("label", "")) for i in root.iter(tag)]

    stops = items(f"{CITY}_prob.qml", "item")
    assert (stops[0], stops[-1]) == ((0, "0.00"), (254, "1.00"))
    assert items(f"{CITY}.qml", "paletteEntry") == [(0, "not built-up"), (1, "built-up")]
    assert items(f"{CITY}_std.qml", "item")[0] == (0, "0.00")


def test_the_preview_shows_probability_outlines_and_no_data(tmp_path: Path) -> None:
    raw = make(tmp_path)
    write_products(tmp_path)
    with Image.open(raw / f"{CITY}_preview.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert max(pixels.shape) > 600
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 100) & (pixels[..., 2] < 120)
    grey = (pixels == 228).all(axis=2)
    assert red.sum() > 500  # two outlines
    assert grey.sum() > 2000  # the columns without data
    assert ((pixels == 0).all(axis=2)).sum() > 100  # scale bar


def test_a_second_run_does_nothing_and_a_fresh_one_gives_the_same_bytes(tmp_path: Path) -> None:
    raw = make(tmp_path)
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
    calm, full = make(tmp_path / "calm"), make(tmp_path / "full")
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
    raw = make(tmp_path)
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
