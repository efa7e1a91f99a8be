"""Images in their own pixels, or in those of training."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from builtup.errors import BuiltupError, ConfigError
from builtup.geo.locations import Allow
from builtup.geo.windows import Window
from builtup.prediction.image_source import ImageSource
from builtup.sensors.optical.stored_images import ImageHeaders
from helpers import CRS, write_raster

RGB = ("red", "green", "blue")


def scene(path: Path, metres: float, size: int = 300, crs: str | None = CRS) -> Path:
    """Columns of 10 m, light and dark, the first 20 m without data."""
    x = np.arange(size) * metres
    values = np.where(x // 10 % 2 == 0, 200, 40).astype(np.uint8)
    bands = np.tile(values, (4, size, 1))
    bands[3] = np.where(x < 20, 0, 255)
    place = Affine(metres, 0, 500000, 0, -metres, 4100000)
    return write_raster(path, bands, place, crs, photometric="RGB", alpha="YES")


def read_of(source: ImageSource, path: Path) -> ImageHeaders:
    (found,) = source.read_each(source.find(str(path), Allow()).scenes)
    assert isinstance(found, ImageHeaders)
    return found


def said(headers: ImageHeaders) -> str:
    return " · ".join(f"{remark.what} ({remark.detail})" for remark in headers.remarks)


@pytest.mark.parametrize("trained", [None, 0.2, 0.29, 0.14])
def test_pixels_like_those_of_training_stay(tmp_path: Path, trained: float | None) -> None:
    headers = read_of(ImageSource(RGB, trained, window=64), scene(tmp_path / "a.tif", 0.2))
    assert headers.grid == headers.stored and "pixels" not in said(headers)


@pytest.mark.parametrize(("metres", "trained"), [(0.2, 0.5), (0.5, 0.2)])
def test_far_ones_are_read_in_pixels_of_training_and_it_is_said(
    tmp_path: Path, metres: float, trained: float
) -> None:
    source = pickle.loads(pickle.dumps(ImageSource(RGB, trained, window=64)))
    headers = read_of(source, scene(tmp_path / "a.tif", metres))
    assert headers.grid.metres_per_pixel == pytest.approx((trained, trained), rel=0.01)
    assert f"from {metres} m to {trained} m" in said(headers)
    assert "of which the network has learnt; pixel=own leaves them" in said(headers)
    place = Window(3, 5, 90, 110)
    with source.within(headers, "", source.cache_bytes(headers, 64)) as read:
        values = read(place)
        whole = read(Window(0, 0, *headers.grid.shape))
    part = whole[:, place.slices[0], place.slices[1]]
    np.testing.assert_allclose(values, part, rtol=1e-5)  # however it is cut
    x = (np.arange(headers.grid.width) + 0.5) * trained
    assert np.isnan(whole[:, :, x < 20 - trained]).all()
    clear = (x > 20 + trained) & (np.abs(x % 10 - 5) < 4)
    expected = np.where(x // 10 % 2 == 0, 200, 40)[clear]
    np.testing.assert_allclose(whole[0][:, clear], np.tile(expected, (len(whole[0]), 1)), 1e-5)


def test_coarse_pixels_are_enlarged_no_more_than_in_training(tmp_path: Path) -> None:
    """Pixels of 4 m became 256 of .25 m each, which no training had shown, in minutes a scene."""
    path = scene(tmp_path / "a.tif", 4.0, size=60)
    headers = read_of(ImageSource(RGB, 0.25, window=64), path)
    assert headers.grid.shape == (240, 240)
    assert "enlarged 4 times only; pixel=own leaves them" in said(headers)
    assert "from 4 m to 1 m, 0.25 m in training" in said(headers)
    just = read_of(ImageSource(RGB, 0.25, window=64), scene(tmp_path / "b.tif", 0.95, size=60))
    assert just.grid.shape == pytest.approx((228, 228), abs=1) and "only" not in said(just)
    named = read_of(ImageSource(RGB, 0.25, "0.5", 64), path)
    assert named.grid.shape == pytest.approx((480, 480), abs=2)  # as it is asked for


def test_the_user_may_leave_them_or_name_others(tmp_path: Path) -> None:
    path = scene(tmp_path / "a.tif", 0.2)
    own = read_of(ImageSource(RGB, 1.0, "own", 64), path)
    assert own.grid == own.stored
    assert "its pixels stay, though the network has learnt from others (0.2 m and 1 m)" in said(own)
    other = read_of(ImageSource(RGB, 0.2, "0.4", 64), path)
    assert other.grid.shape == (151, 151) and other.validity["pixels"] == "151 x 151"
    with pytest.raises(ConfigError, match="pixel=large: expected own, or metres"):
        ImageSource(RGB, 0.2, "large")


def test_pixels_of_unknown_size_are_taken_to_be_those_of_training(tmp_path: Path) -> None:
    path = scene(tmp_path / "a.tif", 0.2, crs=None)
    headers = read_of(ImageSource(RGB, 0.1, window=64), path)
    assert headers.grid == headers.stored
    assert "the size of its pixels is not known: they are taken to be as in training" in said(
        headers
    )
    source = ImageSource(RGB, 0.1, "0.3")
    (problem,) = source.read_each(source.find(str(path), Allow()).scenes)
    assert isinstance(problem, BuiltupError)
    assert "a.tif: the size of its pixels is not known" in str(problem)


def test_a_scene_smaller_than_a_window_is_said_and_an_area_limits_what_is_read(
    tmp_path: Path,
) -> None:
    source = ImageSource((*RGB, "height"), window=512)
    headers = read_of(source, scene(tmp_path / "a.tif", 0.2))
    assert "smaller than a window of 512 pixels: goes on as in a mirror (300 x 300)" in said(
        headers
    )
    with source.within(headers, "0,0,1,1", 1 << 24) as read:
        values = read(Window(0, 0, 20, 200))
    assert values.shape == (4, 20, 200) and np.isnan(values).all()
