from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo import generalise as simplify
from builtup.geo import valid
from builtup.geo.features import Features
from builtup.geo.generalise import Simplifier, simplified
from builtup.geo.restore import uncrossed
from traced import blobs, generalised, traced


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.2, 4),
    st.floats(0.2, 0.7),
    st.integers(3, 20),
    st.booleans(),
)
def test_simplified_outlines_are_valid_and_do_not_overlap(
    seed: int, pixels: float, share: float, block: int, as_if_large: bool
) -> None:
    mask = np.random.default_rng(seed).random((18, 18)) < share
    with pytest.MonkeyPatch.context() as patch:
        if as_if_large:
            patch.setattr(simplify, "_FOR_GEOS", 0)
            patch.setattr(simplify, "_FOR_TOUCHES", 10)
            patch.setattr(valid, "_FOR_GEOS", 0)
        exact, simple = generalised(mask, pixels, block)
    assert shapely.is_valid(simple).all()
    assert (shapely.get_type_id(simple) == 3).all()
    one, other = shapely.STRtree(simple).query(simple)
    common = shapely.intersection(simple[one[one < other]], simple[other[one < other]])
    assert shapely.area(common).sum() == pytest.approx(0, abs=1e-9)
    for before, after in zip(exact, simple, strict=True):
        assert {*shapely.get_coordinates(after)[:, 0]} <= {*shapely.get_coordinates(before)[:, 0]}
        assert len(before.interiors) == len(after.interiors)
        assert shapely.hausdorff_distance(before.boundary, after.boundary) <= pixels + 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(13, 40))
def test_simplification_does_not_depend_on_how_regions_are_batched(
    seed: int, block: int, other_block: int
) -> None:
    mask = blobs(40, sigma=1, share=0.45, seed=seed)
    one, other = (
        shapely.normalize(generalised(mask, 1.5, size)[1]) for size in (block, other_block)
    )
    assert {p.wkb for p in one} == {p.wkb for p in other}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.6), st.integers(4, 24), st.sampled_from([0.6, 1.2]))
def test_squared_outlines_are_valid_keep_apart_and_do_not_depend_on_batches(
    seed: int, share: float, block: int, sigma: float
) -> None:
    mask = blobs(24, sigma=sigma, share=share, seed=seed)
    _, made = generalised(mask, 1.0, block, square=True)
    assert shapely.is_valid(made).all()
    one, other = shapely.STRtree(made).query(made)
    common = shapely.intersection(made[one[one < other]], made[other[one < other]])
    assert shapely.area(common).sum() == pytest.approx(0, abs=1e-9)
    _, whole = generalised(mask, 1.0, square=True)
    assert {p.wkb for p in shapely.normalize(made)} == {p.wkb for p in shapely.normalize(whole)}


def test_a_large_region_is_exact_only_beside_the_neighbour_that_it_would_meet() -> None:
    mask = np.zeros((60, 60), bool)
    mask[np.add.outer(np.arange(60), np.arange(60)) >= 60] = True  # a stair of 60 steps
    mask[10, 44:49] = mask[10:14, 44] = True  # in a corner of it, across a corner
    mask[11:13, 45:47] = False
    mask &= ~np.pad(np.zeros((1, 1), bool), ((0, 59), (0, 59)))
    exact, simple = generalised(mask, 1.0)
    assert shapely.is_valid(simple).all()
    counts = shapely.get_num_coordinates(exact), shapely.get_num_coordinates(simple)
    largest = int(np.argmax(shapely.area(exact)))
    assert counts[1][largest] < 0.5 * counts[0][largest]


@pytest.mark.parametrize("block", [32, 64])
def test_a_region_in_a_hole_is_compared_with_a_region_around_it_that_ends_far_below(
    block: int,
) -> None:
    mask = np.ones((60, 30), bool)
    mask[5:15, 5:25] = mask[15:18, 12:17] = False  # a hole with a bay
    mask[16, 14] = True  # and a pixel in the bay, which a tolerance of 4 pixels would close
    _, (one, other) = generalised(mask, 4, block)
    assert shapely.area(shapely.intersection(one, other)) == 0


@pytest.mark.parametrize("below", [9, 11])
def test_where_an_edge_meets_a_hole_or_passes_over_it_the_outline_is_exact_and_only_there(
    below: int,
) -> None:
    """Two bumps on a roof; in the first stands a hole, which crosses the eaves or lies above."""
    bumps = [(25, 10), (25, 13), (20, 13), (20, 10), (10, 10), (10, 13), (5, 13), (5, 10)]
    shell = [(0, 0), (30, 0), (30, 10), *bumps, (0, 10), (0, 0)]
    hole = [(21, below), (21, 12), (24, 12), (24, below), (21, below)]
    exact = shapely.Polygon(shell, [hole])
    xy = shapely.get_coordinates(exact)
    made = uncrossed(exact, xy[:, 1] != 13)
    assert [v for v in shell if v[1] < 13 or v[0] > 15] == list(made.exterior.coords)
    assert hole == list(made.interiors[0].coords)
    assert shapely.is_valid(made)


def test_an_outline_that_would_cross_itself_keeps_only_what_it_needs() -> None:
    mask = np.zeros((80, 80), bool)
    for row in range(0, 80, 4):  # a comb of stairs, one pixel apart at the tips
        columns = np.arange(80)
        mask[np.minimum(row + (columns // 3) % 2, 79), columns] = True
    mask[:, 0] = True
    exact, simple = generalised(mask, 1.5)
    assert shapely.is_valid(simple).all()
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(exact).sum()


def test_regions_keep_the_corners_where_they_touch() -> None:
    steps = np.kron(np.eye(3, dtype=bool), np.tri(8, dtype=bool))
    exact, simple = generalised(steps, 1.5)
    for polygons in (exact, simple):
        assert shapely.touches(polygons[:-1], polygons[1:]).all()
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(exact).sum()


def test_a_form_that_is_not_valid_on_the_ground_is_not_taken() -> None:
    mask = np.zeros((30, 60), bool)
    mask[5:25, 5:25] = mask[5:25, 35:55] = True
    mask[5, 12:16] = mask[5, 42:46] = False  # a step of a pixel in both, which is simplified
    regions = traced(mask)
    zeros = np.zeros(2)
    features = Features(regions.outlines, np.array((1, 2), np.int32), zeros, zeros)

    def placed(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
        crossed = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
        fewer = shapely.get_num_coordinates(polygons) < 9
        return np.where(fewer & (shapely.bounds(polygons)[:, 0] > 30), crossed, polygons)

    simplifier = Simplifier(20, (10, 10), placed=placed)
    made = simplifier.add(features, regions).concatenated(simplifier.rest())
    one, other = made.polygons[np.argsort(made.id)]
    assert len(one.exterior.coords) == 5
    assert other.equals(features.polygons[1])


def test_simplification_counts_metres_in_both_directions() -> None:
    mask = np.tri(12, dtype=bool)
    outlines = traced(mask).outlines
    none = np.zeros((0, 2), np.int32)
    corners = shapely.get_num_coordinates(outlines)[0]

    def left(tolerance: float, width: float, height: float) -> int:
        simple = simplified(outlines, none, tolerance, (width, height))
        return int(shapely.get_num_coordinates(simple)[0])

    # the line along a stair is half of, up to the whole of, √½ of a step from its corners
    assert left(3, 10, 10) == left(3, 10, 1000) == corners
    assert left(8, 10, 10) < corners
    assert left(3, 10, 1) < corners
    assert simplified(outlines, none, 0, (10, 10)) is outlines
