"""Scores from one confusion matrix, held to scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from builtup.errors import BuiltupError
from builtup.scoring.counts import (
    Predicted,
    SegmentationScores,
    choose_threshold,
    quantise,
    rank_tiles,
    scores,
    tile_iou,
    worst_city_f1,
)


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
    metric = SegmentationScores(3, ["A"])
    metric.update(predicted(label, target))
    found = metric.compute()
    y, p = target[5:].ravel(), label[5:].ravel()
    one = {"labels": [1], "average": "macro"}
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(y, p, **one))
    assert found["iou"] == pytest.approx(sklearn_metrics.jaccard_score(y, p, **one))
    assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(y, p, **one))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(y, p, **one))
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y, p, average="macro"))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, p))
    assert found["A/f1"] == found["f1"]


def test_each_city_is_scored_on_its_own_pixels() -> None:
    ones, zeros = np.ones((4, 4), np.int64), np.zeros((4, 4), np.int64)
    metric = SegmentationScores(2, ["A", "B"])
    metric.update(predicted(ones, ones, place=0))
    metric.update(predicted(zeros, ones, place=1))
    found = metric.compute()
    assert (found["A/recall"], found["B/recall"], found["recall"]) == (1.0, 0.0, 0.5)


def test_a_class_missing_from_truth_and_prediction_has_no_score() -> None:
    found = scores(np.array([[10, 0], [0, 0]]))
    assert all(math.isnan(found[name]) for name in ("f1", "iou", "precision", "recall"))
    assert found["macro_f1"] == 1.0  # of the class that is there


def test_buildings_that_are_missed_score_0_but_have_no_precision() -> None:
    found = scores(np.array([[10, 0], [5, 0]]))
    assert (found["f1"], found["iou"], found["recall"]) == (0, 0, 0)
    assert math.isnan(found["precision"])


def test_counting_in_parts_is_counting_at_once() -> None:
    rng = np.random.default_rng(1)
    target, label = rng.integers(0, 2, (8, 8)), rng.integers(0, 2, (8, 8))
    whole, parts = SegmentationScores(2, []), SegmentationScores(2, [])
    whole.update(predicted(label, target))
    for rows in (slice(0, 3), slice(3, 8)):
        parts.update(predicted(label[rows], target[rows]))
    assert whole.compute() == parts.compute()


def test_a_class_beyond_num_classes_is_refused() -> None:
    with pytest.raises(BuiltupError, match="holds class 2, the config has num_classes = 2"):
        SegmentationScores(2, []).update(predicted(np.zeros((2, 2)), np.full((2, 2), 2)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, 60)
    target[0] = 1
    level = np.clip(rng.normal(100 + 40 * target, 50), 0, 254).astype(np.int64)
    histogram = np.stack([np.bincount(level[target == c], minlength=255) for c in (0, 1)])
    found = choose_threshold(histogram)
    assert found is not None

    def f1_at(least: int) -> float:
        built = level >= least
        return float(2 * (built & (target == 1)).sum() / (built.sum() + target.sum()))

    assert found.f1 == pytest.approx(max(f1_at(v) for v in range(1, 255)))
    assert f1_at(math.ceil(254 * found.value)) == pytest.approx(found.f1)


def test_without_buildings_there_is_no_threshold() -> None:
    histogram = np.zeros((2, 255), np.int64)
    histogram[0, 3] = 9
    assert choose_threshold(histogram) is None


def test_probabilities_are_rounded_to_254_levels() -> None:
    values = torch.tensor([0.0, 1.0, 0.5, 1 / 254, 0.4 / 254])
    assert quantise(values).tolist() == [0, 254, 127, 1, 0]


def test_the_iou_of_a_tile_ignores_what_is_unknown() -> None:
    label = np.array([1, 1, 0, 1])
    assert tile_iou(label, np.array([1, 0, 1, 255])) == pytest.approx(1 / 3)
    assert math.isnan(tile_iou(np.zeros(4), np.zeros(4)))


def test_the_worst_city_is_one_whose_truth_has_buildings() -> None:
    good, bad, empty = [[8, 1], [1, 9]], [[9, 6], [3, 2]], [[9, 5], [0, 0]]
    expected = min(scores(np.array(m))["f1"] for m in (good, bad))
    assert worst_city_f1(np.array([good, bad, empty])) == expected
    assert math.isnan(worst_city_f1(np.array([empty])))


def test_tiles_are_ranked_by_their_iou_within_their_city() -> None:
    counts = np.array([[1, 2], [3, 3], [0, 4], [0, 0], [9, 10]])
    ranked = rank_tiles(counts, [0, 0, 0, 0, 1])
    assert ranked == {
        0: {"worst": 2, "median": 0, "best": 1},
        1: {"worst": 4, "median": 4, "best": 4},
    }
    assert rank_tiles(counts[3:4], [0]) == {}


def test_tiles_are_counted_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(1)
    target, label = rng.integers(0, 2, (4, 8, 8)), rng.integers(0, 2, (4, 8, 8))
    target[:, :2] = 255
    metric = SegmentationScores(2, ["A"], num_tiles=4)
    for pair in ([2, 0], [3, 1]):
        level = torch.zeros(2, 8, 8, dtype=torch.uint8)
        found, true = torch.tensor(label[pair]), torch.tensor(target[pair])
        metric.update(Predicted(level, found, true, [0, 0], pair))
    metric.compute()
    for tile, (both, either) in enumerate(metric.tiles):
        assert both / either == pytest.approx(tile_iou(label[tile], target[tile]))
