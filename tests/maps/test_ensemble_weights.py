"""Weights are integers in the proportion that was given, or the best by least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import nnls

from builtup.maps.ensemble_weights import brier_weights, parse_weights


@pytest.mark.parametrize(
    ("text", "weights"),
    [("", (1, 1, 1)), ("0.2;0.3;0.5", (2, 3, 5)), ("2; 0; 4", (1, 0, 2)), ("1/3;1;1", (1, 3, 3))],
)
def test_weights_are_the_least_integers_in_their_proportion(
    text: str, weights: tuple[int, ...]
) -> None:
    assert parse_weights(text, 3) == weights


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_fitted_weights_are_the_best_of_all(seed: int, n: int) -> None:
    """Compared with scipy's non-negative least squares, the sum held to 1 by a heavy row."""
    generator = np.random.default_rng(seed)
    truth = generator.random(60) < 0.4
    v = np.clip(generator.normal(60 + 130 * truth, 60, (n, 60)), 0, 254).round()
    weights = np.array(brier_weights(v @ v.T / 60, 254 * (v @ truth) / 60))
    heavy = 1e4
    rows = np.vstack([v.T / 254, np.full((1, n), heavy)])
    expected, _ = nnls(rows, np.append(truth.astype(float), heavy))

    def brier(w: NDArray[np.float64]) -> float:
        return float(((w @ v / 254 - truth) ** 2).mean())

    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert brier(weights) <= brier(expected / expected.sum()) + 1e-6


def test_runs_that_are_the_same_share_alike() -> None:
    v = np.array([[100.0, 200], [100, 200]])
    truth = np.array([0.0, 1])
    assert brier_weights(v @ v.T / 2, 254 * (v @ truth) / 2) == pytest.approx([0.5, 0.5])
