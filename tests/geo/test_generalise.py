from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.affinity import translate

from builtup.geo import generalise, simplify
from builtup.geo.generalise import Generaliser, without_small_holes
from builtup.geo.regions import Regions
from builtup.geo.vector_writers import Features
from builtup.options import PolygonOptions
from traced import GROUND, blobs, generalised, steps, traced


def common_area(polygons: NDArray[np.object_]) -> float:
    """The ground on which polygons overlap."""
    one, other = shapely.STRtree(polygons).query(polygons)
    both = shapely.intersection(polygons[one[one < other]], polygons[other[one < other]])
    return float(shapely.area(both).sum())


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.2, 4),
    st.floats(0.2, 0.7),
    st.integers(3, 20),
    st.sampled_from([3, 7, 64]),
    st.booleans(),
)
def test_generalised_outlines_are_valid_and_do_not_overlap(
    seed: int, pixels: float, share: float, block: int, cell: int, as_if_large: bool
) -> None:
    mask = np.random.default_rng(seed).random((18, 18)) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simplify, "_CELL", cell)
        if as_if_large:
            patch.setattr(simplify, "_LARGE", -1)
            patch.setattr(generalise, "_MANY", 10)
        exact, made = generalised(mask, pixels, block)
    assert set(made.id) == set(range(len(exact)))  # no region is lost
    assert shapely.is_valid(made.polygons).all()
    assert (shapely.get_type_id(made.polygons) == 3).all()
    assert common_area(made.polygons) == pytest.approx(0, abs=1e-9)
    for number, before in enumerate(exact):
        after = made.polygons[made.id == number]
        # what is cut off is no farther away than what a neighbour may have come nearer
        far = shapely.hausdorff_distance(before.boundary, shapely.boundary(after))
        assert far.min() <= 2 * pixels + 1e-9
        assert made.area_m2[made.id == number].sum() == pytest.approx(before.area)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(13, 40), st.booleans())
def test_generalisation_does_not_depend_on_how_regions_are_batched(
    seed: int, block: int, other_block: int, square: bool
) -> None:
    mask = blobs(40, sigma=1, share=0.45, seed=seed)
    one, other = (
        shapely.normalize(generalised(mask, 2.5, size, square)[1].polygons)
        for size in (block, other_block)
    )
    assert {p.wkb for p in one} == {p.wkb for p in other}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.6), st.integers(4, 24), st.sampled_from([0.6, 1.2]))
def test_squared_outlines_are_valid_and_keep_apart(
    seed: int, share: float, block: int, sigma: float
) -> None:
    mask = blobs(24, sigma=sigma, share=share, seed=seed)
    _, made = generalised(mask, 1.0, block, square=True)
    assert shapely.is_valid(made.polygons).all()
    assert common_area(made.polygons) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("block", [32, 64])
def test_a_region_is_cut_by_a_smaller_one_that_it_would_cover(block: int) -> None:
    mask = np.ones((60, 30), bool)
    mask[5:15, 5:25] = mask[15:18, 12:17] = False  # a hole with a bay
    mask[16, 14] = True  # and a pixel in the bay, which a tolerance of 4 pixels would close
    _, made = generalised(mask, 4, block)
    areas = shapely.area(made.polygons)
    assert areas.min() == 1  # the pixel is whole
    assert common_area(made.polygons) == 0
    assert len(made.polygons[areas.argmax()].interiors) == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 0.6))
def test_a_large_polygon_overlaps_those_whose_insides_meet(seed: int, share: float) -> None:
    exact = traced(blobs(40, sigma=0.8, share=share, seed=seed)).outlines
    large = exact[shapely.get_num_coordinates(exact).argmax()]
    holes = shapely.polygons(shapely.get_rings(large)[1:])
    moved = [translate(large, x, y) for x, y in ((1, 0), (50, 0), (-0.5, 90))]
    for some in (exact, holes, shapely.buffer(holes, -0.2), moved):
        others = np.array([polygon for polygon in some if not polygon.is_empty], object)
        if len(others):
            meet = shapely.intersects(large, others) & ~shapely.touches(large, others)
            assert (generalise._overlap_large(large, others) == meet).all()


def test_a_region_that_is_cut_in_two_keeps_its_id_and_shares_its_area() -> None:
    bar, neighbour = shapely.box(0, 4, 30, 6), shapely.box(14, 0, 15, 12)
    regions = Regions(
        np.array([bar, neighbour]), np.array([60, 12]), np.zeros(2, np.int64),
        np.zeros((0, 2), np.int32), 100,
    )  # fmt: skip
    features = Features(
        regions.outlines, np.array([7, 8], np.int32), np.array([60.0, 12.0]), np.array([0.5, 0.9])
    )
    made = Generaliser(PolygonOptions(0, 1, 0), GROUND).add(features, regions)
    assert made.id.tolist() == [7, 7, 8]
    assert made.mean_prob.tolist() == [0.5, 0.5, 0.9]
    assert sorted(made.area_m2) == pytest.approx([12, 60 * 14 / 29, 60 * 15 / 29])
    least = Generaliser(PolygonOptions(29, 1, 0), GROUND).add(features, regions)
    assert least.id.tolist() == [7]  # the neighbour is too small to cut it
    assert least.area_m2.tolist() == [60]


