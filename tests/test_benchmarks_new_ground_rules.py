"""Thresholds without labels, against values reckoned by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo.probability import LEVELS, SCALE, level_of

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from new_ground_rules import (
    RULES,
    expected_share,
    fixed,
    half,
    otsu,
    tempered,
    valley,
)


def histogram(**pixels: int) -> NDArray[np.int64]:
    """Pixels by level: `histogram(v10=5)` has five of level 10."""
    found = np.zeros(LEVELS, np.int64)
    for level, number in pixels.items():
        found[int(level[1:])] = number
    return found


def humps(low: int, high: int, pixels: int = 1000, width: float = 15.0) -> NDArray[np.int64]:
    levels = np.arange(LEVELS)
    shape = np.exp(-0.5 * ((levels - low) / width) ** 2)
    shape += np.exp(-0.5 * ((levels - high) / width) ** 2)
    return np.rint(pixels * shape).astype(np.int64)


def test_two_rules_look_at_no_pixel() -> None:
    assert fixed(histogram(v3=1), 0.3, 0.1) == 0.3 and half(histogram(v3=1), 0.3, 0.1) == 0.5


def test_nothing_to_go_by_is_the_model_s_threshold() -> None:
    nothing = np.zeros(LEVELS, np.int64)
    for name, rule in RULES.items():
        assert rule(nothing, 0.5, 0.2) == 0.5, name


def test_as_much_is_mapped_as_the_probabilities_expect() -> None:
    # the mean is (600 · 0 + 300 · 127 + 100 · 254) / 254 = 250 pixels; 100 from level 254 on, 400
    # from 127 on: equally far; the one near the model's threshold wins
    found = histogram(v0=600, v127=300, v254=100)
    assert level_of(expected_share(found, 0.9, 0.1)) > 127
    assert level_of(expected_share(found, 0.2, 0.1)) <= 127
    # 400 expected: 400 are
    assert 100 < level_of(expected_share(histogram(v0=500, v100=100, v254=400), 0.5, 0.1)) <= 254


@pytest.mark.parametrize(("low", "high"), [(20, 120), (60, 220), (0, 254), (40, 200)])
def test_a_valley_lies_between_the_modes(low: int, high: int) -> None:
    found = level_of(valley(humps(low, high), 0.5, 0.1))
    assert found == pytest.approx((low + high) / 2, abs=4)


def test_one_mode_has_no_valley() -> None:
    assert valley(humps(0, 0), 0.37, 0.1) == 0.37


def test_otsu_parts_two_levels_in_their_middle() -> None:
    # any threshold between parts them alike: the middle of the plateau, 11 to 200
    assert level_of(otsu(histogram(v10=80, v200=20), 0.5, 0.1)) == 106
    assert otsu(histogram(v10=80), 0.37, 0.1) == 0.37


def test_a_temperature_of_two_halves_logits() -> None:
    # p = 0.8 (logit ln 4) becomes 1 / (1 + 1/2) = 2/3; the ends and the middle stay
    hot = tempered(histogram(v0=1, v127=2, v203=3, v254=4), 2.0)
    assert hot[0] == 1 and hot[127] == 2 and hot[254] == 4
    assert hot[round(SCALE * 2 / 3)] == 3 and hot.sum() == 10


counts = st.lists(st.integers(0, 10_000), min_size=LEVELS, max_size=LEVELS).map(np.array)
inner = st.floats(0.02, 0.98)


@given(counts, inner, inner)
def test_every_rule_gives_a_threshold(
    found: NDArray[np.int64], threshold: float, share: float
) -> None:
    for name, rule in RULES.items():
        assert 0 < rule(found, threshold, share) < 1, name


@given(counts, inner, inner)
def test_a_rule_knows_shares_not_numbers(
    found: NDArray[np.int64], threshold: float, share: float
) -> None:
    for name in ("prior shift", "expected share", "otsu"):
        once, often = RULES[name](found, threshold, share), RULES[name](7 * found, threshold, share)
        assert once == pytest.approx(often, abs=1e-6), name
