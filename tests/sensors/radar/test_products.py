"""Layers that stand beside scenes, and radiometries, by the names that processors give."""

from __future__ import annotations

import pytest

from builtup.sensors.radar.products import (
    Radiometry,
    crossed_in,
    is_border_mask,
    is_product,
    is_raw,
    is_side_layer,
    preferred,
    radiometry_in,
)

HYP3 = "S1A_IW_20230101T030926_DVP_RTC10_G_gpuned_A1B2"
ARD = "s1a-iw-nrb-20230101t030926-046594-059584-38slf"
OPERA = "OPERA_L2_RTC-S1_T072-152316-IW1_20230101T030926Z_20230101T232415Z_S1A_30_v1.0"


@pytest.mark.parametrize(
    "stem",
    [
        *(f"{HYP3}_{end}" for end in ("rgb", "inc_map", "inc_map_ell", "ls_map", "dem", "area")),
        *(f"{ARD}-{end}" for end in ("np-vv", "np-vh", "ei", "lc", "dm", "id", "cc-g-lin")),
        *(f"{OPERA}_{end}" for end in ("mask", "local_incidence_angle", "rtc_anf_gamma0_to_beta0")),
        "s1a_38SLF_vv_ASC_20151005_BorderMask",
        "sin_LIA_s1a_38SLF_DES_007",
        "localIncidenceAngle",
        "projectedLocalIncidenceAngle_VV",
        "layover_shadow_mask",
        "NESZ_VH",
        "thermal_noise_VV",
        "S1A_20230101_coh_VV",
        "i_VV",
        "S1A_20230101_VV_VH_ratio",
        "quicklook_vv",
    ],
)
def test_layers_beside_scenes_are_known(stem: str) -> None:
    assert is_side_layer(stem)


@pytest.mark.parametrize(
    "stem",
    [
        f"{HYP3}_VV",
        f"{ARD}-vv-g-lin",
        f"{OPERA}_VV",
        "s1a_38SLF_mask_ASC_20151005",  # ours: it is told by its kind
        "S1A_noise_removed_VV_20230101",
        "S1A_20230101_denoised_VV",
        "S1A_IW_GRDH_ThermalNoiseRemoval_VV",
        "phase1_VV_20230101",
        "study_area_VV",
        "Shadow_Creek_20230101_VV",
        "iw-vv.rtc",
    ],
)
def test_scenes_are_no_layers(stem: str) -> None:
    assert not is_side_layer(stem)


def test_border_masks_are_part_of_the_layout() -> None:
    assert is_border_mask("s1a_38SLF_vv_ASC_20151005_BorderMask")
    assert not is_border_mask(f"{ARD}-np-vv")


def test_products_in_radar_geometry_are_known_by_name_or_folder() -> None:
    slc = "s1a-iw1-slc-vh-20230101t030926-20230101t030951-046594-059584-001"
    assert is_raw(slc) and is_raw(slc.replace("iw1-slc", "iw-grd") + "-cog")
    assert is_raw("renamed_vv", ("data", "S1A_IW.SAFE", "measurement"))
    assert not is_raw(f"{ARD}-vv-g-lin", ("S1A_IW_NRB", "measurement"))


def test_folders_of_products_are_no_cities() -> None:
    rtc = "S1A_IW_GRDH_1SDV_20230101T030926_20230101T030951_046594_059584_rtc"
    assert all(map(is_product, (rtc, HYP3, OPERA, f"{rtc}.SAFE", "measurement")))
    assert not any(map(is_product, ("Mosul_2015", "S1A", "Opera")))


def test_crossed_polarisations_are_whole_words() -> None:
    assert crossed_in("s1a_22WDS_hh_DES_20230101") and crossed_in("scene-HV")
    assert not crossed_in("Ahhaus_VV") and not crossed_in("hvar_vh")


@pytest.mark.parametrize(
    ("name", "same", "told"),
    [
        ("S1A_20230101_Sigma0", "S1A_20230101", "sigma0"),
        ("S1A_20230101_Gamma0_db", "S1A_20230101", "gamma0 in decibels"),
        (HYP3, "S1A_IW_20230101T030926_DVP", "gamma0"),
        (HYP3.replace("gpuned", "sdufed"), "S1A_IW_20230101T030926_DVP",
         "sigma0 in decibels, speckle filtered"),
        (f"{ARD}_s-log", ARD.replace("-", "_"), "sigma0 in decibels"),
        ("s1a_38SLF_DES_20150225_filtered", "s1a_38SLF_DES_20150225", "speckle filtered"),
        ("s1a_38SLF_DES_20150225_NormLim", "s1a_38SLF_DES_20150225", "sigma0"),
        ("iw_rtc", "iw", "in another form"),
        ("Sigma0 (1)", "", "sigma0, a second copy"),
    ],
)  # fmt: skip
def test_a_radiometry_is_read_from_a_name(name: str, same: str, told: str) -> None:
    rest, radiometry = radiometry_in(name)
    assert rest == same
    assert str(radiometry) == told


def test_the_preferred_radiometry_is_that_of_most_and_else_the_first_by_rank() -> None:
    sigma, gamma = Radiometry("sigma0", "power"), Radiometry("gamma0", "power")
    decibels, filtered = Radiometry("sigma0", "decibels"), Radiometry("sigma0", "power", True)
    assert preferred([[gamma, decibels, filtered, sigma]]) == [3]
    assert preferred([[gamma, sigma], [gamma], [gamma]]) == [0, 0, 0]
    assert preferred([[Radiometry("sigma0", copy=True), Radiometry("sigma0")]]) == [1]
    assert preferred([]) == []
