"""Scores from counts of pixels, held to scikit-learn's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from builtup.errors import BuiltupError
from builtup.scoring.counts import (
    PixelCounts,
    PolygonCounts,
    confusion,
    f1,
    iou,
    match_polygons,
    one_against_rest,
    overlap,
    precision,
    rank_tiles,
    recall,
    scores,
    tile_iou,
    weighted,
    worst_city_f1,
)
from builtup.sensors.classes import BUILT_UP, Classes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.98), st.integers(1, 300))
def test_scores_are_those_of_scikit_learn(seed: int, share: float, size: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(size) < share
    level = np.clip(generator.normal(90 + 60 * truth, 40), 0, 254).astype(np.uint8)
    level[0], truth[0] = 200, True  # both classes of scikit-learn's scores are there
    counts = PixelCounts.of(truth, level >= 127, level)
    assert counts.matrix.tolist() == confusion_matrix(truth, level >= 127, labels=[0, 1]).tolist()
    assert f1(counts.cells) == pytest.approx(f1_score(truth, level >= 127))
    assert iou(counts.cells) == pytest.approx(jaccard_score(truth, level >= 127))
    assert precision(counts.cells) == pytest.approx(precision_score(truth, level >= 127))
    assert recall(counts.cells) == pytest.approx(recall_score(truth, level >= 127))


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    generator = np.random.default_rng(0)
    truth, level = generator.random(100) < 0.3, generator.integers(0, 255, 100).astype(np.uint8)
    parts = [slice(0, 37), slice(37, 100)]
    total = PixelCounts.zero()
    for part in parts:
        total += PixelCounts.of(truth[part], level[part] > 99, level[part])
    whole = PixelCounts.of(truth, level > 99, level)
    assert (total.matrix == whole.matrix).all()
    assert (total.histogram == whole.histogram).all()


def test_scores_without_a_building_are_undefined() -> None:
    none = np.zeros(5, bool)
    counts = PixelCounts.of(none, none, np.zeros(5, np.uint8))
    for score in (f1, iou, precision, recall):
        assert np.isnan(score(counts.cells))


def test_a_class_missing_from_truth_and_prediction_has_no_score() -> None:
    found = scores(np.array([[10, 0], [0, 0]]), BUILT_UP)
    assert all(math.isnan(found[name]) for name in ("f1", "iou", "precision", "recall"))
    assert found["macro_f1"] == 1.0  # of the class that is there


def test_buildings_that_are_missed_score_0_but_have_no_precision() -> None:
    found = scores(np.array([[10, 0], [5, 0]]), BUILT_UP)
    assert (found["f1"], found["iou"], found["recall"]) == (0, 0, 0)
    assert math.isnan(found["precision"])


def test_the_iou_of_a_tile_ignores_what_is_unknown() -> None:
    label = np.array([1, 1, 0, 1])
    assert tile_iou(label, np.array([1, 0, 1, 255]), 1) == pytest.approx(1 / 3)
    assert math.isnan(tile_iou(np.zeros(4), np.zeros(4), 1))


def test_the_worst_city_is_one_whose_truth_has_buildings() -> None:
    good, bad, empty = [[8, 1], [1, 9]], [[9, 6], [3, 2]], [[9, 5], [0, 0]]
    expected = min(scores(np.array(m), BUILT_UP)["f1"] for m in (good, bad))
    assert worst_city_f1(np.array([good, bad, empty]), 1) == expected
    assert math.isnan(worst_city_f1(np.array([empty]), 1))


def test_tiles_are_ranked_by_their_iou_within_their_city() -> None:
    counts = np.array([[1, 1, 0, 7], [3, 0, 0, 6], [0, 2, 2, 5], [0, 0, 0, 9], [9, 0, 1, 0]])
    ranked = rank_tiles(counts, [0, 0, 0, 0, 1])
    assert ranked == {
        0: {"worst": 2, "median": 0, "best": 1},
        1: {"worst": 4, "median": 4, "best": 4},
    }
    assert rank_tiles(counts[3:4], [0]) == {}


def test_means_leave_out_unscored_classes_and_the_headline_is_of_the_mapped_one() -> None:
    generator = np.random.default_rng(3)
    truth, label = generator.integers(0, 3, 500), generator.integers(0, 3, 500)
    names = ("building", "clutter", "road")
    classes = Classes.of(names)
    found = scores(confusion(truth, label, 3), classes)
    assert found["f1"] == pytest.approx(f1_score(truth == 0, label == 0))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, label))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, label, average="macro"))
    without = Classes(names, classes.colours, "building", unscored=("clutter",))
    macro = scores(confusion(truth, label, 3), without)["macro_iou"]
    assert macro == pytest.approx(jaccard_score(truth, label, labels=[0, 2], average="macro"))


def test_cells_of_each_class_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    truth, label = generator.integers(0, 4, 300), generator.integers(0, 4, 300)
    matrix = confusion(truth, label, 4)
    assert matrix.tolist() == confusion_matrix(truth, label).tolist()
    for number, (tp, fp, fn, tn) in enumerate(one_against_rest(matrix)):
        expected = confusion_matrix(truth == number, label == number)
        assert [[tn, fp], [fn, tp]] == expected.tolist()


def test_what_is_unknown_in_truth_or_prediction_does_not_count() -> None:
    truth, label = np.array([0, 1, 255, 1], np.uint8), np.array([0, 255, 1, 1], np.uint8)
    assert confusion(truth, label, 2).tolist() == [[1, 0], [0, 1]]


def test_a_mask_of_more_classes_than_there_are_is_refused() -> None:
    with pytest.raises(BuiltupError, match="holds class 2, the config has num_classes = 2"):
        confusion(np.array([2]), np.array([1]), 2)


def test_where_only_the_map_has_the_class_its_overlap_is_0_and_its_iou_undefined() -> None:
    cells = [[0, 5, 0, 95], [0, 0, 0, 100], [3, 1, 0, 6]]
    assert np.array_equal(overlap(cells), [0, math.nan, 0.75], equal_nan=True)
    assert np.array_equal(iou(cells), [math.nan, math.nan, 0.75], equal_nan=True)


@given(st.integers(2, 7), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_weighted_scores_are_those_of_scikit_learn(number: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    present = generator.choice(number, generator.integers(1, number + 1), replace=False)
    truth = generator.choice(present, size).astype(np.uint8)
    label = generator.integers(0, number, size).astype(np.uint8)
    found = weighted(confusion(truth, label, number))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = score(truth, label, average="weighted", zero_division=0)
        assert found[name] == pytest.approx(expected)


def test_weighted_scores_of_nothing_are_undefined() -> None:
    assert all(math.isnan(value) for value in weighted(np.zeros((3, 3), np.int64)).values())


@given(st.integers(1, 5), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_cells_of_many_matrices_are_those_of_each(many: int, number: int, seed: int) -> None:
    matrices = np.random.default_rng(seed).integers(0, 50, (many, number, number))
    each = np.stack([one_against_rest(matrix) for matrix in matrices])
    assert (one_against_rest(matrices) == each).all()
    assert (each.sum(axis=-1) == matrices.sum(axis=(1, 2))[:, None]).all()


# --- polygons -------------------------------------------------------------------------------------


boxes = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 6)] * 2)


def array(*polygons: shapely.Polygon) -> NDArray[np.object_]:
    out = np.empty(len(polygons), object)
    out[:] = polygons
    return out


def test_polygons_match_from_an_iou_of_one_half_on() -> None:
    truth = array(shapely.box(0, 0, 4, 1))
    half = shapely.box(0, 0, 2, 1)  # 2 / 4
    less = shapely.box(0, 0, 1.9, 1)
    assert match_polygons(array(half), truth) == PolygonCounts(1, 1, 1)
    assert match_polygons(array(less), truth) == PolygonCounts(0, 1, 1)


def test_each_polygon_matches_once_and_the_best_pair_goes_first() -> None:
    truth = array(shapely.box(0, 0, 10, 1), shapely.box(0, 0, 9, 1))  # they overlap
    predicted = array(shapely.box(0, 0, 9, 1), shapely.box(0, 0, 8, 1), shapely.box(50, 0, 51, 1))
    # 0 takes 1 (IoU 1), 1 is left with 0 (0.8); first come, first served gives the same count
    counts = match_polygons(predicted, truth)
    assert counts == PolygonCounts(2, 3, 2)
    assert counts.f1 == pytest.approx(4 / 5)
    # one region over two houses matches neither
    blob = array(shapely.box(0, 0, 4, 1))
    houses = array(shapely.box(0, 0, 1.5, 1), shapely.box(2.5, 0, 4, 1))
    assert match_polygons(blob, houses) == PolygonCounts(0, 1, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=8), st.lists(boxes, max_size=8))
def test_matching_is_greedy_by_iou(mine: list[Any], theirs: list[Any]) -> None:
    predicted = [shapely.box(x, y, x + w, y + h) for x, y, w, h in mine]
    truth = [shapely.box(x, y, x + w, y + h) for x, y, w, h in theirs]
    pairs = sorted(
        (-p.intersection(t).area / p.union(t).area, i, j)
        for i, p in enumerate(predicted)
        for j, t in enumerate(truth)
    )
    left, right = set(range(len(predicted))), set(range(len(truth)))
    matched = 0
    for negative, i, j in pairs:
        if -negative >= 0.5 and i in left and j in right:
            left.remove(i)
            right.remove(j)
            matched += 1
    expected = PolygonCounts(matched, len(predicted), len(truth))
    assert match_polygons(array(*predicted), array(*truth)) == expected


def test_without_polygons_in_the_truth_there_is_no_score() -> None:
    assert np.isnan(PolygonCounts(0, 0, 0).f1)
    assert np.isnan(PolygonCounts(0, 3, 0).f1)
