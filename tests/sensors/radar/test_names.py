"""Names: every variation that has been seen in the UNOSAT data."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.sensors.radar.names import (
    SceneName,
    city_key,
    discover_pairs,
    find_rasters,
    require_folder,
)
from helpers import write_raster, write_scene

SEEN = [
    # file name, kind, tile, orbit, date, scene id
    ("s1a_38SLF_vv_DES_20150108t030926.tif", "vv", "38SLF", "DES", "20150108",
     "s1a_38SLF_{}_DES_20150108t030926"),
    ("s1a_38SMB_vh_ASC_20150114.tif", "vh", "38SMB", "ASC", "20150114",
     "s1a_38SMB_{}_ASC_20150114"),
    ("s1a_38SLF_vh_20150426.tif", "vh", "38SLF", "", "20150426", "s1a_38SLF_{}_20150426"),
    ("s1a_38SLF_vv_ASC_20151005.tif", "vv", "38SLF", "ASC", "20151005",
     "s1a_38SLF_{}_ASC_20151005"),
    ("s1a_38SLF_vv_ASC_20151005_1.tif", "vv", "38SLF", "ASC", "20151005",
     "s1a_38SLF_{}_ASC_20151005_1"),
    ("s1b_38SLF_vv_ASC_20151005txxxxxx.tif", "vv", "38SLF", "ASC", "20151005",
     "s1b_38SLF_{}_ASC_20151005txxxxxx"),
    ("s1a_38SLF_3b_ASC_20151005_1.tif", "3b", "38SLF", "ASC", "20151005",
     "s1a_38SLF_{}_ASC_20151005_1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "tile", "orbit", "date", "scene_id"), SEEN)
def test_names_seen_in_the_data_are_taken_apart(
    name: str, kind: str, tile: str, orbit: str, date: str, scene_id: str
) -> None:
    parsed = SceneName.parse(name)
    assert parsed is not None
    assert (parsed.kind, parsed.tile, parsed.orbit, parsed.date) == (kind, tile, orbit, date)
    assert parsed.scene_id == scene_id
    assert parsed.as_kind(kind) == Path(name).stem


@pytest.mark.parametrize(
    "name",
    [
        "s1a_38SLF_vv_ASC_20151005_BorderMask.tif",
        "s1a_38SLF_vh_20150426_BorderMask.tif",
        "tile_0_480.tif",
        "s1a_38SLF_hh_ASC_20151005.tif",
        "s1a_38SLF_vv_ASC_2015.tif",
        "s1a_38SLF_vv_ASC_20151005.tif.aux.xml",
        "s1a_38SLF_vv_ASC_20151005.png",
    ],
)
def test_other_names_are_no_scenes(name: str) -> None:
    assert SceneName.parse(name) is None


@given(
    satellite=st.sampled_from(["s1a", "s1b", "s1c"]),
    tile=st.from_regex(r"[0-9]{2}[A-Z]{3}", fullmatch=True),
    orbit=st.sampled_from(["", "_ASC", "_DES"]),
    date=st.dates().map(lambda d: d.strftime("%Y%m%d").zfill(8)),
    time=st.sampled_from(["", "t030926", "txxxxxx"]),
    number=st.sampled_from(["", "_1", "_12"]),
)
def test_both_polarisations_have_one_scene_id(
    satellite: str, tile: str, orbit: str, date: str, time: str, number: str
) -> None:
    end = f"{orbit}_{date}{time}{number}"
    vv = SceneName.parse(f"{satellite}_{tile}_vv{end}.tif")
    vh = SceneName.parse(f"{satellite}_{tile}_vh{end}.tif")
    assert vv is not None
    assert vh is not None
    assert vv.scene_id == vh.scene_id == f"{satellite}_{tile}_{{}}{end}"
    assert vv.scene_id.format("vh") == vh.stem
    assert vv.plain_id == f"{satellite}_{tile}{end}"


def test_city_key_is_tile_and_city_without_year() -> None:
    assert city_key("38SLF", "Mosul_2015") == "38SLF_Mosul"
    assert city_key("10SEG", "San_Francisco_1988") == "10SEG_San_Francisco"


def test_pairs_are_found_in_any_folder_of_a_city(tmp_path: Path) -> None:
    long = "s1tiling_S1A_IW_GRDH_1SDV_20150108T030926_20150108T030951_004080_004EC1_B908/38SLF"
    write_scene(tmp_path, "Mosul_2015", date="20150108", suffix="t030926", folder=long)
    write_scene(tmp_path, "Mosul_2015", date="20151005", folder="")
    write_scene(tmp_path, "Mosul_2015", date="20151005", folder="", suffix="_1")
    write_scene(tmp_path, "Bagdad_2015", "38SMB", "20150114", orbit="", folder="20150114_38SMB")
    write_raster(tmp_path / "Mosul_2015" / "s1a_38SLF_vv_ASC_20151005_BorderMask.tif", [[1.0]])
    found = discover_pairs(tmp_path)
    assert [pair.scene_id for pair in found.pairs] == [
        "s1a_38SMB_{}_20150114",
        "s1a_38SLF_{}_ASC_20150108t030926",
        "s1a_38SLF_{}_ASC_20151005",
        "s1a_38SLF_{}_ASC_20151005_1",
    ]
    assert [pair.city for pair in found.pairs] == ["38SMB_Bagdad"] + 3 * ["38SLF_Mosul"]
    assert found.problems == ()
    assert len(found.ignored) == 1


def test_vv_and_vh_may_stand_in_different_folders_of_a_city(tmp_path: Path) -> None:
    _, vh = write_scene(tmp_path)
    elsewhere = tmp_path / "Alpha_2015" / "vh" / vh.name
    elsewhere.parent.mkdir()
    vh.rename(elsewhere)
    (pair,) = discover_pairs(tmp_path).pairs
    assert pair.vh == elsewhere


def test_linked_data_are_found(tmp_path: Path) -> None:
    write_scene(tmp_path / "elsewhere")
    (tmp_path / "train").symlink_to(tmp_path / "elsewhere")
    assert len(discover_pairs(tmp_path / "train").pairs) == 1


def test_a_lone_polarisation_is_refused_with_its_name(tmp_path: Path) -> None:
    vv, vh = write_scene(tmp_path)
    vh.unlink()
    (problem,) = discover_pairs(tmp_path).problems
    assert str(problem).startswith(f"{vv}: VV without VH; add s1a_38SLF_vh_ASC_20150101.tif")


def test_vv_and_vh_in_different_cities_are_no_pair(tmp_path: Path) -> None:
    _, vh = write_scene(tmp_path)
    elsewhere = tmp_path / "Beta_2015" / vh.name
    elsewhere.parent.mkdir()
    vh.rename(elsewhere)
    found = discover_pairs(tmp_path)
    assert found.pairs == ()
    assert str(elsewhere) in str(found.problems[0])


@pytest.mark.parametrize("name", ["A;b_2015", "A\\b_2015"])
def test_a_city_whose_files_gdal_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    write_scene(tmp_path, name)
    found = discover_pairs(tmp_path)
    assert found.pairs == ()
    assert str(found.problems[0]).endswith("GDAL misreads; rename the folder")


def test_the_same_scene_twice_is_refused_with_both_paths(tmp_path: Path) -> None:
    first, _ = write_scene(tmp_path, folder="a")
    second, _ = write_scene(tmp_path, folder="b")
    found = discover_pairs(tmp_path)
    assert found.pairs == ()
    (problem,) = found.problems
    assert str(first) in str(problem)
    assert str(second) in str(problem)


def test_a_scene_outside_a_city_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, city="", folder="")
    found = discover_pairs(tmp_path)
    assert found.pairs == ()
    assert "outside a city's folder" in str(found.problems[0])


def test_a_step_finds_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    write_scene(tmp_path / "in")
    (pair,) = discover_pairs(tmp_path / "in").pairs
    path = write_raster(pair.output(tmp_path / "out", "3b"), [[1.0]])
    (file,) = find_rasters(tmp_path / "out", "3b")
    assert (file.path, file.scene_id, file.city) == (path, pair.scene_id, "38SLF_Alpha")
    assert find_rasters(tmp_path / "out", "mask") == ()


def test_a_missing_folder_says_how_to_link_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder; .*ln -s"):
        require_folder(tmp_path / "absent")
    with pytest.raises(InputError, match="mlflow run experiments/"):
        require_folder(Path("../absent-input"))
