from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.geo import valid
from builtup.geo.valid import are_large, are_valid
from traced import blobs, traced

SQUARE = [(0, 0), (20, 0), (20, 20), (0, 20), (0, 0)]


def hole(x: float, y: float, size: float = 3) -> list[tuple[float, float]]:
    return [(x, y), (x, y + size), (x + size, y + size), (x + size, y), (x, y)]


@pytest.mark.parametrize(
    ("holes", "expected"),
    [
        ([hole(2, 2), hole(10, 10)], True),
        ([hole(2, 2), hole(5, 5)], True),  # at a corner
        ([hole(2, 2), hole(4, 4)], False),
        ([hole(2, 2, 10), hole(4, 4)], False),  # one in the other
        ([hole(2, 2), hole(30, 4)], False),  # outside the shell
        ([hole(2, 2), hole(18, 4)], False),  # across it
        ([hole(2, 2), [(9, 9), (12, 12), (12, 9), (9, 12), (9, 9)]], False),
    ],
)
def test_the_validity_of_large_polygons_is_that_of_geos(
    holes: list[list[tuple[float, float]]], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    polygons = np.array([shapely.Polygon(SQUARE, holes)])
    assert shapely.is_valid(polygons).tolist() == [expected]
    monkeypatch.setattr(valid, "_FOR_GEOS", 0)
    assert are_large(polygons).all()
    assert are_valid(polygons).tolist() == [expected]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 0.8))
def test_moved_vertices_are_told_from_valid_outlines(seed: int, share: float) -> None:
    outlines = traced(blobs(30, sigma=0.8, share=share, seed=seed)).outlines
    random = np.random.default_rng(seed)

    xy, of = shapely.get_coordinates(shapely.get_rings(outlines), return_index=True)
    moved = xy + (random.random((len(xy), 1)) < 0.01) * np.array((0.75, 1.25))
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    moved[np.append(starts[1:], len(xy)) - 1] = moved[starts]  # rings stay closed
    polygons = np.concatenate((outlines, shapely.set_coordinates(outlines.copy(), moved)))
    reasons = shapely.is_valid_reason(polygons)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(valid, "_FOR_GEOS", 0)
        found = are_valid(polygons)
    cut_in_two = [reason.startswith("Interior is disc") for reason in reasons]
    assert (found == shapely.is_valid(polygons) | cut_in_two).all()
