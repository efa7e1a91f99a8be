"""Simplified outlines made exact again where they would meet a neighbour, and only there."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["restored"]

Objects = NDArray[np.object_]
Ints = NDArray[np.int64]


def restored(exact: shapely.Polygon, simple: shapely.Polygon, others: Objects) -> shapely.Geometry:
    """`simple` with the vertices of `exact` back wherever it may meet one of `others`.

    Both have the same rings in the same order, on whole coordinates below 2²¹; the vertices of
    `simple` are some of those of `exact`. A stretch between two of them is restored where its box
    meets another polygon; so what is left simplified is apart from all of these. Where this does
    not give a valid polygon within `exact` and `simple` together, it is `exact`.
    """
    _, xy, (rings, polygon) = shapely.to_ragged_array([exact])
    ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
    kept = np.isin(_key(xy, ring), _keys_of(simple))
    points = np.flatnonzero(kept)
    within = ring[points[:-1]] == ring[points[1:]]
    start, end = points[:-1][within], points[1:][within]
    dropped = end - start > 1
    start, end = start[dropped], end[dropped]
    # each box from its stretch's first vertex to its last; a row more closes the last stretch
    padded = np.concatenate((xy, xy[-1:]))
    ends = np.stack((start, end + 1), axis=1).ravel()
    low, high = (f.reduceat(padded, ends, axis=0)[::2] for f in (np.minimum, np.maximum))
    boxes = np.asarray(shapely.box(*low.T, *high.T))
    hit = np.unique(shapely.STRtree(boxes).query(others, predicate="intersects")[1])
    for stretch in hit:
        kept[start[stretch] : end[stretch]] = True
    counts = np.bincount(ring[kept], minlength=len(rings) - 1)
    offsets = (np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))), polygon)
    made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy[kept], offsets)[0]
    if not shapely.is_valid(made):
        return exact
    beyond = shapely.difference(made, shapely.union(exact, simple))
    return exact if shapely.area(beyond) > 0 else made


def _keys_of(polygon: shapely.Polygon) -> Ints:
    _, xy, (rings, _) = shapely.to_ragged_array([polygon])
    return _key(xy, np.repeat(np.arange(len(rings) - 1), np.diff(rings)))


def _key(xy: NDArray[np.float64], ring: Ints) -> Ints:
    """One number for each vertex of each ring."""
    whole = xy.astype(np.int64)
    return np.asarray(ring << 42 | whole[:, 1] << 21 | whole[:, 0])
