"""Curves from histograms, against scikit-learn on the pixels themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from builtup.geo.probability import LEVELS
from builtup.scoring.curves import average_precision, choose_threshold, threshold_curve


def pixels(seed: int, count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Truth and 8-bit probability that know of each other."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.2
    level = np.clip(rng.normal(90 + 70 * truth, 60), 0, LEVELS - 1).round().astype(int)
    return truth, level


def histogram(truth: np.ndarray, level: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(level[truth == kind], minlength=LEVELS) for kind in (0, 1)])


@pytest.mark.parametrize("seed", range(3))
def test_precision_recall_and_average_precision_are_scikit_learn_s(seed: int) -> None:
    truth, level = pixels(seed)
    curve = threshold_curve(histogram(truth, level))
    precision, recall, thresholds = precision_recall_curve(truth, level)
    assert np.allclose(curve.precision[thresholds], precision[:-1])
    assert np.allclose(curve.recall[thresholds], recall[:-1])
    found = average_precision(histogram(truth, level))
    assert found == pytest.approx(average_precision_score(truth, level))
    for at in (1, 100, 200):
        assert curve.f1[at] == pytest.approx(f1_score(truth, level >= at))


def test_what_has_no_meaning_is_undefined() -> None:
    nothing = np.zeros((2, LEVELS), np.int64)
    assert np.isnan(average_precision(nothing))
    background = nothing.copy()
    background[0, 3] = 9
    curve = threshold_curve(background)
    assert np.isnan(curve.recall).all() and np.isnan(curve.f1).all()
    assert np.isnan(curve.precision[4:]).all() and curve.precision[3] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, 60)
    target[0] = 1
    level = np.clip(rng.normal(100 + 40 * target, 50), 0, 254).astype(np.int64)
    found = choose_threshold(histogram(target == 1, level))
    assert found is not None

    def f1_at(least: int) -> float:
        built = level >= least
        return float(2 * (built & (target == 1)).sum() / (built.sum() + target.sum()))

    assert found.f1 == pytest.approx(max(f1_at(v) for v in range(1, 255)))
    assert f1_at(math.ceil(254 * found.value)) == pytest.approx(found.f1)


def test_without_buildings_there_is_no_threshold() -> None:
    counts = np.zeros((2, 255), np.int64)
    counts[0, 3] = 9
    assert choose_threshold(counts) is None
