from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.holes import without_small_holes
from builtup.geo.regions import Regions, trace


def traced(mask: NDArray[np.bool_], block: int = 1024) -> list[Regions]:
    ones = np.ones(mask.shape, np.uint8)
    read = lambda w: (mask[w.slices], ones[w.slices])  # noqa: E731
    return list(trace(mask.shape[1], mask.shape[0], read, (block, block)))


def filled(regions: Regions, min_hole: float, min_area: float = 0) -> NDArray[np.object_]:
    pixel_area = np.full(len(regions), 100.0)
    return without_small_holes(
        regions.outlines, regions.vacant, pixel_area, min_hole=min_hole, min_area=min_area
    )


def test_holes_below_the_least_area_are_filled_and_others_stay() -> None:
    mask = np.ones((12, 12), bool)
    mask[2, 2] = mask[5:7, 5:7] = False  # 100 and 400 m²
    (regions,) = traced(mask)
    counts = [len(filled(regions, least)[0].interiors) for least in (0, 100, 101, 400, 401)]
    assert counts == [2, 2, 1, 1, 0]
    assert filled(regions, 101)[0].area == 140


def test_a_hole_with_a_region_in_it_stays_unless_that_region_is_too_small() -> None:
    mask = np.ones((9, 9), bool)
    mask[1:8, 1:8] = False
    mask[3:6, 3:6] = True  # 900 m² in a hole of 4900 m²
    (regions,) = traced(mask)
    outer = int(np.argmax(regions.pixels))
    assert regions.vacant.tolist() == [False]
    assert len(filled(regions, 5000, min_area=400)[outer].interiors) == 1
    assert len(filled(regions, 5000, min_area=4900)[outer].interiors) == 0


def test_filling_one_of_many_leaves_the_others_as_they_are() -> None:
    mask = np.ones((5, 30), bool)
    mask[:, 6::6] = False
    mask[2, 2::6] = False
    mask[1:4, 8:11] = False
    (regions,) = traced(mask)
    made = filled(regions, 500)
    for before, after, hole in zip(
        regions.outlines, made, shapely.get_num_interior_rings(regions.outlines), strict=True
    ):
        expected = shapely.Polygon(before.exterior) if hole and before.area > 20 else before
        assert shapely.equals(after, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 0.8), st.integers(2, 20), st.integers(100, 3000))
def test_filled_polygons_of_a_least_area_never_overlap(
    seed: int, share: float, block: int, min_hole: int
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24)), 0.8)
    mask = noise < np.quantile(noise, share)
    kept = []
    for regions in traced(mask, block):
        holes = shapely.get_num_interior_rings(regions.outlines).sum()
        assert len(regions.vacant) == holes
        large = regions.pixels * 100 >= 400
        kept += filled(regions, min_hole, min_area=400)[large].tolist()
    polygons = np.array(kept, object)
    assert shapely.is_valid(polygons).all()
    union = shapely.area(shapely.union_all(polygons)) if len(polygons) else 0
    assert abs(union - shapely.area(polygons).sum()) < 1e-9
