"""What a file is: half of a scene, a layer beside scenes, or none, and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.geo.locations import Location
from builtup.sensors.radar.candidates import Judged, Layout, judge
from builtup.sensors.radar.pairs import RadarFile
from helpers import speckle, write_raster


def judged(name: str | Path, layout: Layout = "split", *, named: bool = False) -> Judged:
    file = RadarFile(Location(str(name)), "Mosul", Path("Mosul_2015"), named=named)
    return judge(file, layout)


def said(name: str | Path, layout: Layout = "split") -> str:
    why = judged(name, layout).why
    return "" if why is None else f"{why.problem}; {why.remedy}"


@pytest.mark.parametrize(
    "name",
    [
        "s1a_38SLF_vv_DES_007_20150225t030926.tif",
        "s1a_38SLF_VV_DES_007_20150225t030926.TIF",
        "s1a_38SLF_vv_DES_007_20150225t030926_sigma.tif",
        "s1a_38SLF_vv_DES_007_20150225t030926_filtered.tiff",
        "S1A_L1ORT_38SLF_VV_SIG_DES_007_20150225t030926.tif",
    ],
)
def test_names_that_tools_can_be_told_to_write_are_read_by_the_steps(name: str) -> None:
    part = judged(name).part
    assert part is not None and part.name is not None
    assert (part.polarisation, part.name.tile, part.name.date) == ("vv", "38SLF", "20150225")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("s1a_38SLF_vv_20150225 (1).tif", "rename it to s1a_38SLF_vv_20150225.tif"),
        ("S1A_IW_20230101T030926_DVP_RTC10_G_gpuned_A1B2_VH.tif",
         "name it s1a_<TILE>_vh_20230101.tif for the steps; predict reads it as it is"),
        ("38SLF_Mosul_VV.tif", "name it s1a_38SLF_vv_<YYYYMMDD>.tif"),
        ("38SLF_Mosul.tif", "polygons are read as .shp"),
        ("S1A_38SLF_20150225.tif", "put vv or vh into its name"),
        ("Sigma0_VV_VH.tif", "split it into a file a polarisation"),
        ("s1a_22WDS_hh_DES_20230101t030926.tif", "give scenes of VV and VH"),
        ("S1A_20230101_VH.img", "write it as GeoTIFF"),
        ("S1A_20230101_Orb_Cal_TC.dim", "write it as GeoTIFF"),
        ("S1A_IW_20230101T030926_DVP_RTC10_G_gpuned_A1B2.zip", "unpack it"),
        ("s1a_38SLF_vv_20150225.tif.gz", "unpack it"),
        ("s1a_38SLF_vv_20150225.tif.part", "download it again"),
        ("S1A_20230101_VV.png", "there is nothing to do"),
        ("s1a-iw-nrb-20230101t030926-046594-38slf-np-vv.tif", "rename it if it is a scene"),
        ("s1a-iw-grd-vv-20230101t030926-20230101t030951-046594-059584-001.tiff",
         "calibrate and terrain-correct it first (SNAP, S1Tiling: docs/data.md)"),
    ],
)  # fmt: skip
def test_what_speaks_of_a_scene_and_is_none_is_named_with_the_remedy(
    name: str, remedy: str
) -> None:
    assert judged(name).part is None
    assert remedy in said(name)


@pytest.mark.parametrize(
    "name",
    [
        "s1a_38SLF_vv_ASC_20151005_BorderMask.tif",
        "S1A_IW_20230101T030926_DVP_RTC10_G_gpuned_A1B2_rgb.tif",
        "S1A_IW_20230101T030926_DVP_RTC10_G_gpuned_A1B2_inc_map.tif",
        "s1a_38SLF_3b_ASC_20151005.tif",
        "dem.tif",
        "savvy_2015.tif",
        "s1a_38SLF_vv_ASC_20151005.tif.aux.xml",
        "rgb.png",
        "notes_vv.txt",
        "old.zip",
    ],
)
def test_what_does_not_is_left_alone(name: str) -> None:
    assert (judged(name).part, said(name)) == (None, "")


def test_snap_s_files_are_named_by_their_dim(tmp_path: Path) -> None:
    band = tmp_path / "S1A_TC.data" / "Sigma0_VV.img"
    assert "no GeoTIFF (.img)" in said(band)
    (tmp_path / "S1A_TC.dim").touch()
    assert said(band) == ""
    assert "SNAP: File, Export" in said(tmp_path / "S1A_TC_vv.dim")


def test_files_of_other_names_are_told_by_their_headers(tmp_path: Path) -> None:
    def written(name: str, *bands: str, kind: str = "float32") -> Path:
        values = np.stack([speckle((4, 4))] * max(1, len(bands))).astype(kind)
        path = write_raster(tmp_path / name, values)
        with rasterio.open(path, "r+") as dataset:
            for i, text in enumerate(bands, 1):
                dataset.set_band_description(i, text)
        return path

    assert judged(written("both.tif", "VV", "VH"), "any").part is not None
    assert judged(written("unnamed.tif", "", ""), "any").part is not None  # its header is refused
    assert "a picture" in said(written("x.tif", "r", "g", "b", kind="uint8"), "any")
    assert "a picture" in said(written("y.tif", kind="uint8"), "any")
    assert "neither vv nor vh" in said(written("z.tif"), "any")
    assert "HH or HV" in said(written("polar.tif", "HH", "HV"), "any")
    cut = written("cut.tif")
    cut.write_bytes(b"")
    assert judged(cut, "any").part is not None


def test_what_the_user_names_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "scene_vv"
    assert judged(file, "any").part is None
    assert judged(file, "any", named=True).part is not None
    assert "no GeoTIFF" in said(tmp_path / "scene_vv.img", "any")
    why = judged(tmp_path / "dem.tif", "any", named=True).why
    assert why is not None and "rename it if it is a scene" in why.remedy
