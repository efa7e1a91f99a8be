"""Outlines with fewer vertices that stay valid and apart from each other."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.labels.features import Features
from builtup.labels.outlines import Regions

__all__ = ["Simplifier", "simplified"]

Objects = NDArray[np.object_]
Ints = NDArray[np.int64]


def simplified(
    outlines: Objects, fixed: NDArray[np.int32], tolerance: float, pixel: tuple[float, float]
) -> Objects:
    """Remove vertices that lie within `tolerance` (metres) of the outline without them.

    `outlines` are polygons in pixel coordinates, `pixel` the size of a pixel in metres, `fixed`
    (n, 2) the points that stay: where regions touch at a corner. Each polygon is simplified by
    itself (Douglas & Peucker 1973); one that would become invalid stays as it is.
    """
    if tolerance <= 0 or not len(outlines):
        return outlines
    _, xy, offsets = shapely.to_ragged_array(outlines)
    rings, polygons = (np.asarray(values, np.int64) for values in offsets)
    scale = np.array((1.0, pixel[1] / pixel[0]))  # a degree is not as wide as it is high
    xy, count = _douglas_peucker(xy, rings, _key(fixed), scale, tolerance / pixel[0])
    # a ring of fewer than four points encloses nothing: its polygon stays as it is
    collapsed = np.add.reduceat(count < 4, polygons[:-1]) > 0
    whole = np.repeat(~collapsed, np.diff(polygons))
    xy = xy[np.repeat(whole, count)]
    left = (_offsets(count[whole]), _offsets(np.diff(polygons)[~collapsed]))
    simple = outlines.copy()
    simple[~collapsed] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, left)
    return np.where(shapely.is_valid(simple), simple, outlines)


def _douglas_peucker(
    xy: NDArray[np.float64],
    rings: Ints,
    fixed: Ints,
    scale: NDArray[np.float64],
    tolerance: float,
) -> tuple[NDArray[np.float64], Ints]:
    """Simplify closed rings `xy[rings[i]:rings[i + 1]]` between their fixed points.

    Returns the vertices that are left, in order, and how many each ring has.
    """
    cut = np.isin(_key(xy), fixed)
    cut[rings[:-1]] = cut[rings[1:] - 1] = True
    points = np.flatnonzero(cut)
    last = np.isin(points, rings[1:] - 1)
    start, end = points[:-1][~last[:-1]], points[1:][~last[:-1]]  # arcs within their rings
    length = end - start + 1
    index = np.repeat(start - _offsets(length)[:-1], length) + np.arange(length.sum())
    arcs = np.repeat(np.arange(len(start)), length)
    lines = shapely.simplify(
        shapely.linestrings(xy[index] * scale, indices=arcs), tolerance, preserve_topology=False
    )
    left, arc = shapely.get_coordinates(lines, return_index=True)
    ring = (np.searchsorted(rings, start, side="right") - 1)[arc]
    # an arc's last vertex is the next one's first, but for the last arc of a ring
    shared = np.append((arc[1:] != arc[:-1]) & (ring[1:] == ring[:-1]), False)
    count = np.bincount(ring[~shared], minlength=len(rings) - 1)
    return np.rint(left[~shared] / scale), count


def _key(xy: NDArray[np.float64] | NDArray[np.int32]) -> Ints:
    """One number for each lattice point."""
    whole = xy.astype(np.int64)
    return np.asarray(whole[:, 0] << 32 | whole[:, 1])


def _offsets(counts: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


class Simplifier:
    """Simplifies regions as they come, and keeps them from running into each other.

    Where a simplified outline would meet a neighbour, simplified or not, both stay as they are;
    so the result depends neither on the order of the regions nor on how they are batched. A region
    is settled once no outline that is still open lies within the tolerance of its box: until then
    a neighbour may come. Memory follows what is not settled.
    """

    def __init__(self, tolerance: float, pixel: tuple[float, float]) -> None:
        """`tolerance` in metres, `pixel` the width and height of a pixel in metres."""
        self.tolerance = tolerance
        self.pixel = pixel
        self.reach = max(tolerance / pixel[0], tolerance / pixel[1])  # in pixels
        self._features = Features.none()  # with exact outlines
        self._simple: Objects = np.zeros(0, object)
        self._clash = np.zeros(0, bool)

    def add(self, features: Features, regions: Regions) -> Features:
        """Take in features in pixel coordinates; return those that are settled now, simplified.

        `regions` are those that the features were taken from: they know what is still open.
        """
        known = len(self._features)
        simple = simplified(features.polygons, regions.touching, self.tolerance, self.pixel)
        self._features = self._features.joined(features)
        self._simple = np.concatenate((self._simple, simple))
        self._clash = np.concatenate((self._clash, np.zeros(len(features), bool)))
        self._clash |= self._clashes(known)
        return self._release(~self._unsettled(regions))

    def rest(self) -> Features:
        """Return all that is left, after the last regions."""
        return self._release(np.ones(len(self._features), bool))

    def _clashes(self, known: int) -> NDArray[np.bool_]:
        """Which regions meet one of those from index `known` on, now that they are simplified."""
        clash = np.zeros(len(self._features), bool)
        if self.tolerance <= 0:
            return clash
        exact, simple = self._features.polygons, self._simple
        # a simplified outline lies within the box of the exact one
        one, other = shapely.STRtree(exact).query(exact[known:])
        one = one + known
        once = (other < known) | (other < one)
        one, other = one[once], other[once]
        shapely.prepare(exact)
        shapely.prepare(simple)
        for mine, theirs in (
            (simple, simple),
            (simple, exact),
            (exact, simple),
        ):
            meet = _overlap(mine, one, theirs, other)
            clash[one[meet]] = clash[other[meet]] = True
        return clash

    def _unsettled(self, regions: Regions) -> NDArray[np.bool_]:
        """Which regions an outline that is still open, or begins further down, may yet meet."""
        boxes = shapely.bounds(self._features.polygons)
        near = boxes[:, 3] + self.reach >= regions.rows
        if len(regions.open_edges):
            reach = np.array((-1, -1, 1, 1)) * self.reach
            tree = shapely.STRtree(np.asarray(shapely.box(*(boxes + reach).T)))
            hit = tree.query(shapely.linestrings(regions.open_edges.astype(np.float64)))[1]
            near[hit] = True
        return near

    def _release(self, settled: NDArray[np.bool_]) -> Features:
        exact, simple = self._features.polygons, self._simple
        shapely.destroy_prepared(exact)
        shapely.destroy_prepared(simple)
        released = self._features.reshaped(np.where(self._clash, exact, simple)).taken(settled)
        self._features = self._features.taken(~settled)
        self._simple, self._clash = simple[~settled], self._clash[~settled]
        return released


def _overlap(mine: Objects, one: Ints, theirs: Objects, other: Ints) -> NDArray[np.bool_]:
    """Whether the interiors of pairs of polygons meet; the first ones are prepared."""
    meet = shapely.intersects(mine[one], theirs[other])
    pairs = np.flatnonzero(meet)
    meet[pairs] = ~shapely.touches(mine[one[pairs]], theirs[other[pairs]])
    return np.asarray(meet)
