"""Which files make a scene, under which id, and which radiometry of an acquisition is read."""

from __future__ import annotations

from pathlib import Path

from builtup.geo.locations import Location
from builtup.sensors.radar.names import SceneName, polarisation_in
from builtup.sensors.radar.pairs import BOTH, Paired, Part, RadarFile, paired

RTC = "S1A_IW_GRDH_1SDV_{}T030926_{}T030951_046594_059584_rtc"


def part(path: str, city: str = "Mosul") -> Part:
    """The part that a file `<folders>/<name>.tif` of a city is."""
    stem, folders = Path(path).name, Path(path).parts[:-1]
    file = RadarFile(Location(f"/in/{city}/{path}.tif"), city, None, folders)
    name = SceneName.parse(f"{stem}.tif")
    polarisation, rest = polarisation_in(stem)
    return Part(file, polarisation or BOTH, rest, name)  # type: ignore[arg-type]


def pair(path: str, city: str = "Mosul") -> list[Part]:
    """VV and VH of a path with braces for the polarisation."""
    return [part(path.replace("{}", polarisation), city) for polarisation in ("vv", "vh")]


def ids(result: Paired) -> list[str]:
    assert not result.problems
    return sorted(scene.plain_id for scene in result.scenes)


def test_a_date_in_the_name_is_enough() -> None:
    result = paired(pair("a/20230101_{}"))
    assert ids(result) == ["20230101"]
    assert not result.passed and not result.notes


def test_a_product_s_folder_stands_before_a_name_without_a_date() -> None:
    folders = [RTC.format(day, day) for day in ("20230101", "20230113")]
    one = paired(pair(f"{folders[0]}/measurement/iw-{{}}.rtc"))
    two = paired([p for f in folders for p in pair(f"{f}/measurement/iw-{{}}.rtc")])
    assert ids(one) == [f"{folders[0]}_iw_rtc"]
    assert ids(two) == [
        f"{folder}_iw_rtc" for folder in folders
    ]  # that of one date has not changed
    assert [scene.date for scene in two.scenes] == ["20230101", "20230113"]
    assert not two.notes


def test_polarisations_in_folders_of_their_own_are_paired() -> None:
    parts = [part(f"20230101/{p}/{p}") for p in ("vv", "vh")]
    parts += [part(f"20230113/{p}/{p}") for p in ("vv", "vh")]
    assert ids(paired(parts)) == ["20230101", "20230113"]


def test_names_that_are_equal_are_told_apart_by_folders_with_a_word() -> None:
    result = paired([*pair("first/x/{}"), *pair("second/x/{}")])
    assert ids(result) == ["first", "second"]
    (note,) = result.notes
    assert "read as 2 dates; remove one if they are the same" in str(note)


def test_a_copy_of_a_dated_scene_is_refused() -> None:
    (problem,) = paired([*pair("a/20230101_{}"), *pair("b/20230101_{}")]).problems
    assert "stands twice" in str(problem) and "/b/20230101_vv.tif" in str(problem)


def test_cities_may_have_the_same_names() -> None:
    result = paired([*pair("20230101_{}"), *pair("20230101_{}", "Aleppo")])
    assert ids(result) == ["Aleppo_20230101", "Mosul_20230101"]


def test_one_radiometry_of_an_acquisition_is_read_and_the_others_are_named() -> None:
    kinds = ("Gamma0_{}", "Sigma0_{}_db", "Sigma0_{}")
    result = paired([p for kind in kinds for p in pair(f"S1A_20230101T030926_{kind}")])
    assert ids(result) == ["S1A_20230101T030926_Sigma0"]
    gamma, decibels = map(str, result.passed)
    assert "not read: the acquisition of S1A_20230101T030926_Sigma0_vv.tif, gamma0; take" in gamma
    assert ", sigma0 in decibels; take that away to read this" in decibels


def test_the_radiometry_of_most_scenes_is_read() -> None:
    parts = [*pair("20230101_Sigma0_{}"), *pair("20230101_Gamma0_{}"), *pair("20230113_Gamma0_{}")]
    result = paired(parts)
    assert ids(result) == ["20230101_Gamma0", "20230113_Gamma0"]
    assert len(result.passed) == 1


def test_radiometries_in_folders_of_their_own_are_known() -> None:
    result = paired([*pair("sigma0/20230101_{}"), *pair("gamma0/20230101_{}")])
    assert ids(result) == ["sigma0_20230101"]
    assert "gamma0" in str(result.passed[0])


def test_products_of_one_acquisition_with_other_options_are_one() -> None:
    hyp3 = "S1A_IW_20230101T030926_DVP_RTC{}_G_{}_{}_{{}}"
    parts = pair(hyp3.format("30", "sdufed", "B2C3")) + pair(hyp3.format("10", "spuned", "A1B2"))
    result = paired(parts)
    assert ids(result) == ["S1A_IW_20230101T030926_DVP_RTC10_G_spuned_A1B2"]


def test_a_lone_polarisation_of_another_radiometry_is_passed_over() -> None:
    result = paired([*pair("20230101_Sigma0_{}"), part("20230101_Gamma0_vv")])
    assert ids(result) == ["20230101_Sigma0"]
    assert len(result.passed) == 1


def test_a_second_copy_is_not_a_second_date() -> None:
    result = paired([*pair("20230101_{}"), *pair("20230101_{} (1)")])
    assert ids(result) == ["20230101"]
    assert "a second copy" in str(result.passed[0])


def test_other_bursts_and_slices_are_scenes_of_their_own() -> None:
    burst = "OPERA_L2_RTC-S1_T072-15231{}-IW1_20230101T030926Z_S1A_30_v1.0_{{}}"
    assert len(ids(paired([*pair(burst.format(6)), *pair(burst.format(7))]))) == 2
    slices = "s1a_38SLF_{}_ASC_20151005"
    assert len(ids(paired([*pair(slices), *pair(f"{slices}_1")]))) == 2


def test_a_file_of_both_beside_its_pair_is_passed_over() -> None:
    result = paired([*pair("20230101_{}"), part("20230101")])
    assert ids(result) == ["20230101"]
    assert "VV and VH of its name are there" in str(result.passed[0])


def test_mixtures_and_filtered_scenes_are_noted() -> None:
    parts = [*pair("20230101_Sigma0_{}"), *pair("20230113_Sigma0_{}"), *pair("20230125_Gamma0_{}")]
    (mixed,) = paired(parts).notes
    assert "20230125_Gamma0_vv.tif: gamma0, while other scenes are sigma0" in str(mixed)
    (filtered,) = paired(pair("s1a_38SLF_{}_DES_20150225_filtered")).notes
    assert "speckle was filtered" in str(filtered)
