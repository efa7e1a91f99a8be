"""The preview: probability, outlines, a scale bar, and what has no data."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from builtup.maps.products import write_products
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
