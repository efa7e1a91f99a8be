"""Lengths in pixels and metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from builtup.errors import ConfigError, InputError
from builtup.geo.lengths import METRES_TAG, Length, pixel_metres
from helpers import write_raster


def test_a_length_is_of_pixels_or_of_metres() -> None:
    assert Length.parse("64", "block") == Length.parse("64px", "block") == Length(64)
    assert Length.parse(" 100 m ", "block") == Length(100, metres=True)
    assert [str(Length.parse(text, "block")) for text in ("64", "0.5m")] == ["64 pixels", "0.5 m"]
    for wrong in ("", "m", "-3", "1.5", "1.5px", "3km", "nan", "1e3"):
        with pytest.raises(ConfigError, match=r"block=.*: expected whole pixels"):
            Length.parse(wrong, "block")


def test_metres_become_the_nearest_number_of_pixels() -> None:
    assert Length.parse("100m", "block").pixels(0.1) == 1000
    assert Length.parse("100m", "block").pixels(0.3) == 333
    assert Length.parse("1m", "block").pixels(10) == 1
    assert Length.parse("0m", "gap").pixels(10) == 0
    assert Length.parse("32", "gap").pixels(None) == 32
    with pytest.raises(InputError, match=r"a\.tif: 100 m asked for, but no CRS"):
        Length.parse("100m", "block").pixels(None, "a.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("crs", "transform", "tag", "metres"),
    [
        ("EPSG:32638", Affine(0.1, 0, 3e5, 0, -0.2, 4e6), "", 0.02**0.5),
        ("EPSG:4326", Affine(1e-5, 0, 45, 0, -1e-5, 0), "", 1.1095),
        (None, None, "", None),
        (None, Affine(1, 0, 0, 0, -1, 0), "0.1", 0.1),
        (None, None, "0", None),
        (None, None, "ten", None),
        (None, None, "inf", None),
        ("EPSG:32638", Affine(0.1, 0, 3e5, 0, -0.1, 4e6), "9", 0.1),
    ],
)
def test_the_crs_or_a_tag_says_how_large_pixels_are(
    tmp_path: Path, crs: str | None, transform: Affine | None, tag: str, metres: float | None
) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((9, 9), np.uint8), transform, crs)
    if tag:
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**{METRES_TAG: tag})
    with rasterio.open(path) as dataset:
        found = pixel_metres(dataset)
    assert found == (metres if metres is None else pytest.approx(metres, rel=2e-3))
