"""Polygons matched one to one, the best pairs first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.scoring.polygons import PolygonCounts, match_polygons

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
