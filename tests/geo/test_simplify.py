from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo import simplify
from builtup.geo.grid import Grid
from builtup.geo.simplify import simplified
from traced import GROUND, generalised, traced


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4), st.floats(0.4, 0.7), st.sampled_from([2, 5, 64]))
def test_rings_that_are_kept_from_crossing_keep_their_number_and_their_place(
    seed: int, tolerance: float, share: float, cell: int
) -> None:
    regions = traced(np.random.default_rng(seed).random((24, 24)) < share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simplify, "_LARGE", -1)
        patch.setattr(simplify, "_CELL", cell)
        simple = simplified(regions.outlines, regions.touching, tolerance, GROUND)
    assert shapely.is_valid(simple).all()
    for before, after in zip(regions.outlines, simple, strict=True):
        assert len(before.interiors) == len(after.interiors)
        kept = {tuple(xy) for xy in shapely.get_coordinates(after)}
        assert kept <= {tuple(xy) for xy in shapely.get_coordinates(before)}
        assert shapely.hausdorff_distance(before.boundary, after.boundary) <= tolerance + 1e-9


def test_an_outline_that_would_cross_itself_keeps_only_what_it_needs() -> None:
    mask = np.zeros((80, 80), bool)
    for row in range(0, 80, 4):  # a comb of stairs, one pixel apart at the tips
        columns = np.arange(80)
        mask[np.minimum(row + (columns // 3) % 2, 79), columns] = True
    mask[:, 0] = True
    exact, made = generalised(mask, 1.5)
    assert shapely.is_valid(made.polygons).all()
    vertices = shapely.get_num_coordinates
    assert vertices(made.polygons).sum() < vertices(exact).sum()


def test_what_is_not_valid_with_coordinates_on_the_ground_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask = np.zeros((30, 60), bool)
    mask[5:25, 5:25] = mask[5:25, 35:55] = True
    mask[5, 12:16] = mask[5, 42:46] = False  # a step of a pixel in both, which is simplified

    def crossed(polygons: NDArray[np.object_], grid: Grid) -> NDArray[np.bool_]:
        fewer = shapely.get_num_coordinates(polygons) < 9
        return ~(fewer & (shapely.bounds(polygons).reshape(-1, 4)[:, 0] > 30))

    monkeypatch.setattr(simplify, "_are_valid", crossed)
    exact, made = generalised(mask, 2)
    one, other = made.polygons
    assert len(one.exterior.coords) == 5
    assert other.equals(exact[1])


def test_simplification_counts_metres_in_both_directions() -> None:
    outlines = traced(np.tri(12, dtype=bool)).outlines
    none = np.zeros((0, 2), np.int32)
    corners = shapely.get_num_coordinates(outlines)[0]

    def left(tolerance: float, width: float, height: float) -> int:
        grid = replace(GROUND, transform=Affine(width, 0, 0, 0, -height, 0))
        return int(shapely.get_num_coordinates(simplified(outlines, none, tolerance, grid))[0])

    # the line along a stair is half of, up to the whole of, √½ of a step from its corners
    assert left(3, 10, 10) == left(3, 10, 1000) == corners
    assert left(8, 10, 10) < corners
    assert left(3, 10, 1) < corners
    assert simplified(outlines, none, 0, GROUND) is outlines
