"""The no-data rule, decibels and channel sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from builtup.sensors.radar.bands import CHANNEL_SETS, Gaps, invalid, mean_power, to_db, unmeasured

#: Powers with the special values of the rule well represented.
POWER = st.one_of(
    st.sampled_from([0.0, -0.0, -9999.0, -9998.5, -10000.0, -32768.0, 1.0, -0.001]),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.floats(-100, 13000, width=32),
)
PAIRS = st.tuples(POWER, POWER)


def rule(vh: float, vv: float, vh_nodata: float | None, vv_nodata: float | None) -> bool:
    """The rule as the design words it, one pixel at a time."""
    for value, nodata in ((vh, vh_nodata), (vv, vv_nodata)):
        if not np.isfinite(value) or value <= -9999:
            return True
        if nodata is not None and value == nodata:
            return True
    return vh == 0 and vv == 0


@given(
    pairs=st.lists(PAIRS, min_size=1, max_size=40),
    nodata=st.tuples(*2 * [st.sampled_from([None, 0.0, 1.0, -9999.0, np.nan, -32768.0])]),
)
def test_invalid_is_the_rule_of_the_design_pixel_by_pixel(
    pairs: list[tuple[float, float]], nodata: tuple[float | None, float | None]
) -> None:
    vh, vv = (np.array([values], dtype=np.float32) for values in zip(*pairs, strict=True))
    expected = [rule(a, b, *nodata) for a, b in zip(vh[0], vv[0], strict=True)]
    assert invalid(vh, vv, *nodata)[0].tolist() == expected


def test_small_negative_power_and_one_zero_are_valid() -> None:
    vh = np.float32([[-0.001, 0.0, 0.02]])
    vv = np.float32([[0.1, 0.1, 0.0]])
    assert not invalid(vh, vv).any()


def test_decibels_of_known_powers() -> None:
    power = np.float32([1, 10, 0.1, 1e-5, 0, -3, np.nan])
    np.testing.assert_allclose(to_db(power), [0, 10, -10, -50, -50, -50, np.nan], atol=1e-5)


@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-1, 13000, width=32)))
def test_channel_sets_have_their_names_and_stay_finite(power: np.ndarray) -> None:
    for channels in CHANNEL_SETS.values():
        made = channels.compute(power[0], power[1])
        assert made.dtype == np.float32
        assert made.shape == (len(channels.names), 3, 4)
        assert np.isfinite(made).all()


@pytest.mark.parametrize("name", list(CHANNEL_SETS))
def test_no_data_stays_no_data_in_every_channel(name: str) -> None:
    nothing = np.full((2, 2), np.nan, dtype=np.float32)
    assert np.isnan(CHANNEL_SETS[name].compute(nothing, nothing)).all()


def test_third_band_in_decibels_is_that_of_the_mean_power() -> None:
    vh, vv = np.float32([[0.02]]), np.float32([[0.2]])
    third = CHANNEL_SETS["db_3b"].compute(vh, vv)[2]
    np.testing.assert_allclose(third, 10 * np.log10(0.11), rtol=1e-6)
    np.testing.assert_allclose(mean_power(vh, vv), 0.11, rtol=1e-6)


def test_the_ratio_in_decibels_does_not_explode_at_zero() -> None:
    zero, one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    assert np.abs(CHANNEL_SETS["db_5b"].compute(zero, one)).max() < 50.001


@given(pairs=st.lists(PAIRS, min_size=1, max_size=40), nodata=st.sampled_from([None, 0.0, 1.0]))
def test_gaps_of_two_polarisations_are_joined_by_the_rule(
    pairs: list[tuple[float, float]], nodata: float | None
) -> None:
    vh, vv = (np.array([values], dtype=np.float32) for values in zip(*pairs, strict=True))
    one, other = (Gaps.of(unmeasured(power, nodata), power == 0) for power in (vh, vv))
    expected = invalid(vh, vv, nodata, nodata)
    np.testing.assert_array_equal(one.joined(other, vh.shape), expected)
