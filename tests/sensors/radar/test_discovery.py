"""Scenes are found in the layouts that people have, with the city that they belong to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.maps.places import with_cities
from builtup.sensors.radar.discovery import find_scenes, require_split, scenes_of_split
from builtup.sensors.radar.headers import read_headers
from helpers import TRANSFORM, speckle, write_raster, write_scene


def found(path: Path | str) -> list[tuple[str, str, str]]:
    result = find_scenes(str(path), Allow())
    assert not result.problems
    return [(scene.city, scene.date, scene.scene_id) for scene in result.scenes]


UNOSAT = ("Alpha", "20150101", "s1a_38SLF_{}_ASC_20150101")


def test_a_split_a_city_and_a_date_give_the_same_scene(tmp_path: Path) -> None:
    split = tmp_path / "test"
    write_scene(split)
    city = split / "Alpha_2015"
    (date,) = city.iterdir()
    files = ";".join(str(path) for path in date.iterdir())
    for path in (split, city, date, files):
        name = "20150101_38SLF" if path == date else "Alpha"
        expected = UNOSAT if path != date else (name, *UNOSAT[1:])
        assert found(path) == [expected]


def test_a_plain_folder_is_a_city(tmp_path: Path) -> None:
    write_scene(tmp_path, "porto", folder="")
    write_raster(tmp_path / "porto" / "s1a_38SLF_vv_ASC_20150101_BorderMask.tif", np.ones((9, 9)))
    assert found(tmp_path / "porto") == [("porto", *UNOSAT[1:])]


def test_names_of_others_are_paired(tmp_path: Path) -> None:
    for name in ("S1A_IW_20210305T051200_RTC10_G_gpuned_07E6_VV", "VH_2021-03-17", "VV_2021-03-17"):
        write_raster(tmp_path / "porto" / f"{name}.tif", speckle((9, 9)))
    path = tmp_path / "porto" / "S1A_IW_20210305T051200_RTC10_G_gpuned_07E6_VH.tif"
    write_raster(path, speckle((9, 9)))
    assert found(tmp_path / "porto") == [
        ("porto", "20210305", "S1A_IW_20210305T051200_RTC10_G_gpuned_07E6_{}"),
        ("porto", "20210317", "2021-03-17_{}"),
    ]


def test_polarisations_may_be_said_by_folders(tmp_path: Path) -> None:
    for name in ("VV/20230101", "VH/20230101", "VV/20230113", "VH/20230113"):
        write_raster(tmp_path / "porto" / f"{name}.TIF", speckle((9, 9)))
    expected = [("porto", date, f"{date}_{{}}") for date in ("20230101", "20230113")]
    assert found(tmp_path / "porto") == expected


def test_folders_of_radiometries_are_no_cities(tmp_path: Path) -> None:
    for name in (
        "sigma0/20230101_VV",
        "sigma0/20230101_VH",
        "gamma0/20230101_VV",
        "gamma0/20230101_VH",
    ):
        write_raster(tmp_path / "porto" / f"{name}.tif", speckle((9, 9)))
    assert found(tmp_path / "porto") == [("porto", "20230101", "sigma0_20230101_{}")]


def test_files_of_three_bands_are_scenes(tmp_path: Path) -> None:
    stack = np.stack([speckle((9, 9))] * 3)
    write_raster(tmp_path / "images_3b" / "Alpha_2015" / "s1a_38SLF_3b_ASC_20150101.tif", stack)
    write_raster(tmp_path / "images_3b" / "Beta_2016" / "mine.tif", stack)
    assert found(tmp_path / "images_3b") == [UNOSAT, ("Beta", "", "mine_{}")]


def test_remote_files_are_named_not_listed() -> None:
    base = "s3://bucket/Alpha_2015/s1a_38SLF_{}_ASC_20150101.tif"
    assert found(";".join(base.format(p) for p in ("vv", "vh"))) == [UNOSAT]
    with pytest.raises(InputError, match="folders elsewhere are not listed"):
        find_scenes("s3://bucket/Alpha_2015", Allow())


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    vv, _ = write_scene(tmp_path, "Alpha_2015")
    _, vh = write_scene(tmp_path, "Beta_2015", date="20150102")
    vh.unlink()
    write_scene(tmp_path, "Gamma_2015", date="20150103")
    shutil.copytree(tmp_path / "Gamma_2015", tmp_path / "Gamma_2015" / "copy")
    result = find_scenes(str(tmp_path), Allow())
    assert [scene.city for scene in result.scenes] == ["Alpha"]
    assert "VV without VH" in str(result.problems[0])
    assert "stands twice" in str(result.problems[1])
    shutil.copytree(tmp_path / "Alpha_2015", tmp_path / "Delta_2015")
    assert "stands twice" in str(find_scenes(str(tmp_path), Allow()).problems[-1])
    assert vv.exists()


def test_nothing_to_predict_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scene in it; give VV and VH files"):
        find_scenes(str(tmp_path), Allow())
    with pytest.raises(InputError, match="no such folder"):
        find_scenes(str(tmp_path / "absent"), Allow())
    write_raster(tmp_path / "dem.tif", np.ones((9, 9)))
    with pytest.raises(InputError, match=r"no scene in it, but others \(dem.tif\); give VV"):
        find_scenes(str(tmp_path), Allow())
    write_raster(tmp_path / "mine.tif", np.ones((9, 9)))
    with pytest.raises(
        InputError, match=r"mine\.tif: one band, .* neither vv nor vh; put vv or vh"
    ):
        find_scenes(str(tmp_path), Allow())


def test_a_list_with_another_separator_is_one_line() -> None:
    files = ",".join(f"/data/scene_{i:03d}_{p}.tif" for i in range(100) for p in ("vv", "vh"))
    with pytest.raises(InputError, match=r"cannot be read .*; check the path; separate several"):
        find_scenes(files, Allow())


def test_dates_of_one_place_share_a_city_and_other_places_do_not(tmp_path: Path) -> None:
    for number, shift in enumerate((0, 3, 2000, 40_000)):
        for name in ("vv", "vh"):
            path = tmp_path / "porto" / f"d{number}_{name}.tif"
            write_raster(path, speckle((50, 50)), TRANSFORM @ TRANSFORM.translation(shift, 0))
    scenes = find_scenes(str(tmp_path / "porto"), Allow()).scenes
    found = with_cities([read_headers(scene) for scene in scenes])
    cities = {one.key: one.dates for one in found}
    assert [len(some) for some in cities.values()] == [2, 1, 1]
    assert list(cities)[:2] == ["38SLE_porto", "38SLE_porto_2"]
    assert all(key[5:].startswith("_porto") for key in cities)


def test_products_in_plain_folders_are_dates_of_one_city(tmp_path: Path) -> None:
    for day in ("20230101", "20230113"):
        product = f"S1A_IW_GRDH_1SDV_{day}T030926_{day}T030951_046594_059584_rtc"
        for name in ("iw-vv.rtc.tiff", "iw-vh.rtc.tiff"):
            write_raster(tmp_path / "porto" / product / "measurement" / name, speckle((9, 9)))
    whole = found(tmp_path / "porto")
    assert [scene[:2] for scene in whole] == [("porto", "20230101"), ("porto", "20230113")]
    each = sorted((tmp_path / "porto").iterdir())
    assert found(";".join(map(str, each))) == whole
    assert found(f"{each[0]}/measurement") == whole[:1]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    write_scene(tmp_path)
    city = tmp_path / "Alpha_2015"
    (date,) = city.iterdir()
    vv = next(date.glob("*_vv_*"))
    assert found(f"{city};{vv};{date};{tmp_path}") == [UNOSAT]


def test_a_city_below_a_folder_of_splits_keeps_its_name(tmp_path: Path) -> None:
    write_scene(tmp_path / "unosat" / "test", "Beta_2015")
    assert [city for city, _, _ in found(tmp_path)] == ["Beta"]
    assert [city for city, _, _ in found(tmp_path / "unosat")] == ["Beta"]


def test_what_is_passed_over_is_said_once_a_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "porto"
    for name in ("20230101_VV", "20230101_VH", "20230101_NESZ_VV", "20230101_NESZ_VH"):
        write_raster(place / f"{name}.tif", speckle((9, 9)))
    for name in ("a_HH", "a_HV", "b_HH"):
        write_raster(place / f"{name}.tif", speckle((9, 9)))
    write_raster(place / "20230101.tif", np.zeros((3, 9, 9), np.uint8))
    assert len(found(place)) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith(f"{place}/20230101.tif: a picture (8 bit)")
    assert lines[1].startswith(f"{place}/a_HH.tif and 2 more: HH or HV")
    assert lines[2].startswith(f"{place}/20230101_NESZ_VH.tif and 1 more: by its name a layer")
    assert len(found(place)) == 1 and len(caplog.records) == 3  # said once


def test_where_nothing_else_is_there_the_reason_is_the_error(tmp_path: Path) -> None:
    for name in ("s1a_22WDS_hh_DES_20230101.tif", "s1a_22WDS_hv_DES_20230101.tif"):
        write_raster(tmp_path / "Nuuk_2023" / name, speckle((9, 9)))
    for search in (lambda: find_scenes(str(tmp_path), Allow()), lambda: require_split(tmp_path)):
        with pytest.raises(InputError, match=r"_hh_.* and 1 more: HH or HV, .*give scenes of VV"):
            search()


# --- splits of the UNOSAT layout ----------------------------------------------------------------


def test_pairs_are_found_in_any_folder_of_a_city(tmp_path: Path) -> None:
    long = "s1tiling_S1A_IW_GRDH_1SDV_20150108T030926_20150108T030951_004080_004EC1_B908/38SLF"
    write_scene(tmp_path, "Mosul_2015", date="20150108", suffix="t030926", folder=long)
    write_scene(tmp_path, "Mosul_2015", date="20151005", folder="")
    write_scene(tmp_path, "Mosul_2015", date="20151005", folder="", suffix="_1")
    write_scene(tmp_path, "Bagdad_2015", "38SMB", "20150114", orbit="", folder="20150114_38SMB")
    write_raster(tmp_path / "Mosul_2015" / "s1a_38SLF_vv_ASC_20151005_BorderMask.tif", [[1.0]])
    found = scenes_of_split(tmp_path)
    assert [scene.scene_id for scene in found.scenes] == [
        "s1a_38SMB_{}_20150114",
        "s1a_38SLF_{}_ASC_20150108t030926",
        "s1a_38SLF_{}_ASC_20151005",
        "s1a_38SLF_{}_ASC_20151005_1",
    ]
    assert [scene.city_key for scene in found.scenes] == ["38SMB_Bagdad"] + 3 * ["38SLF_Mosul"]
    assert found.problems == []
    assert len(found.ignored) == 1


def test_vv_and_vh_may_stand_in_different_folders_of_a_city(tmp_path: Path) -> None:
    _, vh = write_scene(tmp_path)
    elsewhere = tmp_path / "Alpha_2015" / "vh" / vh.name
    elsewhere.parent.mkdir()
    vh.rename(elsewhere)
    (scene,) = scenes_of_split(tmp_path).scenes
    assert scene.vh.location.path == elsewhere


def test_linked_data_are_found(tmp_path: Path) -> None:
    write_scene(tmp_path / "elsewhere")
    (tmp_path / "train").symlink_to(tmp_path / "elsewhere")
    assert len(scenes_of_split(tmp_path / "train").scenes) == 1


def test_a_lone_polarisation_is_refused_with_its_name(tmp_path: Path) -> None:
    vv, vh = write_scene(tmp_path)
    vh.unlink()
    (problem,) = scenes_of_split(tmp_path).problems
    assert str(problem).startswith(f"{vv}: VV without VH; add s1a_38SLF_vh_ASC_20150101.tif")


def test_vv_and_vh_in_different_cities_are_no_pair(tmp_path: Path) -> None:
    _, vh = write_scene(tmp_path)
    elsewhere = tmp_path / "Beta_2015" / vh.name
    elsewhere.parent.mkdir()
    vh.rename(elsewhere)
    found = scenes_of_split(tmp_path)
    assert found.scenes == []
    assert str(elsewhere) in str(found.problems[0])


@pytest.mark.parametrize("name", ["A;b_2015", "A\\b_2015"])
def test_a_city_whose_files_gdal_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    write_scene(tmp_path, name)
    found = scenes_of_split(tmp_path)
    assert found.scenes == []
    assert str(found.problems[0]).endswith("GDAL misreads; rename the folder")


def test_the_same_scene_twice_is_refused_with_both_paths(tmp_path: Path) -> None:
    first, _ = write_scene(tmp_path, folder="a")
    second, _ = write_scene(tmp_path, folder="b")
    found = scenes_of_split(tmp_path)
    assert found.scenes == []
    (problem,) = found.problems
    assert str(first) in str(problem)
    assert str(second) in str(problem)


@pytest.mark.parametrize("below", ["", "unosat"])
def test_a_folder_of_splits_is_no_split(tmp_path: Path, below: str) -> None:
    write_scene(tmp_path / below / "train")
    train = tmp_path / below / "train"
    with pytest.raises(InputError, match=f"holds splits, train among them, .*; give {train}, or"):
        scenes_of_split(tmp_path)


def test_cities_in_a_folder_of_a_country_are_said_to_be_one(tmp_path: Path) -> None:
    write_scene(tmp_path, "Syria/Homs_2015")
    write_scene(tmp_path, "Syria/Aleppo_2015", date="20150202")
    write_scene(tmp_path, "Mosul/Mosul_2015", date="20150303")
    write_scene(tmp_path, "Beta_2015", date="20150404", folder="s1tiling_2015")
    (note,) = scenes_of_split(tmp_path).notes
    assert str(note).startswith(f"{tmp_path / 'Syria'}: taken as one city, though it holds Aleppo_")


def test_one_calibration_of_a_scene_is_read_by_the_steps(tmp_path: Path) -> None:
    for suffix in ("t030926", "t030926_filtered", "t030926_NormLim"):
        write_scene(tmp_path, suffix=suffix)
    found = scenes_of_split(tmp_path)
    assert [scene.plain_id for scene in found.scenes] == ["s1a_38SLF_ASC_20150101t030926"]
    assert len(found.passed) == 2 and not found.problems


def test_a_folder_that_cannot_be_listed_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scene(tmp_path)
    closed = write_scene(tmp_path, date="20150202")[0].parent
    scandir = os.scandir

    def refusing(path: Path) -> Any:  # as the tests may be run by root, who may list all
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = require_split(tmp_path)
    assert [scene.date for scene in found.scenes] == ["20150101"]
    (passed,) = found.passed
    assert str(passed).startswith(f"{closed}: cannot be listed (Permission denied)")


def test_a_scene_outside_a_city_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, city="", folder="")
    found = scenes_of_split(tmp_path)
    assert found.scenes == []
    assert "outside a city's folder" in str(found.problems[0])
