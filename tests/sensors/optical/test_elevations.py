"""Elevations on the grids of pictures: where they lie, how they are read, what is doubted."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from builtup.errors import GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import gdal_env
from builtup.geo.windows import Window
from builtup.sensors.optical.elevations import HeightCounts, open_elevation, placed, stray_values
from helpers import write_raster
from picture_data import PLACE, UTM

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
GRID = Grid(CRS.from_string(UTM), PLACE, 400, 300)
NOWHERE = Grid(None, Affine.identity(), 400, 300)


def read(path, grid=GRID, window=None):
    with gdal_env():
        own, remarks = placed(path, path.with_name("picture.tif"), grid)
        with open_elevation(path, own, grid) as elevation:
            values = elevation.read(window or Window(0, 0, grid.height, grid.width))
    return values, [(remark.what, remark.detail) for remark in remarks]


def flat(level=1.37, shape=(300, 400)):
    return np.full(shape, level, np.float32)


def test_metres_survive(tmp_path):
    values, remarks = read(write_raster(tmp_path / "a.tif", flat(), PLACE, UTM))
    assert np.abs(values - 1.37).max() < 1e-6
    assert remarks == []
    finer = PLACE @ Affine.translation(-7.3, -4.1) @ Affine.scale(0.7)
    values, _ = read(write_raster(tmp_path / "b.tif", flat(shape=(460, 600)), finer, UTM))
    assert np.abs(values - 1.37).max() < 1e-3


def test_bilinear_between_the_pixels_of_a_coarser_raster(tmp_path):
    # a ramp of 1 m a pixel of 1 m: .25 m for each of ours, whose first centre is at .125 m
    ramp = np.tile(np.arange(120, dtype=np.float32), (90, 1))
    place = Affine(1, 0, 300_000, 0, -1, 4_000_000)
    values, _ = read(write_raster(tmp_path / "a.tif", ramp, place, UTM))
    columns = np.arange(8, 380)
    expected = (columns + 0.5) * 0.25 - 0.5
    assert np.abs(values[100, 8:380] - expected).max() < 1e-3


@pytest.mark.parametrize("nodata", [-9999.0, float("nan"), None])
def test_gaps_stay_unknown_and_do_not_mix(tmp_path, nodata):
    surface = flat(50)
    surface[100:150, 100:200] = -9999 if nodata == -9999 else np.nan
    path = write_raster(tmp_path / "a.tif", surface, PLACE, UTM, nodata=nodata)
    values, _ = read(path)
    assert (np.isnan(values) == (surface != 50)).all()
    shifted = write_raster(
        tmp_path / "b.tif", surface, PLACE @ Affine.translation(0.5, 0.5), UTM, nodata=nodata
    )
    values, _ = read(shifted)
    known = np.isfinite(values)
    assert (values[known] == 50).all()
    assert not known[102:149, 102:199].any()
    assert known[2:98, 2:].all()


def test_beyond_its_edge_is_unknown(tmp_path):
    place = PLACE @ Affine.translation(200.5, 0)
    values, remarks = read(write_raster(tmp_path / "a.tif", flat(), place, UTM))
    assert np.isnan(values[:, :200]).all()
    assert (np.abs(values[:, 202:] - 1.37) < 1e-6).all()
    assert remarks == [("covers a part of its picture only; heights elsewhere are unknown", "50%")]


def test_whole_numbers_are_read_and_doubted(tmp_path):
    for kind, message in (
        ("int16", "elevations in whole numbers: metres, or decimetres?"),
        ("uint8", "8-bit elevations: 256 steps at most"),
    ):
        place = PLACE @ Affine.translation(-1.5, 0)
        path = write_raster(tmp_path / f"{kind}.tif", np.full((300, 410), 77, kind), place, UTM)
        values, remarks = read(path)
        assert (values == 77).all()
        assert remarks[0][0].startswith(message)


def test_a_declared_unit_is_said_and_nothing_converted(tmp_path):
    path = write_raster(tmp_path / "a.tif", flat(100), PLACE, UTM)
    with rasterio.open(path, "r+") as dataset:
        dataset.units = ("ft",)
    values, remarks = read(path)
    assert (values == 100).all()
    assert remarks == [
        ("its unit is not metres: heights are as they stand there, nothing is converted", "ft")
    ]
    with rasterio.open(path, "r+") as dataset:
        dataset.units = ("metre",)
    assert read(path)[1] == []


def test_without_a_crs_it_has_its_picture_s_where_they_meet(tmp_path):
    path = write_raster(tmp_path / "a.tif", flat(), PLACE, None)
    values, remarks = read(path)
    assert np.isfinite(values).all()
    assert remarks == [("no CRS: taken to have its picture's", "")]


def test_two_without_a_place_cover_the_same_ground_where_their_ratio_is_one(tmp_path):
    surface = np.tile(np.arange(100, dtype=np.float32), (75, 1))
    values, remarks = read(write_raster(tmp_path / "a.tif", surface, None, None), NOWHERE)
    assert np.abs(values[50, 8:390] - ((np.arange(8, 390) + 0.5) / 4 - 0.5)).max() < 1e-3
    assert remarks == [("no CRS: taken to cover the same ground as its picture", "")]
    other = write_raster(tmp_path / "b.tif", surface[:50], None, None)
    with pytest.raises(GridError, match="another ratio"):
        read(other, NOWHERE)
    same = write_raster(tmp_path / "c.tif", flat(), None, None)
    values, remarks = read(same, NOWHERE)
    assert (values == np.float32(1.37)).all()
    assert remarks == []


def test_several_bands_are_no_elevation(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.zeros((3, 300, 400), np.uint8), PLACE, UTM)
    with pytest.raises(InputError, match="3 bands, an elevation has one"):
        read(path)


def counted(elevation, height):
    """Of every fourth row and column, so each number here is a square of 4 x 4 pixels."""
    counts = HeightCounts()
    squares = (np.kron(np.asarray(of, np.float32), np.ones((4, 4))) for of in (elevation, height))
    counts.add(*squares)
    return counts


def test_what_heights_say_of_their_unit(tmp_path):
    path = tmp_path / "a.tif"
    plain = counted([[100, 110], [120, 130]], [[0, 10], [20, 30]])
    assert plain.remarks(path) == []
    (tall,) = counted([[100, 400]], [[0, 300]]).remarks(path)
    assert tall.what.startswith("heights as of no building: feet or decimetres")
    assert (tall.detail, tall.doubtful) == ("up to 300 above the ground", True)


def hill(shape=(40, 50), least=12.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (least + 0.3 * x + 0.2 * y).astype(np.float32)


@pytest.mark.parametrize("filler", [0, -1, -99, -100, -500])
def test_a_low_value_with_nothing_near_it_is_doubted(tmp_path, filler):
    surface = hill()
    surface[:2] = filler
    (remark,) = counted(surface, np.zeros_like(surface)).remarks(tmp_path / "a.tif")
    assert remark.what.startswith("one low value and nothing near it: a filler that is not declar")
    assert (remark.detail, remark.doubtful) == (f"{filler}: 5.0 %", True)


@pytest.mark.parametrize(
    "surface",
    [
        hill(least=-3.0),  # a coast
        np.where(hill() < 20, np.float32(0), hill() - 20),  # the sea, and what rises from it
        np.where(hill() < 20, np.float32(0.25), hill()),  # no filler is a fraction
        np.where(hill() < 20, np.float32(7), hill() + 40),  # nor above the sea
        np.where(hill() < 12.5, np.float32(0), hill()),  # too rare
        np.where(hill() < 20, np.float32(6), np.float32(0)),  # flat ground with houses
        np.zeros((40, 50), np.float32),
        np.full((40, 50), np.nan, np.float32),
    ],
)
def test_low_ground_is_no_filler(tmp_path, surface):
    remarks = counted(surface, np.zeros_like(surface)).remarks(tmp_path / "a.tif")
    assert not [remark for remark in remarks if "filler" in remark.what]


@pytest.mark.parametrize("turned", [False, True])
def test_values_that_are_no_elevations_are_unknown_and_counted(tmp_path, turned):
    surface = flat(50)
    surface[100:150, 100:200] = -9999
    place = PLACE @ Affine.rotation(0.5) if turned else PLACE
    path = write_raster(tmp_path / "a.tif", surface, place, UTM)
    values, _ = read(path)
    known = np.isfinite(values)
    assert np.abs(values[known] - 50).max() < 1e-3
    assert not known[105:145, 105:195].any()
    assert known[20:90, 20:90].all()
    with gdal_env():
        (remark,) = stray_values(path)
    assert remark.what.startswith("values below -500 or above 9000 m are no elevations: unknown")
    assert (remark.detail, remark.doubtful) == ("5,000 px: -9999", True)


def test_several_values_without_meaning_are_not_warped(tmp_path):
    surface = flat(50)
    surface[:10], surface[20:30] = -9999, 99999
    path = write_raster(tmp_path / "a.tif", surface, PLACE @ Affine.rotation(0.5), UTM)
    with pytest.raises(InputError, match="several values mean no data"):
        read(path)


def test_gaps_are_said(tmp_path):
    (gaps,) = counted([[100, 110, np.nan, 120]], [[0, 10, np.nan, 20]]).remarks(tmp_path / "a.tif")
    assert (gaps.what, gaps.detail) == ("gaps: heights are unknown there", "25.0 %")
    assert not gaps.doubtful
    (all_of_it,) = counted([[np.nan]], [[np.nan]]).remarks(tmp_path / "a.tif")
    assert all_of_it.detail == "100.0 %"


def test_one_that_is_finer_than_its_picture_is_averaged(tmp_path):
    # stripes of 0 and 10, four to a pixel of the picture: points between them would be 0 or 10
    surface = np.tile(np.array([0, 10], np.float32), (300 * 4, 400 * 2))
    path = write_raster(tmp_path / "a.tif", surface, PLACE @ Affine.scale(0.25), UTM)
    values, _ = read(path)
    assert np.abs(values[2:-2, 2:-2] - 5).max() < 0.5


def test_one_that_is_turned_is_warped(tmp_path):
    x = np.mgrid[:700, :700][1].astype(np.float32)
    place = PLACE @ Affine.translation(200, -300) @ Affine.rotation(45)
    values, _ = read(write_raster(tmp_path / "a.tif", x, place, UTM))
    # an eighth of a pixel is what GDAL's warping allows itself
    # pixel (column, row) of the picture lies at x = ((column - 200) + (row + 300)) / √2 of it
    row, column = 150, 200
    assert abs(values[row, column] - ((0.5 + row + 300.5) / np.sqrt(2) - 0.5)) < 0.13


@pytest.mark.parametrize("offset", [(0, 0), (37.3, 21.8), (-90.6, 200.1), (390, 0)])
def test_between_pixels_it_is_as_gdal_warps_it(tmp_path, monkeypatch, offset):
    surface = np.random.default_rng(0).normal(50, 9, (120, 160)).astype(np.float32)
    place = PLACE @ Affine.translation(*offset) @ Affine.scale(2.7, 1.9)
    path = write_raster(tmp_path / "a.tif", surface, place, UTM)
    values, _ = read(path)
    monkeypatch.setattr("builtup.sensors.optical.elevations.COARSER", 0.0)
    warped, _ = read(path)
    assert (np.isnan(values) == np.isnan(warped)).all()
    assert np.nanmax(np.abs(values - warped)) < 0.02
