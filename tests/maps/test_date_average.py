"""Means and deviations of dates in whole numbers, against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builtup.geo.probability import NODATA
from builtup.maps.date_average import DateAverage


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_gaps_weaken_nothing_and_the_order_is_no_matter(dates: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 256, (dates, 1, 5, 7), dtype=np.uint8)
    average = DateAverage.of(list(values))
    known = np.ma.masked_equal(values, NODATA)
    mean = np.floor(known.mean(axis=0).filled(NODATA) + 0.5)
    np.testing.assert_array_equal(average.mean(), mean)
    deviation = np.where(average.count >= 2, known.std(axis=0)[0].filled(0) / 254, np.nan)
    np.testing.assert_allclose(average.deviation(0), deviation, atol=1e-6)
    np.testing.assert_array_equal(DateAverage.of(list(values[::-1])).mean(), average.mean())
