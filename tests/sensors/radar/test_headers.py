"""Headers: one judgement for the chain and for predict, which differ in what they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.locations import Location
from builtup.sensors.radar.headers import (
    CHAIN,
    PREDICT,
    Judgement,
    SceneHeaders,
    read_headers,
    usable_headers,
)
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


def outcome(scene: Scene, judgement: Judgement) -> SceneHeaders | str:
    try:
        return read_headers(scene, judgement)
    except BuiltupError as e:
        return str(e)


def headers_of(scene: Scene, judgement: Judgement) -> SceneHeaders:
    found = outcome(scene, judgement)
    assert isinstance(found, SceneHeaders)
    return found


def test_a_plain_scene_is_the_same_for_both(tmp_path: Path) -> None:
    scene = scene_of(*write_pair(tmp_path, *power(), nodata=-9999.0))
    chain, predict = (headers_of(scene, judgement) for judgement in (CHAIN, PREDICT))
    assert chain.grid == predict.grid == chain.vv.grid
    assert chain.joint and predict.joint
    for one, other in zip(chain.bands, predict.bands, strict=True):
        assert (one.location, one.band, one.nodata) == (other.location, other.band, -9999)
        assert one.is_power and other.is_power


def test_the_chain_takes_decibels_for_power_and_predict_judges_them(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, *(10 * np.log10(p) for p in power()))
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.units, dataset.scales = ("dB",), (2.0,)
    chain, predict = (headers_of(scene_of(*paths), judgement) for judgement in (CHAIN, PREDICT))
    assert (chain.vv.unit, chain.vv.scale, chain.vv.declared) == ("power", 1, ())
    assert (predict.vv.scale, predict.vv.declared) == (2, ("unit: dB",))
    assert not predict.vv.is_power


@pytest.mark.parametrize(
    ("change", "chain"),
    [
        (lambda p: p.astype(np.int16), "holds int16 values, not linear power"),
        (lambda p: np.stack([p, p]), "holds 2 bands, one polarisation a file is read"),
    ],
)
def test_the_chain_refuses_what_it_would_have_to_convert(
    tmp_path: Path, change: object, chain: str
) -> None:
    paths = write_pair(tmp_path, *(change(p) for p in power()))  # type: ignore[operator]
    for name, path in zip(("VV", "VH"), paths, strict=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.set_band_description(1, name)
    assert f"{paths[0]}: {chain}" in str(outcome(scene_of(*paths), CHAIN))
    assert isinstance(outcome(scene_of(*paths), PREDICT), SceneHeaders)


def test_the_chain_refuses_what_it_would_have_to_resample_and_keeps_other_pixels(
    tmp_path: Path,
) -> None:
    vv, vh = power()
    coarse = TRANSFORM @ Affine.scale(2)
    scene = scene_of(*write_pair(tmp_path, vv, vh, coarse))
    assert headers_of(scene, CHAIN).grid.shape == (60, 80)
    assert headers_of(scene, PREDICT).grid.shape == (120, 160)
    write_raster(tmp_path / "a_vh.tif", vh, coarse @ Affine.translation(1, 0))
    assert "not on the grid of" in str(outcome(scene, CHAIN))
    assert "warped onto the grid of VV" in headers_of(scene, PREDICT).remarks[0]


def test_headers_of_many_scenes_come_in_order_with_their_problems(tmp_path: Path) -> None:
    scenes = [scene_of(*write_pair(tmp_path / str(i), *power((9, 9)))) for i in range(5)]
    scenes[1].vv.location.path.unlink()
    scenes[3].vh.location.path.write_bytes(b"")
    usable, problems = usable_headers(scenes, CHAIN)
    assert [headers.scene for headers in usable] == [scenes[0], scenes[2], scenes[4]]
    assert ["no such file" in str(problems[0]), "empty file" in str(problems[1])] == [True, True]


def test_vh_of_other_ground_is_refused(tmp_path: Path) -> None:
    vv, vh = power()
    write_raster(tmp_path / "vv.tif", vv)
    write_raster(tmp_path / "vh.tif", vh, TRANSFORM @ Affine.translation(40, 0))
    with pytest.raises(GridError, match=r"vv\.tif: shares 50% of its ground"):
        read_headers(scene_of(tmp_path / "vv.tif", tmp_path / "vh.tif"), PREDICT)


def test_one_band_is_not_taken_for_both_polarisations(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "s_3b.tif", power()[0])
    with pytest.raises(InputError, match=r"s_3b\.tif: its band 1 would be both VV and VH"):
        read_headers(scene_of(path, path), PREDICT)


def test_a_name_that_is_too_long_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 300}.tif"
    with pytest.raises(InputError, match="no such file"):
        read_headers(scene_of(path, path), PREDICT)


@pytest.mark.parametrize("judgement", [CHAIN, PREDICT])
def test_headers_without_use_are_refused(tmp_path: Path, judgement: Judgement) -> None:
    vv, vh = power()
    good = write_raster(tmp_path / "vh.tif", vh)
    for bad, message in (
        (write_raster(tmp_path / "1.tif", vv, crs=None), "no CRS, so no georeference"),
        (write_raster(tmp_path / "2.tif", vv, None), "no georeference"),
        (write_raster(tmp_path / "3.tif", vv.astype(np.complex64)), "complex64 values"),
        (tmp_path / "absent.tif", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_headers(scene_of(bad, good), judgement)
    (tmp_path / "text.tif").write_text("<VRTDataset/>")
    with pytest.raises(InputError, match="not a readable GeoTIFF"):
        read_headers(scene_of(tmp_path / "text.tif", good), judgement)
    empty = write_raster(tmp_path / "4.tif", np.full_like(vv, np.nan))
    with pytest.raises(InputError, match="no valid pixel"):
        judge_units(read_headers(scene_of(empty, good), judgement))


@pytest.mark.parametrize("crs", ['LOCAL_CS["site",UNIT["metre",1]]', "EPSG:4978"])
def test_a_crs_that_is_no_map_has_no_place_on_the_earth(tmp_path: Path, crs: str) -> None:
    pair = write_pair(tmp_path, *power(), crs=crs)
    with pytest.raises(InputError, match="no place on Earth; assign the right CRS") as e:
        read_headers(scene_of(*pair), PREDICT)
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
        read_headers(scene_of(disguised, good), PREDICT)
