"""Curves from histograms, against scikit-learn on the pixels themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
)

from builtup.geo.probability import LEVELS
from builtup.scoring.curves import BINS, calibration, threshold_curve, write_curves


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
    assert curve.average_precision == pytest.approx(average_precision_score(truth, level))
    for at in (1, 100, 200):
        assert curve.f1[at] == pytest.approx(f1_score(truth, level >= at))


@pytest.mark.parametrize("seed", range(3))
def test_calibration_is_scikit_learn_s(seed: int) -> None:
    truth, level = pixels(seed)
    probability = level / (LEVELS - 1)
    found = calibration(histogram(truth, level))
    observed, predicted = calibration_curve(truth, probability, n_bins=BINS)
    used = found.pixels > 0
    assert np.allclose(found.observed[used], observed)
    assert np.allclose(found.predicted[used], predicted)
    assert found.brier == pytest.approx(brier_score_loss(truth, probability))
    gaps = np.abs(observed - predicted) * found.pixels[used] / len(truth)
    assert found.error == pytest.approx(gaps.sum())


def test_what_has_no_meaning_is_undefined() -> None:
    nothing = np.zeros((2, LEVELS), np.int64)
    assert np.isnan(threshold_curve(nothing).average_precision)
    assert np.isnan(calibration(nothing).error)
    background = nothing.copy()
    background[0, 3] = 9
    curve = threshold_curve(background)
    assert np.isnan(curve.recall).all() and np.isnan(curve.f1).all()
    assert np.isnan(curve.precision[4:]).all() and curve.precision[3] == 0


def test_curves_are_written_as_json_and_pictures(tmp_path: Path) -> None:
    truth, level = pixels(0)
    confusion = {"A": [[5, 1], [2, 3]], "B": [[1, 0], [0, 1]]}
    figures = write_curves(
        tmp_path / "curves", histogram(truth, level), confusion, ("ground", "building"), 0.4
    )
    assert set(figures) == {"average_precision", "calibration_error", "brier"}
    for name in ("precision_recall", "calibration", "confusion"):
        assert (tmp_path / "curves" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        record = json.loads((tmp_path / "curves" / f"{name}.json").read_text())
        assert record
    assert record["A"] == confusion["A"] and record["classes"] == ["ground", "building"]
    read = json.loads((tmp_path / "curves" / "precision_recall.json").read_text())
    assert len(read["precision"]) == LEVELS
    assert read["average_precision"] == pytest.approx(figures["average_precision"])
