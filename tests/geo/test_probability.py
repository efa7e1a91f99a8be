"""8-bit probabilities: what is kept, what is no-data, where a threshold falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import ConfigError
from builtup.geo.probability import (
    LEVELS,
    NODATA,
    SCALE,
    decode,
    encode,
    level_of,
    mapped_band,
    moved_threshold,
    parse_threshold,
)


def test_every_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(LEVELS, dtype=np.uint8)
    values = decode(levels)
    assert values.dtype == np.float32
    assert np.array_equal(encode(values, np.zeros(LEVELS, bool)), levels)


def test_what_is_invalid_or_not_a_number_is_no_data_and_comes_back_as_such() -> None:
    levels = encode(np.array([0.5, np.nan, 1.0]), np.array([True, False, False]))
    assert levels.tolist() == [NODATA, NODATA, SCALE]
    assert np.isnan(decode(levels)[:2]).all()


@given(st.floats(0, 1))
def test_a_probability_is_kept_to_half_a_level(p: float) -> None:
    kept = decode(encode(np.array([p]), np.array([False])))[0]
    assert abs(kept - p) <= 0.5 / SCALE + 1e-6


@given(st.floats(0, 1))
def test_a_level_counts_where_its_probability_reaches_the_threshold(threshold: float) -> None:
    level = level_of(threshold)
    assert level / SCALE >= threshold - 1e-9
    assert (level - 1) / SCALE < threshold


@pytest.mark.parametrize(("bands", "mapped", "band"), [(1, 1, 1), (1, 0, 1), (2, 1, 2), (6, 0, 1)])
def test_a_raster_s_only_band_is_the_mapped_class_s(bands: int, mapped: int, band: int) -> None:
    assert mapped_band(bands, mapped) == band


def test_a_threshold_is_read_or_refused_with_what_may_be_given() -> None:
    assert parse_threshold("") is None
    assert parse_threshold("0.25") == 0.25
    with pytest.raises(
        ConfigError, match=r"^threshold=high: not a number; use one between 0 and 1$"
    ):
        parse_threshold("high")
    with pytest.raises(ConfigError, match="out of range; use mean, or a number above 0, at most 1"):
        parse_threshold("nan", "mean, or ")


@given(st.floats(0.01, 0.99), st.floats(0.2, 5), st.floats(-6, 6))
def test_a_moved_threshold_maps_the_same_pixels(
    threshold: float, temperature: float, logit: float
) -> None:
    moved = moved_threshold(threshold, temperature)
    p, tempered = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-logit / temperature))
    assert (p > threshold) == (tempered > moved) or abs(p - threshold) < 1e-9
    assert moved_threshold(threshold, None) == threshold