def test_regions_keep_the_corners_where_they_touch() -> None:
    kron = np.kron(np.eye(3, dtype=bool), np.tri(8, dtype=bool))
    exact, made = generalised(kron, 1.5)
    for polygons in (exact, made.polygons):
        assert shapely.touches(polygons[:-1], polygons[1:]).all()
    vertices = shapely.get_num_coordinates
    assert vertices(made.polygons).sum() < vertices(exact).sum()


# --- what is held -------------------------------------------------------------------------------


def test_regions_are_handed_out_when_nothing_open_reaches_as_high() -> None:
    mask = np.zeros((64, 40), bool)
    mask[2:5, 2:5] = mask[10:13, 2:5] = True
    mask[8:60, 20:30] = True  # open from row 8 to row 60
    mask[40:43, 2:5] = True
    generaliser = Generaliser(PolygonOptions(0, 1, 0), GROUND)
    out = []
    for regions in steps(mask, 16):
        count = len(regions)
        ids = np.arange(count, dtype=np.int32) + sum(map(len, out))
        features = Features(regions.outlines, ids, regions.pixels.astype(float), np.zeros(count))
        out.append(generaliser.add(features, regions))
    tops = [sorted(shapely.bounds(f.polygons).reshape(-1, 4)[:, 1]) for f in out]
    assert tops == [[2], [], [8, 10, 40]]
    assert not len(generaliser.rest())


# --- holes --------------------------------------------------------------------------------------


def filled(regions: Regions, min_hole: float, min_area: float = 0) -> NDArray[np.object_]:
    pixel_area = np.full(len(regions), 100.0)
    return without_small_holes(
        regions.outlines, regions.vacant, pixel_area, min_hole=min_hole, min_area=min_area
    )


def with_value(mask: NDArray[np.bool_], block: int = 1024) -> list[Regions]:
    """Regions of a mask whose value is above 0 wherever it is built up."""
    return steps(mask, block, np.ones(mask.shape, np.uint8))


def test_holes_below_the_least_area_are_filled_and_others_stay() -> None:
    mask = np.ones((12, 12), bool)
    mask[2, 2] = mask[5:7, 5:7] = False  # 100 and 400 m²
    (regions,) = with_value(mask)
    counts = [len(filled(regions, least)[0].interiors) for least in (0, 100, 101, 400, 401)]
    assert counts == [2, 2, 1, 1, 0]
    assert filled(regions, 101)[0].area == 140


def test_a_hole_with_a_region_in_it_stays_unless_that_region_is_too_small() -> None:
    mask = np.ones((9, 9), bool)
    mask[1:8, 1:8] = False
    mask[3:6, 3:6] = True  # 900 m² in a hole of 4900 m²
    (regions,) = with_value(mask)
    outer = int(np.argmax(regions.pixels))
    assert regions.vacant.tolist() == [False]
    assert len(filled(regions, 5000, min_area=400)[outer].interiors) == 1
    assert len(filled(regions, 5000, min_area=4900)[outer].interiors) == 0


def test_filling_one_of_many_leaves_the_others_as_they_are() -> None:
    mask = np.ones((5, 30), bool)
    mask[:, 6::6] = False
    mask[2, 2::6] = False
    mask[1:4, 8:11] = False
    (regions,) = with_value(mask)
    made = filled(regions, 500)
    for before, after, hole in zip(
        regions.outlines, made, shapely.get_num_interior_rings(regions.outlines), strict=True
    ):
        expected = shapely.Polygon(before.exterior) if hole and before.area > 20 else before
        assert shapely.equals(after, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 0.8), st.integers(2, 20), st.integers(1, 30))
def test_filled_polygons_of_a_least_area_never_overlap(
    seed: int, share: float, block: int, min_hole: int
) -> None:
    mask = ~blobs(24, sigma=0.8, share=1 - share, seed=seed)
    generaliser = Generaliser(PolygonOptions(4, 0, min_hole), GROUND)
    kept = []
    for regions in with_value(mask, block):
        assert len(regions.vacant) == shapely.get_num_interior_rings(regions.outlines).sum()
        count = len(regions)
        features = Features(
            regions.outlines, np.zeros(count, np.int32), regions.pixels * 1.0, np.zeros(count)
        )
        kept += generaliser.add(features, regions).polygons.tolist()
    polygons = np.array(kept + generaliser.rest().polygons.tolist(), object)
    assert shapely.is_valid(polygons).all()
    union = shapely.area(shapely.union_all(polygons)) if len(polygons) else 0
    assert abs(union - shapely.area(polygons).sum()) < 1e-9
