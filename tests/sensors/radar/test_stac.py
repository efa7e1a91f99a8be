"""STAC items become scenes: assets by key, by polarisation, by the names of bands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.radar.stac import read_items


def item(assets: dict[str, Any], name: str = "S1A_RTC_1", **properties: Any) -> dict[str, Any]:
    properties = {"datetime": "2021-03-05T05:00:00Z", **properties}
    return {"type": "Feature", "id": name, "properties": properties, "assets": assets}


def write(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "porto.json"
    path.write_text(json.dumps(content))
    return str(path)


PLAIN = {"vv": {"href": "vv.tif"}, "vh": {"href": "vh.tif"}}
BY_POLARISATION = {
    "a": {"href": "vv.tif", "sar:polarizations": ["VV"]},
    "b": {"href": "vh.tif", "sar:polarizations": ["VH"]},
    "preview": {"href": "vv.png", "sar:polarizations": ["VV"], "roles": ["thumbnail"]},
}
BY_BAND = {
    "x": {"href": "vv.tif", "bands": [{"name": "vv"}]},
    "y": {"href": "vh.tif", "eo:bands": [{"name": "VH"}]},
}
STACKED = {"data": {"href": "both.tif", "sar:polarizations": ["VH", "VV"]}}


ARD = "s1a-iw-nrb-20230101t030926-046594-059584-38slf"
WITH_NOISE = {
    f"{kind}{polarisation}": {"href": href, "sar:polarizations": [polarisation.upper()]}
    for polarisation in ("vv", "vh")
    for kind, href in (
        ("g-lin-", f"{polarisation}.tif"),
        ("noise-power-", f"annotation/{polarisation}.tif"),
        ("extra-", f"{ARD}-np-{polarisation}.tif"),
    )
}


@pytest.mark.parametrize("assets", [PLAIN, BY_POLARISATION, BY_BAND, WITH_NOISE])
def test_an_item_of_two_assets(tmp_path: Path, assets: dict[str, Any]) -> None:
    (scene,), problems = read_items(write(tmp_path, item(assets)), Allow())
    assert not problems
    assert (scene.city, scene.date, scene.plain_id) == ("porto", "20210305", "S1A_RTC_1")
    assert scene.vv.location.path == tmp_path / "vv.tif"
    assert scene.vh.location.path == tmp_path / "vh.tif"


def test_an_asset_of_both_polarisations(tmp_path: Path) -> None:
    (scene,), _ = read_items(write(tmp_path, item(STACKED)), Allow())
    assert (scene.vh.number, scene.vv.number) == (1, 2)
    assert len(scene.locations) == 1


def test_units_are_heard(tmp_path: Path) -> None:
    assets = {
        "vv": {"href": "vv.tif", "unit": "dB"},
        "vh": {"href": "vh.tif", "raster:bands": [{"unit": "dB"}]},
    }
    (scene,), _ = read_items(write(tmp_path, item(assets)), Allow())
    assert scene.vv.declared == ("asset vv, unit: dB",)
    assert scene.vh.declared == ("asset vh, unit: dB",)


@pytest.mark.parametrize(
    "holder",
    [
        lambda said: {"raster:bands": [said]},
        lambda said: {"bands": [{f"raster:{key}": value for key, value in said.items()}]},
        lambda said: said,
    ],
)
def test_what_is_said_of_values_is_heard(tmp_path: Path, holder: Any) -> None:
    said = {"scale": 0.01, "offset": -3, "nodata": "nan"}
    assets = {"vv": {"href": "vv.tif", **holder(said)}, "vh": {"href": "vh.tif"}}
    (scene,), _ = read_items(write(tmp_path, item(assets)), Allow())
    assert (scene.vv.scale, scene.vv.offset) == (0.01, -3)
    assert scene.vv.nodata is not None and math.isnan(scene.vv.nodata)
    assert (scene.vh.scale, scene.vh.offset, scene.vh.nodata) == (None, None, None)


def test_each_band_of_an_asset_has_its_own(tmp_path: Path) -> None:
    bands = [{"nodata": 0}, {"nodata": -32768}]
    data = {"data": {**STACKED["data"], "raster:bands": bands}}
    (scene,), _ = read_items(write(tmp_path, item(data)), Allow())
    assert (scene.vh.nodata, scene.vv.nodata) == (0, -32768)


def test_what_is_no_number_is_a_problem(tmp_path: Path) -> None:
    assets = {**PLAIN, "vv": {"href": "vv.tif", "raster:bands": [{"scale": "one"}]}}
    _, (problem,) = read_items(write(tmp_path, item(assets)), Allow())
    assert "item S1A_RTC_1: scale is 'one', no number" in str(problem)


def test_the_items_of_a_collection_are_dates_of_its_place(tmp_path: Path) -> None:
    content = {"type": "FeatureCollection", "features": [item(PLAIN, "a"), item(PLAIN, "b/../c")]}
    scenes, _ = read_items(write(tmp_path, content), Allow())
    assert [scene.plain_id for scene in scenes] == ["a", "b_.._c"]
    assert {scene.city for scene in scenes} == {"porto"}


def test_bad_items_are_problems_of_their_own(tmp_path: Path) -> None:
    outside = {"vv": {"href": "../vv.tif"}, "vh": {"href": "vh.tif"}}
    torn = {"vv": {"href": "https://[::1/x.tif"}, "vh": {"href": "vh.tif"}}
    features = [item(PLAIN), item({"hh": {"href": "hh.tif"}}), item(outside), 7, item({"vv": 1})]
    features.append(item(torn))
    content = {"type": "FeatureCollection", "features": features}
    scenes, problems = read_items(write(tmp_path, content), Allow())
    assert len(scenes) == 1
    for problem, words in zip(
        problems,
        (
            "HH or HV",
            "outside its folder",
            "without id",
            "no asset of VV",
            "no address",
        ),
        strict=True,
    ):
        assert words in str(problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "Collection"}, "its type is 'Collection'"),
        ([], "its type is None"),
        ({"type": "FeatureCollection", "features": []}, "without items"),
    ],
)
def test_what_is_no_item_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_items(write(tmp_path, content), Allow())


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("<html>")
    with pytest.raises(InputError, match="no JSON"):
        read_items(str(path), Allow())


def test_documents_are_read_by_https_only() -> None:
    for url in ("http://127.0.0.1:1/x.json", "s3://b/x.json", "file:///etc/x.json"):
        with pytest.raises(InputError, match="is not read by"):
            read_items(url, Allow())
    for url in ("https://[::1/x.json", "https://host:port/x.json"):
        with pytest.raises(InputError, match="no address"):
            read_items(url, Allow())


def test_an_item_of_hh_and_hv_is_refused_without_advice_to_rename(tmp_path: Path) -> None:
    polar = item({"hh": {"href": "hh.tif"}, "hv": {"href": "hv.tif"}})
    _, (problem,) = read_items(write(tmp_path, polar), Allow())
    assert "item S1A_RTC_1: HH or HV, while networks are trained on VV and VH" in str(problem)
