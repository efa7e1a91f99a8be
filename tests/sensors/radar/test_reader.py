"""Power by windows: as it stands, from other units, resampled, and never from no-data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterioCRS
from rasterio.warp import Resampling, reproject

from builtup.errors import InputError
from builtup.geo.locations import Location
from builtup.geo.windows import Window, aligned, tiling
from builtup.sensors.radar.bands import invalid
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.radar.headers import SceneHeaders, read_headers
from builtup.sensors.radar.merge import merge_scene
from builtup.sensors.radar.reader import MOST_PIXELS, PowerReader, open_power
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.units import judge_units
from helpers import CRS, TRANSFORM, speckle, write_raster, write_scene

Float = NDArray[np.float32]

#: GDAL's warper takes places to an eighth of a pixel, by rows of a window: speckle then differs so.
APPROXIMATE = 0.02


def scene_of(vv: Path, vh: Path) -> Scene:
    return Scene("x_{}", "Alpha", "20150101", Band(Location(str(vv))), Band(Location(str(vh))))


def judged(vv: Path, vh: Path, units: str = "auto") -> SceneHeaders:
    return judge_units(read_headers(scene_of(vv, vh)), units)


def read_all(found: SceneHeaders) -> Float:
    with open_power(found) as reader:
        return reader.read(Window(0, 0, found.grid.height, found.grid.width))


def power(shape: tuple[int, int] = (60, 80)) -> tuple[Float, Float]:
    return speckle(shape, 0.14, 1), speckle(shape, 0.02, 2)


def write_pair(
    folder: Path, vv: Float, vh: Float, transform: Affine = TRANSFORM, crs: str = CRS, **how: object
) -> tuple[Path, Path]:
    return (
        write_raster(folder / "a_vv.tif", vv, transform, crs, **how),
        write_raster(folder / "a_vh.tif", vh, transform, crs, **how),
    )


def test_power_is_that_of_the_three_band_scene(tmp_path: Path) -> None:
    vv, vh = power()
    vv[:5], vh[7, 7], vh[9, 9], vv[9, 9], vv[20, 20] = np.nan, np.inf, 0, 0, -20_000
    vv[3, 40], vh[30, 30] = -0.001, 0
    write_scene(tmp_path / "in", vv=vv, vh=vh, nodata=-9999)
    (scene,) = scenes_of_split(tmp_path / "in").scenes
    merge_scene(read_headers(scene), tmp_path / "3b.tif")
    with rasterio.open(tmp_path / "3b.tif") as dataset:
        expected = dataset.read([1, 2])
    np.testing.assert_array_equal(read_all(judged(*scene.files)), expected)
    both = read_headers(scene_of(tmp_path / "3b.tif", tmp_path / "3b.tif"))
    np.testing.assert_array_equal(read_all(judge_units(both)), expected)


@pytest.mark.parametrize(("unit", "suffix"), [("db", "dB"), ("amplitude", "amplitude")])
def test_other_units_become_power(tmp_path: Path, unit: str, suffix: str) -> None:
    vv, vh = power()
    stored = [10 * np.log10(p) if unit == "db" else np.sqrt(p) for p in (vv, vh)]
    stored[0][:5] = -9999 if unit == "db" else np.nan
    paths = write_pair(tmp_path, *stored)
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.units = (suffix,)
    expected = np.stack([vh, vv])
    expected[:, :5] = np.nan
    np.testing.assert_allclose(read_all(judged(*paths)), expected, rtol=2e-6)


@pytest.mark.parametrize("scale", [0.01, 0.001])
def test_scaled_integers_are_unpacked(tmp_path: Path, scale: float) -> None:
    vv, vh = power()
    packed = [np.round(10 / scale * np.log10(p)).astype(np.int16) for p in (vv, vh)]
    packed[0][:5] = -32768
    paths = write_pair(tmp_path, *packed, nodata=-32768)
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.units = (scale,), ("dB",)
    found = read_all(judged(*paths))
    assert np.isnan(found[:, :5]).all()
    np.testing.assert_allclose(found[1, 5:], vv[5:], rtol=2e-3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("nodata", [np.finfo(np.float64).min, np.finfo(np.float64).max])
def test_the_no_data_value_of_others_is_beyond_float32(tmp_path: Path, nodata: float) -> None:
    vv, vh = (p.astype(np.float64) for p in power())
    vv[:5] = nodata
    found = read_all(judged(*write_pair(tmp_path, vv, vh, nodata=float(nodata))))
    assert np.isnan(found[:, :5]).all()
    np.testing.assert_array_equal(found[1, 5:], vv[5:].astype(np.float32))


def test_finer_pixels_are_averaged_in_linear_power(tmp_path: Path) -> None:
    vv, vh = power((80, 120))
    vv[:8, :8], vh[40, 40] = np.nan, np.nan
    fine = TRANSFORM @ Affine.scale(0.25)
    paths = write_pair(tmp_path, *(10 * np.log10(p) for p in (vv, vh)), fine)
    found = judged(*paths)
    assert found.grid.shape == (20, 30)
    assert "2.5 x 2.5 m in EPSG:32638" in found.remarks[0].detail
    gap = np.isnan(vv) | np.isnan(vh)
    blocks = np.stack([np.where(gap, np.nan, p) for p in (vh, vv)]).reshape(2, 20, 4, 30, 4)
    valid = ~np.isnan(blocks)
    count = valid.sum(axis=(2, 4))
    total = np.where(valid, blocks, 0).sum(axis=(2, 4))
    expected = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    np.testing.assert_allclose(read_all(found), expected, rtol=1e-5)


def test_coarser_pixels_are_interpolated_as_gdal_does(tmp_path: Path) -> None:
    vv, vh = power((30, 40))
    coarse = TRANSFORM @ Affine.scale(2)
    found = judged(*write_pair(tmp_path, vv, vh, coarse))
    expected = np.empty((2, 60, 80), np.float32)
    place = {"src_crs": CRS, "src_transform": coarse, "dst_crs": CRS, "dst_transform": TRANSFORM}
    reproject(np.stack([vh, vv]), expected, resampling=Resampling.bilinear, **place)
    np.testing.assert_allclose(read_all(found), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def degrees(tmp_path_factory: pytest.TempPathFactory) -> SceneHeaders:
    """A scene in degrees, with a gap, to be warped to UTM."""
    vv, vh = power((90, 110))
    vv[20:40, 30:50] = np.nan
    transform = Affine(0.00015, 0, 43.1, 0, -0.0001, 36.35)
    folder = tmp_path_factory.mktemp("degrees")
    return judged(*write_pair(folder, vv, vh, transform, "EPSG:4326"))


def test_degrees_are_warped_to_utm(degrees: SceneHeaders) -> None:
    assert degrees.grid.crs == RasterioCRS.from_epsg(32638)
    whole = read_all(degrees)
    assert 0 < np.isnan(whole[0]).mean() < 0.6
    np.testing.assert_array_equal(np.isnan(whole[0]), np.isnan(whole[1]))
    assert np.nanmean(whole[1]) == pytest.approx(0.14, rel=0.03)
    assert np.nanmean(whole[0]) == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize("left", [179.995, -180.005])
def test_degrees_across_the_date_line_are_all_read(tmp_path: Path, left: float) -> None:
    transform = Affine(0.0001, 0, left, 0, -0.0001, -16)
    found = judged(*write_pair(tmp_path, *power((90, 110)), transform, "EPSG:4326"))
    with open_power(found) as reader:
        for window in tiling(found.grid.width, found.grid.height, 33, 0):
            assert np.isfinite(reader.read(window)).mean() > 0.85  # the corners of UTM are none


@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (13, 3), (33, 7), (60, 20)])
def test_a_pixel_is_the_same_in_every_window(
    degrees: SceneHeaders, size: int, overlap: int
) -> None:
    whole = read_all(degrees)
    with open_power(degrees) as reader:
        for window in tiling(degrees.grid.width, degrees.grid.height, size, overlap):
            rows, columns = window.slices
            np.testing.assert_allclose(
                reader.read(window), whole[:, rows, columns], rtol=APPROXIMATE
            )


def test_large_sources_are_resampled_in_parts(
    degrees: SceneHeaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_all(degrees)
    assert MOST_PIXELS > 90 * 110
    monkeypatch.setattr("builtup.sensors.radar.reader.MOST_PIXELS", 500)
    np.testing.assert_allclose(read_all(degrees), whole, rtol=APPROXIMATE)


def test_vh_on_another_grid_is_warped_onto_vv(tmp_path: Path) -> None:
    vv, vh = power()
    write_raster(tmp_path / "vv.tif", vv)
    moved = TRANSFORM @ Affine.translation(1, 0)
    write_raster(tmp_path / "vh.tif", vh, moved)
    found = judged(tmp_path / "vv.tif", tmp_path / "vh.tif")
    assert "VH is warped onto the grid of VV" in found.remarks[0].what
    result = read_all(found)
    np.testing.assert_array_equal(result[1, :, 1:], vv[:, 1:])
    np.testing.assert_allclose(result[0, :, 1:], vh[:, :-1], rtol=1e-5)
    assert np.isnan(result[:, :, 0]).all()


def test_bands_are_found_by_their_descriptions(tmp_path: Path) -> None:
    vv, vh = power()
    path = write_raster(tmp_path / "both.tif", np.stack([vv, vh, vv]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Sigma0_VV", "Sigma0_VH", "ratio")
    found = judge_units(read_headers(scene_of(path, path)))
    np.testing.assert_array_equal(read_all(found), np.stack([vh, vv]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("one", "two", "three")
    with pytest.raises(InputError, match="3 bands, 0 described as VV"):
        read_headers(scene_of(path, path))


def test_a_scene_cut_off_is_named(tmp_path: Path) -> None:
    vv, vh = power((400, 400))
    paths = write_pair(tmp_path, vv, vh)
    found = judged(*paths)
    paths[0].write_bytes(paths[0].read_bytes()[:300_000])
    with pytest.raises(InputError, match=r"a_vv\.tif: cannot be read to its end"):
        read_all(found)


# --- validity ahead -----------------------------------------------------------------------------


def scene_with_gaps(folder: Path, size: int = 70) -> tuple[Float, Float]:
    generator = np.random.default_rng(0)
    values = np.array([np.nan, np.inf, -np.inf, 0, -9999, -0.01, 0.2, 3], np.float32)
    vv, vh = (generator.choice(values, (size, size)) for _ in range(2))
    write_scene(folder, vv=vv, vh=vh)
    return vv, vh


def invalid_by_windows(reader: PowerReader, shape: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(shape, bool)
    with reader.invalid_ahead(list(aligned(shape[1], shape[0], (16, 32)))) as parts:
        for window, bad in parts:
            found[window.slices] = bad
    return found


@pytest.mark.parametrize("nodata", [None, 0.0, 3.0])
def test_validity_read_by_two_threads_is_that_of_the_rule(
    tmp_path: Path, nodata: float | None
) -> None:
    vv, vh = scene_with_gaps(tmp_path)
    (scene,) = scenes_of_split(tmp_path).scenes
    if nodata is not None:
        with rasterio.open(scene.vv.location.path, "r+") as dataset:
            dataset.nodata = nodata
    expected = invalid(vh, vv, None, nodata)
    with open_power(read_headers(scene)) as reader:
        np.testing.assert_array_equal(invalid_by_windows(reader, vv.shape), expected)
        whole = Window(0, 0, *vv.shape)
        np.testing.assert_array_equal(reader.invalid(whole), expected)
        np.testing.assert_array_equal(np.isnan(reader.read(whole)).all(axis=0), expected)


def test_validity_of_a_scene_that_is_resampled_or_one_file_is_that_of_its_power(
    tmp_path: Path, degrees: SceneHeaders
) -> None:
    both = write_raster(tmp_path / "both.tif", np.stack(scene_with_gaps(tmp_path)))
    with rasterio.open(both, "r+") as dataset:
        dataset.descriptions = ("VV", "VH")
    for headers in (degrees, read_headers(scene_of(both, both))):
        with open_power(headers) as reader:
            found = invalid_by_windows(reader, headers.grid.shape)
        expected = np.isnan(read_all(headers)[0])
        assert np.mean(found == expected) > 0.999  # windows of a warp differ at the rim of a gap


def test_a_truncated_file_is_named_when_validity_is_read(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.random((400, 400), dtype=np.float32)
    _, vh = write_scene(tmp_path, vv=values, vh=values)
    (scene,) = scenes_of_split(tmp_path).scenes
    vh.write_bytes(vh.read_bytes()[:200_000])
    with (
        open_power(read_headers(scene)) as reader,
        pytest.raises(InputError, match="_vh_"),
        reader.invalid_ahead(list(aligned(400, 400, (64, 400)))) as parts,
    ):
        list(parts)


# --- validity -----------------------------------------------------------------------------------


def hide(path: Path, hidden: NDArray[np.bool_], *, internal: bool) -> None:
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "r+") as dataset,
    ):
        dataset.write_mask(~hidden)


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("size", [10.0, 20.0])
def test_masks_hide_and_what_is_hidden_takes_no_part_in_resampling(
    tmp_path: Path, internal: bool, size: float
) -> None:
    vv, vh = power()
    hidden = np.zeros(vv.shape, bool)
    hidden[:, :16] = True
    paths = write_pair(tmp_path, np.where(hidden, 1e4, vv), vh, TRANSFORM @ Affine.scale(size / 10))
    hide(paths[0], hidden, internal=internal)
    found = judged(*paths)
    values, edge = read_all(found), round(16 * size / 10)
    assert np.isnan(values[:, :, : edge - 1]).all()
    assert np.isfinite(values[:, 2:-2, edge + 1 : -2]).all()
    assert np.nanmax(values) < 10
    window = Window(0, 0, *found.grid.shape)
    with open_power(found) as reader, reader.invalid_ahead([window]) as ahead:
        np.testing.assert_array_equal(next(ahead)[1], np.isnan(values[0]))
    assert found.validity == {"vv_validity": "mask"}


def test_alpha_hides_whatever_its_type(tmp_path: Path) -> None:
    vv, vh = power()
    alpha = np.full(vv.shape, 255.0)
    alpha[:7] = 0
    paths = write_pair(
        tmp_path, *(np.stack([p, alpha]).astype("f4") for p in (vv, vh)), alpha="YES"
    )
    values = read_all(judged(*paths))
    assert np.isnan(values[:, :7]).all()
    np.testing.assert_array_equal(values[:, 7:], np.stack([vh, vv])[:, 7:])


def test_a_mask_that_shows_what_no_data_marks_is_said_and_no_data_counts(tmp_path: Path) -> None:
    vv, vh = power()
    vv[:6], vh[:6] = 5, 5
    paths = write_pair(tmp_path, vv, vh, nodata=5)
    for path in paths:
        hide(path, np.zeros(vv.shape, bool), internal=True)
    found = judged(*paths)
    assert np.isnan(read_all(found)[:, :6]).all()
    doubts = [remark for remark in found.remarks if remark.doubtful]
    assert [remark.file for remark in doubts] == list(map(str, paths))
    assert doubts[0].what == "its mask shows pixels that hold its no-data value: they are no-data"
    assert doubts[0].detail.endswith("of the sampled pixels")


def test_a_scene_that_is_hidden_wholly_is_refused(tmp_path: Path) -> None:
    paths = write_pair(tmp_path, *power())
    hide(paths[1], np.ones((60, 80), bool), internal=True)
    with pytest.raises(InputError, match=r"a_vh\.tif: no valid pixel: all no-data"):
        judged(*paths)


@pytest.mark.parametrize("filler", [0.0, -9999.0, -32768.0])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_no_data_of_decibels(tmp_path: Path, filler: float, scale: float) -> None:
    stored = [np.round(10 * np.log10(p) / scale).astype(np.int16) for p in power()]
    for band in stored:
        band[:, :20] = filler
    paths = write_pair(tmp_path, *stored, nodata=filler)
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.units = (scale,), ("dB",)
    values = read_all(judged(*paths))
    gaps = np.isnan(values[0])
    np.testing.assert_array_equal(gaps, (stored[0] == filler) | (stored[1] == filler))
    assert gaps.mean() < 0.3
    np.testing.assert_allclose(10 * np.log10(values[1][~gaps]), stored[0][~gaps] * scale, atol=1e-4)


def test_values_that_nothing_returns_are_no_data_and_named(tmp_path: Path) -> None:
    stored = [np.round(1000 * np.log10(p)).astype(np.int16) for p in power()]
    stored[0][:20] = 32767
    paths = write_pair(tmp_path, *stored)
    for path in paths:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.units = (0.01,), ("dB",)
    found = judged(*paths)
    values = read_all(found)
    np.testing.assert_array_equal(np.isnan(values[1]), stored[0] == 32767)
    said = {remark.what: remark.detail for remark in found.remarks}
    assert said["values above 100 dB are no-data, though not declared so"] == "33.3% of them"


@pytest.mark.parametrize(("filler", "name"), [(9.0, "largest"), (-99.0, "least")])
def test_a_filler_that_is_not_declared_is_named(tmp_path: Path, filler: float, name: str) -> None:
    vv, vh = power()
    vv[:12] = filler
    found = judged(*write_pair(tmp_path, vv, vh))
    (detail,) = (remark.detail for remark in found.remarks if remark.doubtful)
    assert detail == f"20% of the sampled values are {filler:g}, their {name}"


@pytest.mark.parametrize(
    "nodata", ["1.79769313486232E+308", "-1.79769313486232E+308", "nan", "1e20"]
)
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_no_data_that_the_type_does_not_hold_marks_what_it_can(
    tmp_path: Path, nodata: str, kind: type
) -> None:
    stored = [np.round(1000 * np.log10(p)).astype(kind) for p in power()]
    if kind is np.float32:
        with np.errstate(over="ignore"):
            stored[0][:6] = np.float32(float(nodata))
    paths = write_pair(tmp_path, *stored)
    band = f"<NoDataValue>{nodata}</NoDataValue><Scale>0.01</Scale><UnitType>dB</UnitType>"
    for path in paths:
        path.with_name(f"{path.name}.aux.xml").write_text(
            f'<PAMDataset><PAMRasterBand band="1">{band}</PAMRasterBand></PAMDataset>'
        )
    found = judged(*paths)
    gaps = np.isnan(read_all(found)[0])
    assert gaps[:6].all() == (kind is np.float32)
    assert not gaps[6:].any()
    assert not [remark for remark in found.remarks if remark.doubtful]


def test_units_are_judged_for_each_polarisation_and_a_difference_is_said(tmp_path: Path) -> None:
    vv, vh = power()
    found = judged(*write_pair(tmp_path, 10 * np.log10(vv), vh))
    np.testing.assert_allclose(read_all(found), [vh, vv], rtol=1e-5)
    assert (found.vv.unit, found.vh.unit) == ("db", "power")
    said = {remark.what: remark.detail for remark in found.remarks}
    assert said["VV and VH taken as of different units"] == "VV as decibels, VH as power"


def test_a_scale_of_one_polarisation_only_is_refused(tmp_path: Path) -> None:
    vv, vh = power()
    paths = write_pair(tmp_path, vv * 1000, vh * 1000)
    with rasterio.open(paths[0], "r+") as dataset:
        dataset.scales = (0.001,)
    with pytest.raises(InputError, match=r"a_vh\.tif: digital numbers, it seems"):
        judged(*paths)
