from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape

from builtup.geo.regions import trace
from traced import blobs, masks, traced


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(1, 15))
def test_outlines_by_blocks_are_those_of_the_whole_raster_at_once(
    mask: NDArray[np.bool_], block: int
) -> None:
    ours = traced(mask, block).outlines
    whole = [shape(g) for g, _ in features.shapes(mask.astype(np.uint8), mask, connectivity=4)]
    assert shapely.is_valid(ours).all()
    assert sorted(shapely.normalize(ours).tolist(), key=shapely.to_wkb) == sorted(
        # rings of shapes() may touch themselves, which a valid polygon says by a hole
        shapely.normalize(shapely.make_valid(np.array(whole, object))).tolist(),
        key=shapely.to_wkb,
    )


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_sums_over_regions_are_those_of_labelled_pixels(
    mask: NDArray[np.bool_], block: int, seed: int
) -> None:
    value = np.random.default_rng(seed).integers(0, 255, mask.shape).astype(np.uint8)
    regions = traced(mask, block, value)
    labels, count = ndimage.label(mask)
    assert len(regions) == count
    assert regions.pixels.tolist() == [int(p.area) for p in regions.outlines]
    for outline, total in zip(regions.outlines, regions.value_sum, strict=True):
        inside = features.rasterize([(outline, 1)], out_shape=mask.shape)
        assert total == value[inside == 1].astype(int).sum()
        assert len(np.unique(labels[inside == 1])) == 1


@pytest.mark.parametrize("block", [16, 37, 512])
def test_outlines_of_large_nested_regions_with_many_blocks(block: int) -> None:
    mask = blobs(150, sigma=1.2, share=0.55)
    ours = traced(mask, block)
    whole = [shape(g) for g, _ in features.shapes(mask.astype(np.uint8), mask, connectivity=4)]
    assert len(ours) == len(whole)
    assert sum(len(p.interiors) for p in ours.outlines) > 20
    assert (features.rasterize(ours.outlines, out_shape=mask.shape) == mask).all()
    assert {p.wkb for p in shapely.normalize(ours.outlines)} == {
        p.wkb for p in shapely.normalize(shapely.make_valid(np.array(whole, object)))
    }


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_an_outline_that_winds_through_many_rows_of_blocks_is_one(block: int) -> None:
    middle = 20
    y, x = np.abs(np.mgrid[-middle : middle + 1, -middle : middle + 1])
    spiral = np.maximum(y, x) % 2 == 0
    for ring in range(2, middle + 1, 2):  # each ring is cut, and hangs on the next one within
        spiral[middle, middle - ring] = False
        spiral[middle - 1, middle - ring + 1] = True
    ours = traced(spiral, block)
    whole = [shape(g) for g, _ in features.shapes(spiral.astype(np.uint8), spiral, connectivity=4)]
    assert len(ours) == len(whole) == 2  # and the one in the middle
    assert {p.wkb for p in shapely.normalize(ours.outlines)} == {
        p.wkb for p in shapely.normalize(shapely.make_valid(np.array(whole, object)))
    }


def test_a_region_that_closes_on_itself_at_a_corner_has_a_hole_there() -> None:
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    (outline,) = traced(mask).outlines
    assert outline.is_valid
    assert len(outline.interiors) == 1
    assert outline.area == 7


def test_the_memory_of_tracing_follows_the_blocks_not_the_raster() -> None:
    largest = []

    def read_noise(window: Any) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        largest.append(window.width * window.height)
        stripes = (np.arange(window.y, window.y + window.height) % 64 < 20)[:, None]
        built_up = np.broadcast_to(stripes, (window.height, window.width)).copy()
        built_up[:, :1] = False
        return built_up, np.ones((window.height, window.width), np.uint8)

    found = [len(regions) for regions in trace(300, 6400, read_noise, (64, 64))]
    assert max(largest) == 64 * 64
    assert sum(found) >= 100
    assert max(found) <= 10  # handed out as they close
