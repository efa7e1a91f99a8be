"""What a network predicts for tiles, counted in batches: held to scikit-learn's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from builtup.errors import BuiltupError
from builtup.scoring.counts import overlap, tile_iou
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.training.metrics import Predicted, SegmentationScores, quantise

THREE = Classes.of(("water", "field", "building"))


def predicted(
    label: np.ndarray, target: np.ndarray, level: np.ndarray | None = None, place: int = 0
) -> Predicted:
    level = label * 254 if level is None else level
    return Predicted(
        torch.tensor(level[None], dtype=torch.uint8),
        torch.tensor(label[None], dtype=torch.int64),
        torch.tensor(target[None], dtype=torch.int64),
        [place],
    )


def test_scores_are_those_of_scikit_learn_over_valid_pixels() -> None:
    rng = np.random.default_rng(0)
    target, label = rng.integers(0, 3, (40, 40)), rng.integers(0, 3, (40, 40))
    target[:5] = 255
    metric = SegmentationScores(THREE, ["A"])
    metric.update(predicted(label, target))
    found = metric.compute()
    y, p = target[5:].ravel(), label[5:].ravel()
    one = {"labels": [THREE.mapped_index], "average": "macro"}
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(y, p, **one))
    assert found["iou"] == pytest.approx(sklearn_metrics.jaccard_score(y, p, **one))
    assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(y, p, **one))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(y, p, **one))
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y, p, average="macro"))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, p))
    assert found["A/f1"] == found["f1"]


def test_each_city_is_scored_on_its_own_pixels() -> None:
    ones, zeros = np.ones((4, 4), np.int64), np.zeros((4, 4), np.int64)
    metric = SegmentationScores(BUILT_UP, ["A", "B"])
    metric.update(predicted(ones, ones, place=0))
    metric.update(predicted(zeros, ones, place=1))
    found = metric.compute()
    assert (found["A/recall"], found["B/recall"], found["recall"]) == (1.0, 0.0, 0.5)


def test_counting_in_parts_is_counting_at_once() -> None:
    rng = np.random.default_rng(1)
    target, label = rng.integers(0, 2, (8, 8)), rng.integers(0, 2, (8, 8))
    whole, parts = SegmentationScores(BUILT_UP, []), SegmentationScores(BUILT_UP, [])
    whole.update(predicted(label, target))
    for rows in (slice(0, 3), slice(3, 8)):
        parts.update(predicted(label[rows], target[rows]))
    assert whole.compute() == parts.compute()


def test_a_class_beyond_num_classes_is_refused() -> None:
    with pytest.raises(BuiltupError, match="holds class 2, the config has num_classes = 2"):
        SegmentationScores(BUILT_UP, []).update(predicted(np.zeros((2, 2)), np.full((2, 2), 2)))


def test_probabilities_are_rounded_to_254_levels() -> None:
    values = torch.tensor([0.0, 1.0, 0.5, 1 / 254, 0.4 / 254])
    assert quantise(values).tolist() == [0, 254, 127, 1, 0]


def test_tiles_are_counted_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(1)
    target, label = rng.integers(0, 2, (4, 8, 8)), rng.integers(0, 2, (4, 8, 8))
    target[:, :2] = 255
    metric = SegmentationScores(BUILT_UP, ["A"], num_tiles=4)
    for pair in ([2, 0], [3, 1]):
        level = torch.zeros(2, 8, 8, dtype=torch.uint8)
        found, true = torch.tensor(label[pair]), torch.tensor(target[pair])
        metric.update(Predicted(level, found, true, [0, 0], pair))
    metric.compute()
    for tile, iou in enumerate(overlap(metric.tiles)):
        assert iou == tile_iou(label[tile], target[tile], 1)
        assert metric.tiles[tile].sum() == 6 * 8
