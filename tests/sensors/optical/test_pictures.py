"""Pictures of every kind as 8-bit RGBA."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from PIL import Image

from builtup.errors import InputError
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window
from builtup.sensors.optical.pictures import open_picture
from helpers import write_raster

RGB = np.random.default_rng(0).integers(1, 256, (3, 20, 30), dtype=np.uint8)


def read(path):
    with gdal_env(), open_picture(path) as picture:
        grid = picture.grid
        values = picture.read(Window(0, 0, grid.height, grid.width))
        part = picture.read(Window(3, 5, 4, 7))
        assert (values[:, 3:7, 5:12] == part).all()
        return values, picture.alpha_from, [(r.what, r.detail) for r in picture.remarks]


def png(path, values, mode):
    Image.fromarray(np.ascontiguousarray(np.moveaxis(values, 0, -1)), mode).save(path)
    return path


def test_rgb(tmp_path):
    values = RGB.copy()
    values[:, 2:4, 5:9] = 0
    values[0, 0, 0] = 0  # one band of 0 is no black
    for path in (
        write_raster(tmp_path / "a.tif", values, photometric="RGB"),
        png(tmp_path / "a.png", values, "RGB"),
    ):
        found, alpha_from, remarks = read(path)
        assert (found[:3] == values).all()
        assert (found[3] == np.where((values == 0).all(axis=0), 0, 255)).all()
        assert (alpha_from, remarks) == ("black", [])


def test_rgba_black_pixels_stay_where_alpha_says_data(tmp_path):
    values = np.concatenate([RGB, np.full((1, 20, 30), 255, np.uint8)])
    values[:3, :5] = 0
    values[3, 10:] = 0
    values[3, 9] = 7  # half transparent
    for path in (
        write_raster(tmp_path / "a.tif", values, photometric="RGB", alpha="YES"),
        png(tmp_path / "a.png", values, "RGBA"),
    ):
        found, alpha_from, remarks = read(path)
        assert (found[:3] == values[:3]).all()
        assert (found[3, :10] == 255).all()
        assert (found[3, 10:] == 0).all()
        assert (alpha_from, remarks) == ("alpha", [])


def test_declared_no_data_is_all_bands_together(tmp_path):
    values = RGB.copy()
    values[:, 4] = 255
    values[0, 6] = 255
    found, alpha_from, remarks = read(
        write_raster(tmp_path / "a.tif", values, photometric="RGB", nodata=255)
    )
    expected = (values != 255).any(axis=0)
    assert not expected[4].any()
    assert ((found[3] == 255) == expected).all()
    assert alpha_from == "nodata"
    assert remarks == [("no data where all bands are 255, as it declares", "")]


def test_a_mask_inside_the_file(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, RGB, photometric="RGB")
        with rasterio.open(path, "r+") as dataset:
            mask = np.full((20, 30), 255, np.uint8)
            mask[:, :3] = 0
            dataset.write_mask(mask)
    found, alpha_from, _ = read(path)
    assert alpha_from == "mask"
    assert (found[3] == mask).all()


def test_bands_by_their_colours_and_a_fourth_that_is_none(tmp_path):
    path = write_raster(tmp_path / "bgr.tif", RGB[::-1])
    colours = rasterio.enums.ColorInterp
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = (colours.blue, colours.green, colours.red)
    assert (read(path)[0][:3] == RGB).all()
    four = write_raster(
        tmp_path / "four.tif", np.concatenate([RGB, RGB[:1]]), photometric="MINISBLACK"
    )
    with rasterio.open(four, "r+") as dataset:
        dataset.colorinterp = (colours.gray,) + (colours.undefined,) * 3
    found, alpha_from, remarks = read(four)
    assert (found[:3] == RGB).all()
    assert alpha_from == "black"
    assert remarks == [
        ("its bands say no colours: the first three are taken for red, green, blue", ""),
        ("bands beyond red, green, blue and a declared alpha are passed over", "undefined"),
    ]


def test_a_fourth_band_that_may_be_an_undeclared_alpha_is_a_doubt(tmp_path):
    bands = np.concatenate([RGB, np.zeros_like(RGB[:1])])
    path = write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="unspecified")
    with gdal_env(), open_picture(path) as picture:
        said = [(remark.detail, remark.doubtful) for remark in picture.remarks]
    assert said == [("undefined", True)]


def test_a_palette(tmp_path):
    indexes = np.arange(600, dtype=np.uint8).reshape(20, 30) % 4
    palette = [(0, 0, 0), (230, 25, 75), (60, 180, 75), (1, 2, 3)]
    picture = Image.fromarray(indexes, "P")
    picture.putpalette([part for colour in palette for part in colour])
    picture.save(tmp_path / "a.png")
    found, alpha_from, _ = read(tmp_path / "a.png")
    assert (np.moveaxis(found[:3], 0, -1) == np.array(palette)[indexes]).all()
    assert alpha_from == "black"
    assert ((found[3] == 0) == (indexes == 0)).all()
    picture.save(tmp_path / "b.png", transparency=2)
    found, alpha_from, _ = read(tmp_path / "b.png")
    assert alpha_from == "alpha"
    assert ((found[3] == 0) == (indexes == 2)).all()


def test_16_bits_by_one_rule_for_all_bands(tmp_path):
    # 100 values a band, valid in all: 0…99 times 100, in the three bands alike
    values = np.stack([np.arange(1, 101, dtype=np.uint16).reshape(10, 10) * 100] * 3)
    path = write_raster(tmp_path / "a.tif", values, photometric="RGB")
    found, _, remarks = read_small(path)
    # the second percentile is 200, the 98th 9800
    expected = np.round(np.clip((values.astype(float) - 200) / 9600, 0, 1) * 255)
    assert (found[:3] == expected).all()
    assert found[0, 0, 1] == 0
    assert found[0, 9, 7] == 255
    assert remarks == [
        ("16 bits scaled to 8: 2 % to 98 % of the values of all bands are 0 to 255", "200 to 9800")
    ]


def read_small(path):
    with gdal_env(), open_picture(path) as picture:
        values = picture.read(Window(0, 0, picture.grid.height, picture.grid.width))
        return values, picture.alpha_from, [(r.what, r.detail) for r in picture.remarks]


def test_16_bits_that_hold_8(tmp_path):
    path = write_raster(tmp_path / "a.tif", RGB.astype(np.uint16), photometric="RGB")
    found, _, remarks = read(path)
    assert (found[:3] == RGB).all()
    assert remarks == [("16 bits, but no value above 255: taken as they are", "")]


def test_16_bits_measure_valid_pixels_only(tmp_path):
    values = np.zeros((3, 20, 20), np.uint16)
    values[:, 10:] = np.linspace(1000, 2000, 200).astype(np.uint16).reshape(10, 20)
    found, _, remarks = read_small(write_raster(tmp_path / "a.tif", values, photometric="RGB"))
    assert (found[3, :10] == 0).all()
    low, high = map(int, remarks[0][1].split(" to "))
    assert 1000 < low < 1050
    assert 1950 < high < 2000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RGB[:1], "1 band without a palette, no picture in colours"),
        (RGB[:2], "2 bands without a palette"),
        (RGB.astype(np.float32), "values of type float32; export it with 8 or 16 bits"),
        (RGB.astype(np.int16), "values of type int16"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, values, message):
    path = write_raster(tmp_path / "a.tif", values)
    with gdal_env(), pytest.raises(InputError, match=message), open_picture(path):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nrest", b"\xff\xd8\xffrest"]
)
def test_what_cannot_be_opened_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    message = r"a\.png: (empty|not a readable|cannot be read to its end)"
    with gdal_env(), pytest.raises(InputError, match=message), open_picture(tmp_path / "a.png"):
        pass


def test_a_jpeg(tmp_path):
    Image.fromarray(np.full((16, 24, 3), (200, 100, 50), np.uint8)).save(
        tmp_path / "a.jpg", quality=95
    )
    found, alpha_from, _ = read(tmp_path / "a.jpg")
    assert np.abs(found[:3].astype(int) - np.array([200, 100, 50])[:, None, None]).max() < 4
    assert alpha_from == "black"
