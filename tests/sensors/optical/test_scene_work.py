"""What all layers of a scene say of it, and how they are stored."""

from __future__ import annotations

import json
from pathlib import Path

from affine import Affine
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.optical.raw_scenes import RawScene
from builtup.sensors.optical.scene_work import (
    REMARKS,
    SceneWork,
    layer_profile,
    remarks_tag,
    windows_of,
)
from builtup.sensors.remarks import Remark
from picture_data import PLACE, UTM

PLACED = Grid(CRS.from_string(UTM), PLACE, 2100, 300)
BARE = Grid(None, Affine.identity(), 2100, 300)


def test_a_pixels_size_is_said_where_no_crs_does():
    scene = RawScene("one", "site", Path("one.tif"))
    placed, bare = (SceneWork(scene, g, BUILT_UP, 0, 0.25, None, ()) for g in (PLACED, BARE))
    assert placed.tags() == {
        "BUILTUP_SENSOR": "rgb", "BUILTUP_SCENE": "one_{}", "BUILTUP_CITY": "site",
    }  # fmt: skip
    assert bare.tags()["BUILTUP_METRES"] == "0.25"


def test_windows_are_whole_blocks_and_cover_all():
    windows = list(windows_of(BARE))
    assert all(w.x % 256 == 0 and w.y % 256 == 0 for w in windows)
    assert sum(w.height * w.width for w in windows) == BARE.pixels


def test_a_grid_without_a_place_writes_none():
    assert {"crs", "transform"} & layer_profile(BARE, 1, "uint8").keys() == set()
    assert layer_profile(PLACED, 4, "uint8")["transform"] == PLACE


def test_remarks_are_a_tag():
    assert remarks_tag([]) == {}
    remark = Remark("a.tif", "what", "detail", doubtful=False)
    assert [Remark(*of) for of in json.loads(remarks_tag([remark])[REMARKS])] == [remark]
