"""The preview: probability, outlines, a scale bar, and what has no data."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from builtup.maps.products import map_lines, write_products
from builtup.runs.results import QUICKLOOK, PredictionTags
from city_data import CITY, MASK, make_city
from helpers import CRS, TRANSFORM, write_raster


def test_a_name_in_a_script_without_a_font_is_no_warning(tmp_path: Path) -> None:
    city = "38SLF_दिल्ली"
    raw = make_city(tmp_path, city)
    write_raster(raw / f"{city}_count.tif", np.full(MASK.shape, 300, np.uint16), TRANSFORM, CRS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write_products(tmp_path)
    document = json.loads((raw / f"{city}.json").read_text())
    assert document["assets"]["probability"]["href"] == f"./{city}_prob.tif"
    counts = document["assets"]["count"]["raster:bands"]
    assert counts == [{"data_type": "uint16", "nodata": 65535}]


def test_the_preview_shows_probability_outlines_and_no_data(tmp_path: Path) -> None:
    raw = make_city(tmp_path)
    write_products(tmp_path)
    with Image.open(raw / f"{CITY}_preview.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert max(pixels.shape) > 600
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 100) & (pixels[..., 2] < 120)
    grey = (pixels == 228).all(axis=2)
    assert red.sum() > 500  # two outlines
    assert grey.sum() > 2000  # the columns without data
    assert ((pixels == 0).all(axis=2)).sum() > 100  # scale bar


def test_the_preview_lies_on_the_scenes_picture_and_says_what_speaks_against_it(
    tmp_path: Path,
) -> None:
    raw = make_city(tmp_path)
    write_products(tmp_path)
    with Image.open(raw / f"{CITY}_preview.png") as image:
        before = image.size
    picture = np.zeros((4, *MASK.shape), np.uint8)
    picture[1], picture[3] = 200, 255
    picture[3, :20] = 0  # a gap
    path = write_raster(raw / "s1a_38SLF_quicklook_20150214.tif", picture, TRANSFORM, CRS)
    tags = PredictionTags("s1a_38SLF_{}", CITY, 80, 60, "run", 0.5, kind=QUICKLOOK)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags.as_gdal())
    with rasterio.open(raw / f"{CITY}_prob.tif", "r+") as dataset:
        dataset.update_tags(BUILTUP_DOUBTS="it has seen nothing")
    assert write_products(tmp_path).done == 1
    with Image.open(raw / f"{CITY}_preview.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        assert image.size[0] > 1.7 * before[0]  # the picture, and the probability
        assert image.size[1] > before[1]  # a line more
    left = pixels[:, : pixels.shape[1] // 2]
    green = (left == (0, 200, 0)).all(axis=2)
    grey = (left == 228).all(axis=2)
    assert green.sum() > 4 * grey.sum() / 3 > 100_000 / 3


def test_the_end_of_a_command_says_where_the_maps_are_and_how_much_is_mapped(
    tmp_path: Path,
) -> None:
    make_city(tmp_path)
    where, how = map_lines(tmp_path)
    assert where == f"maps of 1 city in {tmp_path / 'raw'}: 2 polygons, 10 ha"
    assert how.startswith(f"open {CITY}.gpkg in a GIS")
    make_city(tmp_path, "38SMB_Beta", scenes=("s1a_38SMB_prob_20150214",))
    assert map_lines(tmp_path)[0].startswith("maps of 2 cities in ")
