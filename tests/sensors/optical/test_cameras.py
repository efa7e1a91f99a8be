"""Cameras as sensors: what has no data, how they are drawn, what their channels are."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.sensors.catalogue import channel_sets, layers_of, sensor_named, sensor_of
from builtup.sensors.optical import IRRG, RGB
from builtup.sensors.optical.cameras import OPTICAL_SETS
from builtup.sensors.sensor import UNKNOWN


def test_black_is_data_and_only_what_is_unknown_is_none() -> None:
    bands = np.zeros((3, 2, 2), np.float32)
    bands[1, 0, 1] = np.nan
    assert RGB.invalid(bands, None).tolist() == [[False, True], [False, False]]
    assert RGB.invalid(bands, 0.0).all()  # where the file declares 0, in all colours
    further = np.concatenate([bands, np.full((1, 2, 2), np.nan, np.float32)])
    assert RGB.invalid(further, None).sum() == 1  # a height that is not known is no gap


def test_a_picture_is_the_image_itself() -> None:
    bands = np.array([[[0.0, 255.0]], [[10.0, 300.0]], [[20.0, np.nan]]], np.float32)
    picture = RGB.picture(bands)
    assert picture.tolist() == [[[0, 10, 20], list(UNKNOWN)]]


def test_sensors_and_their_channel_sets_know_one_another() -> None:
    assert sensor_named("rgb") is RGB and sensor_named("irrg") is IRRG
    assert RGB.names == ("red", "green", "blue") and IRRG.names == ("nir", "red", "green")
    assert set(channel_sets(RGB)) == {"rgb", "rgb_height"} and set(channel_sets(IRRG)) == {"irrg"}
    assert sensor_of("rgb_height") is RGB and layers_of("rgb_height") == ("height",)
    assert layers_of("rgb") == layers_of("db_3b") == ()


@pytest.mark.parametrize("name", OPTICAL_SETS)
def test_a_set_has_as_many_channels_as_names(name: str) -> None:
    known = OPTICAL_SETS[name]
    inputs = np.ones((3 + len(known.layers), 4), np.float32)
    assert known.compute(*inputs).shape == (len(known.names), 4)


def test_a_height_is_cut_where_photogrammetry_errs_and_0_where_it_is_not_known() -> None:
    colour, height = np.ones(4, np.float32), np.array([1.37, 700, -300, np.nan], np.float32)
    metres, known = OPTICAL_SETS["rgb_height"].compute(colour, colour, colour, height)[3:]
    assert metres.tolist() == pytest.approx([1.37, 100, -10, 0])
    assert known.tolist() == [1, 1, 1, 0]
