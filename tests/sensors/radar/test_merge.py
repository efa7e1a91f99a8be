"""The 3-band merge: values, no-data, grids, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.windows import Window
from builtup.jobs.steps import Summary
from builtup.sensors.radar import merge
from builtup.sensors.radar.bands import invalid
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.radar.headers import read_headers
from builtup.sensors.radar.merge import generate_3b_images, merge_scene
from builtup.sensors.radar.reader import open_power
from builtup.sensors.radar.units import judge_units
from helpers import TRANSFORM, speckle, write_raster, write_scene

POWER = st.one_of(
    st.sampled_from([0.0, -9999.0, -0.01, 1.0, np.nan, np.inf]), st.floats(-100, 13000, width=32)
)


def run(folder: Path, **options: object) -> Summary:
    return generate_3b_images(
        input_path=folder / "in", output_path=folder / "out", **{"num_workers": 1, **options}
    )


def only(folder: Path) -> Path:
    (path,) = (folder / "out").rglob("*.tif")
    return path


def nothing_written(folder: Path) -> bool:
    return not [path for path in (folder / "out").rglob("*") if path.is_file()]


def test_bands_are_vh_vv_and_mean_on_the_scene_s_grid(tmp_path: Path) -> None:
    vv, vh = speckle((70, 90), 0.14, 1), speckle((70, 90), 0.02, 2)
    write_scene(tmp_path / "in", vv=vv, vh=vh)
    summary = run(tmp_path)
    path = tmp_path / "out" / "Alpha_2015" / "s1a_38SLF_3b_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("VH", "VV", "mean")
        assert dataset.dtypes == 3 * ("float32",)
        assert np.isnan(dataset.nodata)
        assert dataset.transform == TRANSFORM
        assert dataset.crs.to_epsg() == 32638
        assert dataset.block_shapes == 3 * [(256, 256)]
        np.testing.assert_array_equal(dataset.read(), [vh, vv, (vh + vv) * np.float32(0.5)])
    assert (summary.done, summary.pixels) == (1, 70 * 90)


@given(
    vv=hnp.arrays(np.float32, (5, 7), elements=POWER),
    vh=hnp.arrays(np.float32, (5, 7), elements=POWER),
    nodata=st.sampled_from([None, 0.0, 1.0]),
)
def test_invalid_pixels_are_nan_in_all_bands_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, vv: np.ndarray, vh: np.ndarray, nodata: float | None
) -> None:
    vv[0, 0] = vh[0, 0] = 0.5  # a scene without a valid pixel is refused
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder, vv=vv, vh=vh, nodata=nodata)
    (scene,) = scenes_of_split(folder).scenes
    merge_scene(read_headers(scene), folder / "3b.tif")
    bad = invalid(vh, vv, nodata, nodata)
    with rasterio.open(folder / "3b.tif") as dataset:
        bands = dataset.read()
    np.testing.assert_array_equal(np.isnan(bands), np.broadcast_to(bad, bands.shape))
    np.testing.assert_array_equal(bands[:2, ~bad], [vh[~bad], vv[~bad]])


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    window=st.sampled_from([(16, 16), (16, 48), (32, 16)]),
)
def test_windows_cover_the_scene_whatever_its_size(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], window: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("scene")
    vv = 1 + np.arange(size[0] * size[1], dtype=np.float32).reshape(size)
    write_scene(folder, vv=vv, vh=2 * vv)
    (scene,) = scenes_of_split(folder).scenes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "WINDOW", window)
        patch.setattr(merge, "BLOCK", 16)
        merge_scene(read_headers(scene), folder / "3b.tif")
    with rasterio.open(folder / "3b.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), [2 * vv, vv, 1.5 * vv])


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
        {"compress": "ZSTD", "blockysize": 3},
        {"dtype": "float64"},
    ],
)
def test_the_layout_of_the_input_does_not_matter(tmp_path: Path, layout: dict[str, object]) -> None:
    vv, vh = speckle((300, 90), 0.14, 1), speckle((300, 90), 0.02, 2)
    write_scene(tmp_path / "plain" / "in", vv=vv, vh=vh)
    write_scene(tmp_path / "other" / "in", vv=vv, vh=vh, **layout)
    for folder in ("plain", "other"):
        run(tmp_path / folder)
    assert only(tmp_path / "plain").read_bytes() == only(tmp_path / "other").read_bytes()


def test_a_drift_below_a_thousandth_of_a_pixel_is_one_grid(tmp_path: Path) -> None:
    _, vh = write_scene(tmp_path / "in")
    write_raster(vh, speckle((64, 64)), TRANSFORM @ Affine.translation(0.0005, 0))
    assert run(tmp_path).done == 1


@pytest.mark.parametrize(
    ("shape", "transform", "crs", "why"),
    [
        ((64, 63), TRANSFORM, "EPSG:32638", "sizes 64x64 and 63x64"),
        ((64, 64), TRANSFORM, "EPSG:32637", "CRS EPSG:32638 and EPSG:32637"),
        ((64, 64), TRANSFORM @ Affine.translation(0.01, 0), "EPSG:32638", "0.01 pixels apart"),
        ((64, 64), TRANSFORM @ Affine.scale(1.0027), "EPSG:32638", "pixels apart"),
    ],
)
def test_different_grids_are_refused_naming_both_files(
    tmp_path: Path, shape: tuple[int, int], transform: Affine, crs: str, why: str
) -> None:
    vv, vh = write_scene(tmp_path / "in")
    write_raster(vh, speckle(shape), transform, crs)
    with pytest.raises(GridError) as caught:
        run(tmp_path)
    for part in (str(vv), str(vh), why, "gdalwarp"):
        assert part in str(caught.value)
    assert nothing_written(tmp_path)


def zero_byte(vv: Path) -> None:
    vv.write_bytes(b"")


def text(vv: Path) -> None:
    vv.write_text("404 not found")


def cut_off(vv: Path) -> None:
    vv.write_bytes(vv.read_bytes()[: vv.stat().st_size // 2])


def two_bands(vv: Path) -> None:
    write_raster(vv, np.ones((2, 64, 64), np.float32))


def integers(vv: Path) -> None:
    write_raster(vv, np.ones((64, 64), np.uint16))


def no_crs(vv: Path) -> None:
    write_raster(vv, speckle((64, 64)), crs=None)


def not_placed(vv: Path) -> None:
    write_raster(vv, speckle((64, 64)), transform=None)


def no_place(vv: Path) -> None:
    write_raster(vv, speckle((64, 64)), crs='LOCAL_CS["arbitrary",UNIT["metre",1]]')


def all_nodata(vv: Path) -> None:
    write_raster(vv, np.full((64, 64), np.nan, np.float32))


BAD = [
    (zero_byte, "empty file"),
    (text, "not a readable GeoTIFF"),
    (cut_off, "cannot be read to its end"),
    (two_bands, "2 bands, 0 described as VV"),
    (integers, "integers of an unknown unit"),
    (no_crs, "no CRS"),
    (not_placed, "no georeference"),
    (no_place, "has no place on Earth"),
    (all_nodata, "all no-data"),
]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("spoil", "why"), BAD)
def test_bad_files_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path, spoil: object, why: str
) -> None:
    vv, _ = write_scene(tmp_path / "in")
    spoil(vv)  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        run(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{vv}: ")
    assert why in message
    assert ";" in message
    assert "\n" not in message
    assert nothing_written(tmp_path)


def test_skip_goes_on_and_lists_what_was_skipped(tmp_path: Path) -> None:
    bad, _ = write_scene(tmp_path / "in", date="20150101")
    write_scene(tmp_path / "in", date="20150102")
    lone, gone = write_scene(tmp_path / "in", date="20150103")
    gone.unlink()
    cut_off(bad)
    summary = run(tmp_path, on_error="skip")
    assert summary.done == 1
    assert {problem.path for problem in summary.skipped} == {str(bad), str(lone)}  # type: ignore[attr-defined]
    assert "2 skipped" in summary.line()
    assert only(tmp_path).name == "s1a_38SLF_3b_ASC_20150102.tif"


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for on_error in ("stop", "skip"):
        with pytest.raises(InputError, match="in: no VV–VH scene below it"):
            run(tmp_path, on_error=on_error)


def test_stop_writes_nothing_where_a_header_is_bad(tmp_path: Path) -> None:
    write_scene(tmp_path / "in", date="20150101")
    bad, _ = write_scene(tmp_path / "in", date="20150102")
    zero_byte(bad)
    with pytest.raises(BuiltupError):
        run(tmp_path)
    assert nothing_written(tmp_path)


def degrees() -> Affine:
    return Affine(9e-5, 0, 43.0, 0, -9e-5, 36.3)


@pytest.mark.parametrize("kind", ["decibels", "scaled", "degrees", "feet", "mask", "integers"])
def test_the_chain_reads_what_predict_reads(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    shape = (90, 110)
    power = {"vv": speckle(shape, 0.14, 1), "vh": speckle(shape, 0.02, 2)}
    if kind == "decibels":
        files = write_scene(tmp_path / "in", **{k: 10 * np.log10(p) for k, p in power.items()})
    elif kind == "degrees":
        files = write_scene(tmp_path / "in", **power, transform=degrees(), crs="EPSG:4326")
    elif kind == "feet":
        place = Affine(40, 0, 6_000_000, 0, -40, 2_000_000)
        files = write_scene(tmp_path / "in", **power, transform=place, crs="EPSG:2227")
    elif kind == "integers":
        how = {"dtype": "int16", "nodata": -9999}
        scaled = {k: np.round(1000 * np.log10(p)) for k, p in power.items()}
        files = write_scene(tmp_path / "in", **scaled, **how)
    else:
        many = 1000 if kind == "scaled" else 1
        files = write_scene(tmp_path / "in", **{k: many * p for k, p in power.items()})
    for path in files:
        with rasterio.open(path, "r+") as dataset:
            if kind in {"scaled", "integers"}:
                dataset.scales = (0.001 if kind == "scaled" else 0.01,)
            if kind == "mask":
                dataset.write_mask(np.arange(110) >= 30 * np.ones((90, 1)))
    assert run(tmp_path).done == 1
    found = judge_units(read_headers(scenes_of_split(tmp_path / "in").scenes[0]))
    with open_power(found) as reader, rasterio.open(only(tmp_path)) as dataset:
        expected = reader.read(Window(0, 0, *found.grid.shape))
        np.testing.assert_array_equal(dataset.read([1, 2]), expected)
        assert dataset.transform == found.grid.transform
        assert dataset.crs == found.grid.crs
    assert 0.08 < np.nanmedian(expected[1]) < 0.16
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (kind in {"decibels", "degrees", "feet", "integers"}), warned


def test_what_is_read_otherwise_is_done_anew_and_plain_scenes_are_not(tmp_path: Path) -> None:
    paths = write_scene(tmp_path / "in", date="20150101")
    write_scene(tmp_path / "in", date="20150102")
    assert run(tmp_path).done == 2
    paths[0].with_name(f"{paths[0].name}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Scale>0.5</Scale></PAMRasterBand></PAMDataset>'
    )
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")}
    summary = run(tmp_path)
    assert (summary.done, summary.up_to_date) == (1, 1)
    assert run(tmp_path).up_to_date == 2
    after = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*.*")}
    assert after == before  # nothing is written beside what others own


def test_real_scenes_merge(tmp_path: Path) -> None:
    from helpers import real_data

    summary = generate_3b_images(
        input_path=real_data() / "train", output_path=tmp_path, num_workers=1
    )
    assert summary.done == 2
    with rasterio.open(next(tmp_path.rglob("s1a_50TMK_3b*.tif"))) as dataset:
        bands = dataset.read()
    gap = np.isnan(bands[0])
    assert 0 < gap.mean() < 0.1
    assert np.nanmean(bands[1]) > np.nanmean(bands[0])  # VV is brighter than VH
