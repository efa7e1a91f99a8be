from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builtup.geo import chains, unfinished
from builtup.geo.regions import Regions, trace
from builtup.geo.unfinished import Unfinished
from traced import masks

#: Holes of fewer pixels lie around no region, and need not be known.
SMALL = 5


def steps(mask: NDArray[np.bool_], block: int) -> list[Regions]:
    height, width = mask.shape
    read = lambda w: (mask[w.slices], mask[w.slices].astype(np.uint8))  # noqa: E731
    return list(trace(width, height, read, (block, block)))


def met(outlines: NDArray[np.object_], rows: int, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes meet the upper part of outlines, which ends at the lattice row `rows`."""
    if not len(outlines):
        return np.zeros(len(boxes), bool)
    edges = shapely.get_coordinates(shapely.get_rings(outlines))
    counts = shapely.get_num_coordinates(shapely.get_rings(outlines))
    start = np.delete(np.arange(len(edges)), np.cumsum(counts) - 1)
    edges = np.stack((edges[start], edges[start + 1]), axis=1)
    low, high = edges.min(axis=1), edges.max(axis=1)
    known = low[:, 1] < rows
    low, high = low[known], np.minimum(high[known], (np.inf, rows))
    meets = (low[None] <= boxes[:, None, 2:]).all(-1) & (high[None] >= boxes[:, None, :2]).all(-1)
    return np.asarray(meets.any(axis=1))


def without_small_holes(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    kept = [
        shapely.Polygon(p.exterior, [r for r in p.interiors if shapely.Polygon(r).area >= SMALL])
        for p in outlines
    ]
    return np.array(kept, object)


@settings(max_examples=80, deadline=None)
@given(masks, st.integers(1, 6), st.integers(0, 10**6))
def test_what_lies_near_an_open_outline_is_found_and_held_until_its_region_ends(
    mask: NDArray[np.bool_], block: int, seed: int
) -> None:
    mask = np.kron(mask, np.ones((1, 2), bool))
    random = np.random.default_rng(seed)
    corner = random.uniform((0, 0), mask.shape[::-1], (200, 2))
    boxes = np.concatenate((corner, corner + random.uniform(0, 1.5, (200, 2))), axis=1)
    found = steps(mask, block)
    follower = Unfinished()
    held = np.full(len(boxes), -1, np.int64)
    for step, regions in enumerate(found):
        for progress in regions.progress:
            held = follower.follow(progress, held)
        free = np.flatnonzero(held < 0)
        held[free] = follower.near(boxes[free])
        rest = [later.outlines for later in found[step + 1 :]]
        still_open = np.concatenate([np.zeros(0, object), *rest])
        least = met(without_small_holes(still_open), regions.rows, boxes)
        most = met(still_open, regions.rows, boxes)
        assert (least <= (held >= 0)).all()
        assert ((held >= 0) <= most).all()


def comb(teeth: int) -> NDArray[np.bool_]:
    """A region whose outline is open to the last row, with holes and a region in each of these."""
    row = np.array(
        [[1, 1, 1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0, 1, 1],
         [1, 0, 0, 0, 0, 0, 1, 0]], bool
    )  # fmt: skip
    return np.tile(row, (teeth, 12))


@pytest.mark.parametrize("teeth", [20, 80])
def test_a_row_of_blocks_looks_at_what_is_new_in_it_not_at_all_that_is_open(
    teeth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = comb(teeth)
    looked_at = {"corners": 0, "edges": 0}
    labels_of, lines = chains.labels_of, unfinished._lines

    def count_corners(following: NDArray[np.int64]) -> NDArray[np.int64]:
        looked_at["corners"] += len(following)
        return labels_of(following)

    def count_edges(edges: chains.Edges) -> NDArray[np.object_]:
        looked_at["edges"] += len(edges)
        return lines(edges)

    monkeypatch.setattr(chains, "labels_of", count_corners)
    monkeypatch.setattr(unfinished, "_lines", count_edges)
    found = steps(mask, 8)
    follower, held = Unfinished(), np.zeros(0, np.int64)
    for regions in found:
        for progress in regions.progress:
            held = follower.follow(progress, held)
        new = follower.near(shapely.bounds(regions.outlines))
        held = np.concatenate((held, new))
    corners = shapely.get_num_coordinates(np.concatenate([r.outlines for r in found])).sum()
    assert sum(len(r) for r in found) == 12 * teeth + 1
    assert looked_at["corners"] < 3 * corners
    assert looked_at["edges"] < 3 * corners
