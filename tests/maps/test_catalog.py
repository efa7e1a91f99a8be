"""The STAC item of a city: where, when, and which files."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine

from builtup.maps.catalog import date_range
from builtup.maps.products import write_products
from city_data import CITY, make_city
from helpers import CRS


def test_the_stac_item_says_where_when_and_which_files(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
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
    raw = make_city(tmp_path, city)
    write_products(tmp_path)
    item = json.loads((raw / f"{city}.json").read_text())
    links = json.loads((raw / "catalog.json").read_text())["links"]
    hrefs = [asset["href"] for asset in item["assets"].values()]
    hrefs += [link["href"] for link in links if link["rel"] == "item"]
    assert len(hrefs) == 10
    for href in hrefs:
        assert not set(href) & set(" #[]")
        assert (raw / unquote(href)).is_file()


def test_a_footprint_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    raw = make_city(
        tmp_path, transform=Affine(1000, 0, 790_000, 0, -1000, 8_000_000), crs="EPSG:32760"
    )
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
    raw = make_city(tmp_path, scenes=())
    write_products(tmp_path)
    assert not (raw / f"{CITY}.json").exists()
    assert "no date of a scene is known" in caplog.text
