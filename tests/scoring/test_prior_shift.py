"""Shares and thresholds by expectation maximisation, against values reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS, SCALE
from builtup.scoring.prior_shift import NOTHING, estimated_share, prior_shift


def histogram(pixels: dict[int, int]) -> NDArray[np.int64]:
    """Pixels by level."""
    found = np.zeros(LEVELS, np.int64)
    for level, number in pixels.items():
        found[level] = number
    return found


def test_a_share_that_is_that_of_training_stays_what_it_is() -> None:
    # a tenth surely built-up, the rest surely not: no posterior can move
    sure = histogram({0: 900, 254: 100})
    assert estimated_share(sure, 0.1) == pytest.approx(0.1)
    assert prior_shift(sure, 0.3, 0.1) == pytest.approx(0.3, abs=1e-3)


def test_expectation_maximisation_ends_where_the_likelihood_is_greatest() -> None:
    # two signals, likelihood ratios 4 and 1/4 (p of .8 and .2 at a training share of one half);
    # 300 of 1,000 show the first: 0.8 π + 0.2 (1 − π) = 0.3 at π = 1/6
    probability = np.array([0.2, 0.8])
    levels = np.rint(SCALE * probability).astype(int)
    found = histogram(dict(zip(levels.tolist(), (700, 300), strict=True)))
    assert estimated_share(found, 0.5) == pytest.approx(1 / 6, abs=0.005)
    # odds of the threshold rise by (1/2 : 1/2) / (1/6 : 5/6) = 5, from 1 to 5
    assert prior_shift(found, 0.5, 0.5, raised=np.inf) == pytest.approx(5 / 6, abs=0.01)
    # but are no more than doubled, while as much more of the class lowers them to a fifth
    assert prior_shift(found, 0.5, 0.5) == pytest.approx(2 / 3)
    assert prior_shift(found[::-1], 0.5, 0.5) == pytest.approx(1 / 6, abs=0.01)


def test_nothing_to_go_by_leaves_the_threshold() -> None:
    nothing = histogram({})
    assert np.isnan(estimated_share(nothing, 0.2))
    assert prior_shift(nothing, 0.4, 0.2) == 0.4
    assert prior_shift(histogram({3: 1}), 0.4, 0.0) == 0.4  # training without the class


def test_probabilities_that_tell_nothing_apart_leave_the_threshold() -> None:
    # all of them above the share of training: every pixel is a little more likely the class, so
    # that the likelihood is greatest where there is nothing else; and the other way about
    assert prior_shift(histogram({50: 500, 56: 500}), 0.09, 0.1) == 0.09
    assert prior_shift(histogram({10: 500, 16: 500}), 0.5, 0.1) == 0.5


@given(
    st.lists(st.integers(0, 500), min_size=LEVELS, max_size=LEVELS),
    st.floats(0.05, 0.95),
    st.floats(0.01, 0.99),
)
def test_more_of_a_class_lowers_its_threshold(
    counts: list[int], threshold: float, share: float
) -> None:
    found = np.array(counts, np.int64)
    if not found.sum():
        return
    moved, estimate = prior_shift(found, threshold, share), estimated_share(found, share)
    assert 0 < moved < 1
    if NOTHING <= estimate <= 1 - NOTHING:
        assert (moved <= threshold + 1e-6) == (estimate >= share - 1e-6)
    else:
        assert moved == threshold
