import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builtup.errors import InputError
from builtup.geo.uncompressed_reader import read_direct
from builtup.geo.windows import Window
from helpers import write_raster

SHAPE = (3, 70, 90)
LAYOUTS = {
    "blocks": {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "band"},
    "strips": {"blockysize": 16, "interleave": "band"},
    "one strip": {"blockysize": 70, "interleave": "band"},
    "big": {
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "interleave": "band",
        "BIGTIFF": "YES",
    },
}


def values(shape=SHAPE):
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    array[..., 3, 5] = np.nan
    return array


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_window_is_what_gdal_reads(tmp_path, layout, data):
    path = tmp_path / "scene.tif"
    if not path.exists():
        write_raster(path, values(), nodata=np.nan, **layout)
    y, x = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 89))
    height, width = data.draw(st.integers(1, 70 - y)), data.draw(st.integers(1, 90 - x))
    bands = data.draw(st.sampled_from([[1, 2], [3], [1, 2, 3], [2, 1]]))
    window = Window(y, x, height, width)
    with rasterio.open(path) as dataset:
        expected = dataset.read(bands, window=window.rasterio)
    np.testing.assert_array_equal(read_direct(path, window, bands), expected)


def test_masks_of_one_band_too(tmp_path):
    mask = np.random.default_rng(0).integers(0, 2, (40, 50)).astype(np.uint8)
    path = write_raster(tmp_path / "mask.tif", mask)
    got = read_direct(path, Window(3, 4, 20, 30), [1])
    np.testing.assert_array_equal(got[0], mask[3:23, 4:34])
    assert got.dtype == np.uint8


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "ZSTD"},
        {"interleave": "pixel"},
        {"nodata": 0},
        {"ENDIANNESS": "BIG", "interleave": "band"},
        {"SPARSE_OK": True, "interleave": "band"},
    ],
    ids=str,
)
def test_what_only_gdal_can_read_is_left_to_it(tmp_path, profile):
    array = np.zeros(SHAPE, np.float32) if "SPARSE_OK" in profile else values()
    path = write_raster(tmp_path / "scene.tif", array, **profile)
    assert read_direct(path, Window(0, 0, 5, 5), [1, 2]) is None


def test_a_missing_file_is_left_to_gdal(tmp_path):
    assert read_direct(tmp_path / "none.tif", Window(0, 0, 5, 5), [1]) is None


def test_a_file_that_was_replaced_is_looked_at_anew(tmp_path):
    path = write_raster(tmp_path / "scene.tif", values(), interleave="band")
    first = read_direct(path, Window(0, 0, 5, 5), [1])
    write_raster(
        path, values()[:, ::-1].copy(), tiled=True, blockxsize=32, blockysize=32, interleave="band"
    )
    second = read_direct(path, Window(65, 0, 5, 5), [1])
    np.testing.assert_array_equal(second[:, ::-1], first)


def test_a_truncated_file_is_one_line(tmp_path):
    path = write_raster(tmp_path / "scene.tif", values(), interleave="band", blockysize=10)
    with path.open("r+b") as f:
        f.truncate(path.stat().st_size - 5000)
    with pytest.raises(InputError, match=r"scene.tif: (ends too early|cannot be read)"):
        read_direct(path, Window(0, 0, 70, 90), [1, 2, 3])
