"""Simplified outlines made exact again where they would meet a neighbour or themselves."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.valid import are_large, are_valid

__all__ = ["restored", "uncrossed"]

Objects = NDArray[np.object_]
Ints = NDArray[np.int64]


def restored(exact: shapely.Polygon, simple: shapely.Polygon, others: Objects) -> shapely.Geometry:
    """`simple` with the vertices of `exact` back wherever it may meet one of `others`.

    Both have the same rings in the same order, on whole coordinates below 2²¹; the vertices of
    `simple` are some of those of `exact`. A stretch between two of them is restored where its box
    meets another polygon; so what is left simplified is apart from all of these. Where this does
    not give a valid polygon within `exact` and `simple` together, it is `exact`.
    """
    xy, ring, polygon = _vertices(exact)
    kept = np.isin(_key(xy, ring), _keys_of(simple))
    start, end = _segments(ring, kept)
    dropped = end - start > 1
    start, end = start[dropped], end[dropped]
    boxes = _boxes(xy, start, end)
    hit = np.unique(shapely.STRtree(boxes).query(others, predicate="intersects")[1])
    for stretch in hit:
        kept[start[stretch] : end[stretch]] = True
    if are_large(np.array([exact]))[0]:
        made = uncrossed(exact, kept)
    else:
        made = _polygon(xy, ring, kept, polygon)
        if not shapely.is_valid(made):
            return exact
    beyond = shapely.difference(made, shapely.union(exact, simple))
    return exact if shapely.area(beyond) > 0 else made


def uncrossed(exact: shapely.Polygon, kept: NDArray[np.bool_]) -> shapely.Geometry:
    """The polygon of the `kept` vertices of `exact`, with the others back where its rings meet.

    `kept` (n,) is true for the ends of each ring and for the points where rings touch. Of two edges
    that meet elsewhere than at a vertex of both, the stretches that they stand for are restored,
    and so is one that may have passed over a whole ring, until none is left; in time linear in the
    vertices for each of the few rounds. What is not valid then is `exact`.
    """
    xy, ring, polygon = _vertices(exact)
    kept = kept.copy()
    rings = np.asarray(shapely.get_rings(exact))
    around = shapely.STRtree(np.asarray(shapely.box(*shapely.bounds(rings).T)))
    while True:
        kept |= (np.bincount(ring[kept], minlength=len(rings)) < 4)[ring]
        start, end = _segments(ring, kept)
        dropped = np.flatnonzero(end - start > 1)
        lines = np.asarray(shapely.linestrings(np.stack((xy[start], xy[end]), axis=1)))
        one, other = shapely.STRtree(lines).query(lines[dropped], predicate="intersects")
        one = dropped[one]
        apart = one != other
        one, other = one[apart], other[apart]
        crossed = _beyond_ends(xy[start[one]], xy[end[one]], xy[start[other]], xy[end[other]])
        boxes = _boxes(xy, start[dropped], end[dropped])
        over, inner = around.query(boxes, predicate="covers")
        over = dropped[over]
        passed = over[ring[start[over]] != inner]
        wrong = np.unique(np.concatenate((one[crossed], other[crossed], passed)))
        wrong = wrong[end[wrong] - start[wrong] > 1]
        if not len(wrong):
            made = _polygon(xy, ring, kept, polygon)
            return made if are_valid(np.array([made]))[0] else exact
        for stretch in wrong.tolist():
            kept[start[stretch] : end[stretch]] = True


def _beyond_ends(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether edges a-b and c-d (n, 2) that meet do so elsewhere than at one shared end."""
    wrong = np.ones(len(a), bool)
    for p, q in ((a, b), (b, a)):
        for r, s in ((c, d), (d, c)):
            same = (p == r).all(axis=1)
            one, other = q - p, s - p
            cross = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
            along = (cross == 0) & ((one * other).sum(axis=1) > 0)
            wrong[same] = along[same]
    return wrong


def _vertices(polygon: shapely.Polygon) -> tuple[NDArray[np.float64], Ints, Ints]:
    """The vertices of a polygon, the ring of each, and the offsets of the polygon in the rings."""
    _, xy, (rings, offsets) = shapely.to_ragged_array([polygon])
    return xy, np.repeat(np.arange(len(rings) - 1), np.diff(rings)), np.asarray(offsets, np.int64)


def _segments(ring: Ints, kept: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The first and the last vertex of each edge between kept vertices."""
    points = np.flatnonzero(kept)
    within = ring[points[:-1]] == ring[points[1:]]
    return points[:-1][within], points[1:][within]


def _boxes(xy: NDArray[np.float64], start: Ints, end: Ints) -> Objects:
    """The box of each stretch, from its first vertex to its last."""
    # a row more closes the last stretch
    padded = np.concatenate((xy, xy[-1:]))
    ends = np.stack((start, end + 1), axis=1).ravel()
    if not len(ends):
        return np.zeros(0, object)
    low, high = (f.reduceat(padded, ends, axis=0)[::2] for f in (np.minimum, np.maximum))
    return np.asarray(shapely.box(*low.T, *high.T))


def _polygon(
    xy: NDArray[np.float64], ring: Ints, kept: NDArray[np.bool_], polygon: Ints
) -> shapely.Geometry:
    """The polygon of the kept vertices."""
    counts = np.bincount(ring[kept], minlength=polygon[-1])
    offsets = (np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))), polygon)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy[kept], offsets)[0]


def _keys_of(polygon: shapely.Polygon) -> Ints:
    xy, ring, _ = _vertices(polygon)
    return _key(xy, ring)


def _key(xy: NDArray[np.float64], ring: Ints) -> Ints:
    """One number for each vertex of each ring."""
    whole = xy.astype(np.int64)
    return np.asarray(ring << 42 | whole[:, 1] << 21 | whole[:, 0])
