"""Sentinel-1 as a sensor: what is read, what is no-data, what its pictures show."""

from __future__ import annotations

import numpy as np

from builtup.sensors.radar.sentinel1 import SENTINEL1, backscatter_picture
from builtup.sensors.sensor import UNKNOWN


def test_samples_hold_vh_and_vv_and_no_third_band() -> None:
    assert SENTINEL1.names == ("VH", "VV")


def test_no_data_follows_the_rule_of_the_bands() -> None:
    power = np.array([[[0.0, 0.1, np.nan, 7.0]], [[0.0, 0.2, 0.1, 0.1]]], np.float32)
    assert SENTINEL1.invalid(power, 7.0).tolist() == [[True, False, True, True]]


def test_the_axis_of_histograms_is_decibels() -> None:
    assert SENTINEL1.axis.unit == "dB"
    assert SENTINEL1.axis.place(np.array([0.1], np.float32))[0] == np.float32(-10)
    assert SENTINEL1.axis.low == -50


def test_backscatter_goes_from_black_to_white_and_gaps_are_marked() -> None:
    power = np.array([[1e-4, 1.0, np.nan], [1e-4, 10.0, 1.0]], np.float32)[:, None]
    picture = backscatter_picture(power)
    assert picture.shape == (1, 3, 3)
    assert picture[0, 0, :2].tolist() == [0, 0]
    assert picture[0, 1, :2].tolist() == [255, 255]
    assert tuple(picture[0, 2]) == UNKNOWN
