"""Headers: what files and catalogues say of bands, grids, validity and scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.locations import Location
from builtup.sensors.radar.headers import SceneHeaders, read_each, read_headers
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.units import judge_units
from helpers import CRS, TRANSFORM, speckle, write_raster

Float = NDArray[np.float32]


def scene_of(vv: Path, vh: Path) -> Scene:
    return Scene("x_{}", "Alpha", "20150101", Band(Location(str(vv))), Band(Location(str(vh))))


def power(shape: tuple[int, int] = (60, 80)) -> tuple[Float, Float]:
    return speckle(shape, 0.14, 1), speckle(shape, 0.02, 2)


def write_pair(
    folder: Path, vv: Float, vh: Float, transform: Affine = TRANSFORM, crs: str = CRS, **how: object
) -> tuple[Path, Path]:
    return (
        write_raster(folder / "a_vv.tif", vv, transform, crs, **how),
        write_raster(folder / "a_vh.tif", vh, transform, crs, **how),
    )


def said(headers: SceneHeaders) -> str:
    return "\n".join(f"{remark.what} ({remark.detail})" for remark in headers.remarks)


def test_a_plain_scene_says_nothing_and_is_read_as_it_stands(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, *power(), nodata=-9999.0)
    found = read_headers(scene_of(*paths))
    assert found.grid == found.vv.grid and found.joint
    assert [band.nodata for band in found.bands] == [(-9999,), (-9999,)]
    assert all(band.is_power and not band.masked for band in found.bands)
    assert (found.remarks, found.validity, found.conversion) == ((), {}, {})
    assert found.files == paths


def test_units_and_scales_are_read(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, *(10 * np.log10(p) for p in power()))
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.units, dataset.scales = ("dB",), (2.0,)
    found = read_headers(scene_of(*paths))
    assert (found.vv.scale, found.vv.declared) == (2, ("unit: dB",))
    assert not found.vv.is_power
    assert found.vv.integer is False


@pytest.mark.parametrize(
    ("stem", "unit"),
    [
        ("S1A_IW_20230101T030926_DVP_RTC10_G_gduned_A1B2", "decibels"),
        ("S1A_IW_20230101T030926_DVP_RTC10_G_gauned_A1B2", "amplitude"),
        ("s1a-iw-nrb-20230101t030926-046594-059584-38slf-g-log", "decibels"),
        ("Subset_S1A_20230101_Sigma0_db", "decibels"),
        ("S1A_20230101_Intensity", "power"),
        ("s1a_38SLF_DES_20150108t030926", ""),
        ("S1A_DN_20230101", ""),
    ],
)
def test_names_declare_units(tmp_path: Path, stem: str, unit: str) -> None:
    vv, vh = (write_raster(tmp_path / f"{stem}_{p}.tif", power()[0]) for p in ("vv", "vh"))
    declared = read_headers(scene_of(vv, vh)).vv.declared
    assert declared == ((f"name {vv.stem}: {unit}",) if unit else ())


def test_other_pixels_are_resampled_and_it_is_said(tmp_path: Path) -> None:
    found = read_headers(scene_of(*write_pair(tmp_path, *power(), TRANSFORM @ Affine.scale(2))))
    assert found.grid.shape == (120, 160)
    assert found.conversion == {"resampled": "10 m"}
    assert "resampled in linear power to 10 m" in said(found)
    assert "20 x 20 m in EPSG:32638" in said(found)


def test_vh_on_another_grid_is_warped_or_refused_where_both_must_lie_on_one(tmp_path: Path) -> None:
    vv, vh = power()
    scene = scene_of(*write_pair(tmp_path, vv, vh))
    write_raster(tmp_path / "a_vh.tif", vh, TRANSFORM @ Affine.translation(1, 0))
    assert "VH is warped onto the grid of VV" in said(read_headers(scene))
    with pytest.raises(GridError, match="not on the grid of"):
        read_headers(scene, joint=True)


def test_the_band_beside_alpha_needs_no_description(tmp_path: Path) -> None:
    vv, vh = power()
    shown = np.where(np.arange(80) < 20, 0, 255) * np.ones((60, 1))
    paths = write_pair(
        tmp_path, np.stack([vv, shown]).astype("f4"), np.stack([vh, shown]), alpha="YES"
    )
    found = read_headers(scene_of(*paths))
    assert [(band.band, band.alpha) for band in found.bands] == [(1, 2), (1, 2)]
    assert found.validity == {"vv_validity": "alpha 2", "vh_validity": "alpha 2"}


def of_item(scene: Scene, **said: float) -> Scene:
    return replace(scene, vv=replace(scene.vv, **said), vh=replace(scene.vh, **said))


def tagged(paths: tuple[Path, Path], scale: float) -> Scene:
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (scale,)
    return scene_of(*paths)


def test_what_an_item_says_of_values_counts(tmp_path: Path) -> None:
    scene = of_item(scene_of(*write_pair(tmp_path, *power())), nodata=1.0, scale=0.01, offset=2.0)
    found = read_headers(scene)
    assert (found.vv.nodata, found.vv.scale, found.vv.offset) == ((1.0,), 0.01, 2.0)
    assert found.validity["vh_validity"] == "nodata 1 by its item"
    assert found.remarks == ()


def test_what_file_and_item_say_alike_is_no_contradiction(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, *power(), nodata=float("nan"))
    scene = of_item(tagged(paths, 0.01), nodata=float("nan"), scale=0.01)
    found = read_headers(scene)
    assert (found.vv.scale, found.remarks) == (0.01, ())


def test_where_file_and_item_contradict_each_other_it_is_said(tmp_path: Path) -> None:
    scene = tagged(write_pair(tmp_path, *power(), nodata=5.0), 0.1)
    found = read_headers(of_item(scene, nodata=7.0, scale=1.0))
    assert found.vv.nodata == (5.0, 7.0)
    assert found.vv.scale == 0.1
    assert "no-data is 5 by the file, 7 by its item: both count" in said(found)
    assert "scale and offset are 0.1 and 0 by the file, 1 and 0 by its item" in said(found)
    with pytest.raises(InputError, match=r"0\.1 and 0 by the file, 0\.01 and 0 by its item"):
        read_headers(of_item(scene, scale=0.01))


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_without_sense_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(InputError, match="its scale and offset are"):
        read_headers(of_item(scene_of(*write_pair(tmp_path, *power())), scale=scale))


def test_the_least_integer_is_no_measurement_where_thousandths_of_a_decibel_are(
    tmp_path: Path,
) -> None:
    db = [np.round(10_000 * np.log10(p)).astype(np.int16) for p in power()]
    scene = of_item(scene_of(*write_pair(tmp_path, *db)), scale=0.001)
    header = read_headers(scene).vv
    stored = np.array([-9999, -12_000, -32_768], np.float32)
    assert header.unmeasured(stored).tolist() == [False, False, True]
    # as power, a thousandth of -9999 is the filler that it always is
    as_power = replace(header, unit="power")
    assert as_power.unmeasured(np.array([-9999, 30], np.float32)).tolist() == [True, False]


def test_what_nothing_returns_is_no_measurement(tmp_path: Path) -> None:
    header = read_headers(scene_of(*write_pair(tmp_path, *power()))).vv
    stored = np.array([327, 1e20, -12], np.float32)
    assert replace(header, unit="db").unmeasured(stored).tolist() == [True, True, False]
    assert replace(header, unit="amplitude").unmeasured(stored).tolist() == [False, True, False]
    assert header.unmeasured(stored).tolist() == [False, False, False]


def test_headers_of_many_scenes_come_in_order_with_their_problems(tmp_path: Path) -> None:
    scenes = [scene_of(*write_pair(tmp_path / str(i), *power((9, 9)))) for i in range(5)]
    scenes[1].vv.location.path.unlink()
    scenes[3].vh.location.path.write_bytes(b"")
    found = list(read_each(scenes))
    usable = [headers.scene for headers in found if isinstance(headers, SceneHeaders)]
    assert usable == [scenes[0], scenes[2], scenes[4]]
    problems = [str(e) for e in found if isinstance(e, BuiltupError)]
    assert ["no such file" in problems[0], "empty file" in problems[1]] == [True, True]


def test_vh_of_other_ground_is_refused(tmp_path: Path) -> None:
    vv, vh = power()
    write_raster(tmp_path / "vv.tif", vv)
    write_raster(tmp_path / "vh.tif", vh, TRANSFORM @ Affine.translation(40, 0))
    with pytest.raises(GridError, match=r"vv\.tif: shares 50% of its ground"):
        read_headers(scene_of(tmp_path / "vv.tif", tmp_path / "vh.tif"))


def test_one_band_is_not_taken_for_both_polarisations(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "s_3b.tif", power()[0])
    with pytest.raises(InputError, match=r"s_3b\.tif: its band 1 would be both VV and VH"):
        read_headers(scene_of(path, path))


def test_a_name_that_is_too_long_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 300}.tif"
    with pytest.raises(InputError, match="no such file"):
        read_headers(scene_of(path, path))


def test_headers_without_use_are_refused(tmp_path: Path) -> None:
    vv, vh = power()
    good = write_raster(tmp_path / "vh.tif", vh)
    for bad, message in (
        (write_raster(tmp_path / "1.tif", vv, crs=None), "no CRS, so no georeference"),
        (write_raster(tmp_path / "2.tif", vv, None), "no georeference"),
        (write_raster(tmp_path / "3.tif", vv.astype(np.complex64)), "complex64 values"),
        (tmp_path / "absent.tif", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_headers(scene_of(bad, good))
    (tmp_path / "text.tif").write_text("<VRTDataset/>")
    with pytest.raises(InputError, match="not a readable GeoTIFF"):
        read_headers(scene_of(tmp_path / "text.tif", good))
    empty = write_raster(tmp_path / "4.tif", np.full_like(vv, np.nan))
    with pytest.raises(InputError, match="no valid pixel"):
        judge_units(read_headers(scene_of(empty, good)))


@pytest.mark.parametrize("crs", ['LOCAL_CS["site",UNIT["metre",1]]', "EPSG:4978"])
def test_a_crs_that_is_no_map_has_no_place_on_the_earth(tmp_path: Path, crs: str) -> None:
    pair = write_pair(tmp_path, *power(), crs=crs)
    with pytest.raises(InputError, match="no place on Earth; assign the right CRS") as e:
        read_headers(scene_of(*pair))
    assert str(e.value).startswith(str(pair[0]))


def test_a_vrt_that_calls_itself_a_tiff_is_not_opened(tmp_path: Path) -> None:
    vv, vh = power()
    write_raster(tmp_path / "secret.tif", vv)
    good = write_raster(tmp_path / "vh.tif", vh)
    band = '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename>{}'
    text = band.format(tmp_path / "secret.tif") + "</SourceFilename></SimpleSource></VRTRasterBand>"
    disguised = tmp_path / "vv.tif"
    disguised.write_text(f'<VRTDataset rasterXSize="80" rasterYSize="60">{text}</VRTDataset>')
    with rasterio.open(disguised) as dataset:
        assert dataset.driver == "VRT"  # GDAL itself would
    with pytest.raises(InputError, match="not a readable GeoTIFF"):
        read_headers(scene_of(disguised, good))


def test_several_radiometries_in_one_file_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "S1A_20230101_TC.tif", np.ones((4, 5, 5), np.float32))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Sigma0_VH", "Sigma0_VV", "Gamma0_VH", "Gamma0_VV")
    band = Band(Location(str(path)))
    with pytest.raises(InputError, match=r"4 bands, 2 described as VV .*of one radiometry"):
        read_headers(Scene("S1A_20230101_TC_{}", "Mosul", "20230101", band, band))
