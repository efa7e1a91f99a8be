"""A scene knows its files, its city and the names of what is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builtup.geo.locations import Location
from builtup.sensors.radar.scenes import Band, Scene

PAIR = Scene(
    "s1a_38SLF_{}_ASC_20151005_1",
    "Mosul",
    "20151005",
    Band(Location("in/vv.tif")),
    Band(Location("in/vh.tif")),
    "38SLF",
    "ASC",
    "Mosul_2015",
)


def test_names_follow_from_the_id_and_the_city_s_folder() -> None:
    assert (PAIR.plain_id, PAIR.city_key) == ("s1a_38SLF_ASC_20151005_1", "38SLF_Mosul")
    output = Path("out/Mosul_2015/s1a_38SLF_3b_ASC_20151005_1.tif")
    assert PAIR.output(Path("out"), "3b") == output
    assert replace(PAIR, folder="").output(Path("out"), "3b") == Path("out", output.name)


def test_a_file_of_both_bands_is_one_location_and_only_plain_files_are_files() -> None:
    assert PAIR.files == (Path("in/vv.tif"), Path("in/vh.tif"))
    both = replace(PAIR, vv=Band(PAIR.vh.location, number=2), vh=Band(PAIR.vh.location, number=1))
    assert both.files == (Path("in/vh.tif"),)
    remote = Location("/vsis3/bucket/both.tif?signature=x")
    elsewhere = replace(PAIR, vv=Band(remote), vh=Band(remote))
    assert (elsewhere.locations, elsewhere.files) == ((remote,), ())
    assert elsewhere.shown == "s3://bucket/both.tif"


def test_a_scene_without_a_valid_pixel_names_both_files() -> None:
    assert str(PAIR.all_invalid()).startswith("in/vv.tif: no valid pixel together with vh.tif:")
