"""Names: every variation that has been seen in the UNOSAT data."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.sensors.radar.names import (
    SceneName,
    city_key,
    city_name,
    current_key,
    date_in,
    plain_id,
    polarisation_in,
    safe_name,
    same_city,
    scene_years,
    without_copy,
)

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
    ("S1A_L1ORT_38SLF_VV_SIG_DES_007_20150225t030926.tif", "vv", "38SLF", "DES", "20150225",
     "S1A_L1ORT_38SLF_{}_SIG_DES_007_20150225t030926"),
    ("s1a_38SLF_vh_DES_007_20150225_sigma_filtered.tif", "vh", "38SLF", "DES", "20150225",
     "s1a_38SLF_{}_DES_007_20150225_sigma_filtered"),
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
    assert parsed.stem == Path(name).stem
    assert parsed.stem.lower() == parsed.scene_id.format(kind).lower()


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
    assert plain_id(vv.scene_id) == f"{satellite}_{tile}{end}"


@pytest.mark.parametrize(
    ("city", "key"),
    [
        ("New York", "38SLF_New_York"),
        ("New_York", "38SLF_New_York"),
        ("Mosul [old]", "38SLF_Mosul_old"),
        ("*Mosul?", "38SLF_Mosul"),
        ("Zürich", "38SLF_Zürich"),
        ("Mosul_prob", "38SLF_Mosul-prob"),  # Mosul_prob.tif is Mosul's
    ],
)
def test_a_city_s_key_is_fit_for_files_and_patterns(city: str, key: str) -> None:
    assert city_key("38SLF", city) == key
    for spelled in (key, f"38SLF_{city}"):
        assert current_key(spelled) == key
        assert current_key(f"{spelled}/r0c1") == f"{key}/r0c1"
        assert same_city(spelled, key)


def test_a_year_of_a_city_is_that_city_and_another_place_is_not() -> None:
    assert same_city("38SLF_New_York_2020", "38SLF_New York")
    assert not same_city("38SLF_Mosul", "38SLF_Mosul_2020")
    assert not same_city("38SLF_Mosul_2", "38SLF_Mosul")
    assert not same_city("38SMF_Mosul", "38SLF_Mosul")
    assert current_key("all") == "all"


def test_city_key_is_tile_and_city_without_year() -> None:
    assert city_key("38SLF", city_name("Mosul_2015")) == "38SLF_Mosul"
    assert city_key("10SEG", city_name("San_Francisco_1988")) == "10SEG_San_Francisco"
    assert city_name("Alpha") == "Alpha"


def test_polarisations_and_dates_are_found_in_any_name() -> None:
    assert polarisation_in("S1_VV_20200101") == ("vv", "S1_20200101")
    assert polarisation_in("vvv_20200101")[0] == ""
    assert polarisation_in("a_vv_vh")[0] == ""
    assert polarisation_in("S1_VV_20200101 (1)") == ("vv", "S1_20200101_copy1")
    assert date_in("x_20201301_20200229") == "20200229"


def test_names_for_files_keep_letters_of_any_script() -> None:
    assert safe_name("../../etc/pass wd") == "etc_pass_wd"
    assert safe_name("…") == "unnamed"
    assert safe_name("الموصل (2020)") == "الموصل_2020"
    assert safe_name("दिल्ली") == "दिल्ली"
    assert safe_name("Mu\u0308nster") == safe_name("M\u00fcnster") == "M\u00fcnster"
    assert len(safe_name("北" * 200).encode()) == 150


@pytest.mark.parametrize("end", [" (1)", "(2)", " - Copy", " - Copy (2)", " - Kopie", "_copy"])
def test_copies_lose_what_marks_them(end: str) -> None:
    assert without_copy(f"s1a_38SLF_vv_ASC_20151005{end}") == "s1a_38SLF_vv_ASC_20151005"


def test_a_number_of_the_layout_marks_no_copy() -> None:
    assert without_copy("s1a_38SLF_vv_ASC_20151005_1") == "s1a_38SLF_vv_ASC_20151005_1"


@pytest.mark.parametrize(
    ("scenes", "years"),
    [
        ([("2015", "20141230"), ("2020", "20200108")], ["2015", "2020"]),
        (
            [("2015", ""), ("2020", ""), ("", "20180101"), ("", "")],
            ["2015", "2020", "2018", "2015"],
        ),
        ([("2015", "20150101"), ("2015", "20170101"), ("", "20200101")], ["", "", ""]),
        ([("", "20150101"), ("", "20200101")], ["", ""]),
        ([], []),
    ],
)
def test_a_scene_has_a_year_where_its_city_has_folders_of_several(
    scenes: list[tuple[str, str]], years: list[str]
) -> None:
    assert scene_years(scenes) == years
