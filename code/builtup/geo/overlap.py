"""Whether a polygon of very many vertices overlaps others."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["overlaps"]

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Side of the cells, in pixels, in which edges and other polygons are brought together.
_CELL = 64.0


def overlaps(polygon: shapely.Polygon, others: Objects) -> Bools:
    """Whether the interior of a polygon meets those of others (n,), which it may touch.

    Where no edge of the polygon runs through the inside of another one, this lies within or
    without it as a whole, so one point tells. The polygon is best prepared.
    """
    edges = _edges_near(polygon, shapely.bounds(others))
    other, edge = shapely.STRtree(edges).query(others)
    order = np.argsort(other, kind="stable")
    some, index = np.unique(other[order], return_inverse=True)
    lines = np.asarray(shapely.multilinestrings(edges[edge[order]], indices=index))
    meet = np.zeros(len(others), bool)
    meet[some] = shapely.intersects(others[some], lines) & ~shapely.touches(others[some], lines)
    rest = np.flatnonzero(~meet)
    within = shapely.get_coordinates(shapely.point_on_surface(others[rest]))
    meet[rest] = shapely.intersects_xy(polygon, *within.T)
    return meet


def _edges_near(polygon: shapely.Polygon, boxes: Floats) -> Objects:
    """The edges of a polygon, as lines, that may meet one of some boxes (n, 4)."""
    _, xy, (rings, _) = shapely.to_ragged_array([polygon])
    starts = np.delete(np.arange(len(xy)), np.asarray(rings[1:], np.int64) - 1)
    edges = np.stack((xy[starts], xy[starts + 1]), axis=1)
    least = boxes[:, :2].min(axis=0)
    size = _cells(boxes[:, 2:].max(axis=0), least) + 1
    taken = np.zeros(size, bool)
    for (x, y), (to_x, to_y) in zip(
        _cells(boxes[:, :2], least).tolist(), _cells(boxes[:, 2:], least).tolist(), strict=True
    ):
        taken[x : to_x + 1, y : to_y + 1] = True
    before = np.zeros(size + 1, np.int64)  # how many cells are taken before each one
    before[1:, 1:] = taken.cumsum(axis=0).cumsum(axis=1)
    x, y = np.clip(_cells(edges.min(axis=1), least), 0, size).T
    to_x, to_y = np.clip(_cells(edges.max(axis=1), least) + 1, 0, size).T
    near = before[to_x, to_y] - before[x, to_y] - before[to_x, y] + before[x, y] > 0
    return np.asarray(shapely.linestrings(edges[near]))


def _cells(xy: Floats, origin: Floats) -> NDArray[np.int64]:
    return np.floor((xy - origin) / _CELL).astype(np.int64)
