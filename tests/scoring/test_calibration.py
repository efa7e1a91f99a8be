"""Reliability as scikit-learn has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from builtup.scoring.calibration import brier, reliability


def histogram(truth: np.ndarray, level: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(level[truth == t], minlength=255) for t in (0, 1)])


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_the_curve_is_that_of_scikit_learn(seed: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(400) < 0.4
    level = np.clip(generator.normal(90 + 70 * truth, 60), 0, 254).round().astype(int)
    found = reliability(histogram(truth, level), bins)
    share, probability = calibration_curve(truth, level / 254, n_bins=bins, strategy="uniform")
    known = found.pixels > 0
    np.testing.assert_allclose(found.share[known], share)
    np.testing.assert_allclose(found.probability[known], probability)
    counts = found.pixels[known] / 400
    assert found.ece == pytest.approx(float((counts * np.abs(share - probability)).sum()))


def test_perfect_probabilities_have_no_error_and_none_have_no_curve() -> None:
    counts = np.zeros((2, 255), int)
    counts[:, 127] = 50
    assert reliability(counts).ece == pytest.approx(0)
    assert np.isnan(reliability(np.zeros((2, 255), int)).ece)


def test_the_brier_score_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    truth = generator.random(400) < 0.4
    level = np.clip(generator.normal(90 + 70 * truth, 60), 0, 254).round().astype(int)
    found = brier(histogram(truth, level))
    assert found == pytest.approx(brier_score_loss(truth, level / 254))
    assert np.isnan(brier(np.zeros((2, 255), int)))
