"""Outlines with fewer vertices that stay valid and apart from each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.columns import ranges
from builtup.geo.features import Features
from builtup.geo.overlap import overlaps
from builtup.geo.regions import Regions
from builtup.geo.restore import restored, uncrossed
from builtup.geo.square import squared
from builtup.geo.unfinished import Unfinished
from builtup.geo.valid import are_large, are_valid

__all__ = ["Simplifier", "simplified"]

Objects = NDArray[np.object_]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Lines times vertices of a polygon up to which GEOS simplifies it within some tenths of a second.
_FOR_GEOS = 10_000_000
#: Vertices of a polygon above which only its edges near another are looked at.
_FOR_TOUCHES = 10_000


def simplified(
    outlines: Objects, fixed: NDArray[np.int32], tolerance: float, pixel: tuple[float, float]
) -> Objects:
    """Remove vertices that lie within `tolerance` (metres) of the outline without them.

    `outlines` are polygons in pixel coordinates, `pixel` the size of a pixel in metres, `fixed`
    (n, 2) the points that stay: where regions touch at a corner. Each polygon is simplified by
    itself (Douglas & Peucker 1973); one that would become invalid keeps more of its vertices.
    """
    if tolerance <= 0 or not len(outlines):
        return outlines
    _, xy, offsets = shapely.to_ragged_array(outlines)
    rings, polygons = (np.asarray(values, np.int64) for values in offsets)
    scale = np.array((1.0, pixel[1] / pixel[0]))  # a degree is not as wide as it is high
    xy, count = _douglas_peucker(xy, rings, _key(fixed), scale, tolerance / pixel[0])
    # a ring of fewer than four points encloses nothing
    collapsed = np.add.reduceat(count < 4, polygons[:-1]) > 0
    whole = np.repeat(~collapsed, np.diff(polygons))
    xy = xy[np.repeat(whole, count)]
    left = (_offsets(count[whole]), _offsets(np.diff(polygons)[~collapsed]))
    simple = outlines.copy()
    simple[~collapsed] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, left)
    bad = collapsed | are_large(outlines)  # of large ones, `are_valid` does not ask everything
    bad[~bad] = ~shapely.is_valid(simple[~bad])
    for i in np.flatnonzero(bad):
        simple[i] = _keeping_topology(outlines[i], _key(fixed), scale, tolerance / pixel[0])
    return simple


def _keeping_topology(
    outline: shapely.Polygon, fixed: Ints, scale: NDArray[np.float64], tolerance: float
) -> shapely.Geometry:
    """The same for one polygon, whose rings are kept from crossing: slower by far.

    GEOS watches over all lines of a collection, and leaves the ends of each as they are. As it
    looks at all of them for each edge, the largest polygons are made exact where they cross.
    """
    _, xy, offsets = shapely.to_ragged_array([outline])
    rings, polygon = (np.asarray(values, np.int64) for values in offsets)
    lines, ring = _arcs(xy * scale, rings, np.isin(_key(xy), fixed))
    if len(lines) * len(xy) > _FOR_GEOS:
        left, count = _douglas_peucker(xy, rings, fixed, scale, tolerance)
        return uncrossed(outline, _among(xy, rings, left, count))
    kept = shapely.simplify(shapely.multilinestrings(lines), tolerance, preserve_topology=True)
    arcs = shapely.get_parts(kept)
    if len(arcs) != len(lines):
        return outline
    left, count = _joined(arcs, ring, len(rings) - 1)
    made = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.rint(left / scale), (_offsets(count), polygon)
    )[0]
    return made if count.min() >= 4 and shapely.is_valid(made) else outline


def _among(xy: NDArray[np.float64], rings: Ints, left: NDArray[np.float64], count: Ints) -> Bools:
    """Which vertices of rings are among those that are `left`, `count` of each ring, in order."""
    kept = np.zeros(len(xy), bool)
    for first, (begin, end), n in zip(_offsets(count), pairwise(rings), count, strict=False):
        kept[begin:end] = np.isin(_key(xy[begin:end]), _key(left[first : first + n]))
    return kept


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
    lines, ring = _arcs(xy * scale, rings, np.isin(_key(xy), fixed))
    lines = shapely.simplify(lines, tolerance, preserve_topology=False)
    left, count = _joined(lines, ring, len(rings) - 1)
    return np.rint(left / scale), count


def _arcs(xy: NDArray[np.float64], rings: Ints, cut: NDArray[np.bool_]) -> tuple[Objects, Ints]:
    """Lines between the vertices where rings are cut (their ends too), and the ring of each."""
    cut = cut.copy()
    cut[rings[:-1]] = cut[rings[1:] - 1] = True
    points = np.flatnonzero(cut)
    last = np.isin(points, rings[1:] - 1)
    start, end = points[:-1][~last[:-1]], points[1:][~last[:-1]]
    length = end - start + 1
    lines = shapely.linestrings(
        xy[ranges(start, length)], indices=np.repeat(np.arange(len(start)), length)
    )
    return np.asarray(lines), np.searchsorted(rings, start, side="right") - 1


def _joined(lines: Objects, ring: Ints, rings: int) -> tuple[NDArray[np.float64], Ints]:
    """The vertices of the rings that arcs make up, in order, and how many each ring has."""
    xy, arc = shapely.get_coordinates(lines, return_index=True)
    of = ring[arc]
    # an arc's last vertex is the next one's first, but for the last arc of a ring
    shared = np.append((arc[1:] != arc[:-1]) & (of[1:] == of[:-1]), False)
    return xy[~shared], np.bincount(of[~shared], minlength=rings)


def _key(xy: NDArray[np.float64] | NDArray[np.int32]) -> Ints:
    """One number for each lattice point."""
    whole = xy.astype(np.int64)
    return np.asarray(whole[:, 0] << 32 | whole[:, 1])


def _offsets(counts: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


class Simplifier:
    """Simplifies regions as they come, and keeps them from running into each other.

    Where a simplified outline would meet a neighbour, simplified or not, both become exact again
    there (`restore`). With `square`, a polygon gets right angles where that keeps it valid, of
    nearly the same area, and apart from every form that a neighbour may have. So the result depends
    neither on the order of the regions nor on how they are batched. A region is settled once no
    outline that is still open lies within reach of its box: until then a neighbour may come.
    Memory follows what is not settled.
    """

    def __init__(
        self,
        tolerance: float,
        pixel: tuple[float, float],
        *,
        square: bool = False,
        placed: Callable[[Objects], Objects] | None = None,
    ) -> None:
        """`tolerance` in metres, `pixel` the width and height of a pixel in metres.

        `placed` gives polygons their coordinates on the ground: what is not valid there stays exact
        (rings that touch in the midst of an edge may cross once coordinates are rounded).
        """
        self.tolerance = tolerance
        self.pixel = pixel
        self.square = square
        self.placed = placed
        #: how far squaring may move an edge, in metres; a corner moves with two of them
        self.limit = 1.5 * max(tolerance, *pixel)
        moved = 2 * np.sqrt(2) * self.limit if square else 0.0
        self.reach = float(tolerance + moved) / min(pixel)  # in pixels
        self._waiting = _Waiting.none()
        self._unfinished = Unfinished()

    def add(self, features: Features, regions: Regions) -> Features:
        """Take in features in pixel coordinates; return those that are settled now, simplified.

        `regions` are those that the features were taken from: they know what is still open.
        """
        exact = features.polygons
        simple = simplified(exact, regions.touching, self.tolerance, self.pixel)
        square, is_square = simple, np.zeros(len(features), bool)
        if self.square:
            square, is_square = squared(simple, self.pixel, self.limit)
        known = len(self._waiting)
        self._waiting = self._waiting.joined(_Waiting.of(features, simple, square, is_square))
        if self.tolerance > 0 or self.square:
            self._waiting.compare(known, self.reach)
        return self._release(~self._unsettled(regions))

    def rest(self) -> Features:
        """Return all that is left, after the last regions."""
        return self._release(np.ones(len(self._waiting), bool))

    def _unsettled(self, regions: Regions) -> Bools:
        """Which regions an outline that is still open, or begins further down, may yet meet."""
        waiting, unfinished = self._waiting, self._unfinished
        held_by = waiting.held_by
        for progress in regions.progress:
            held_by[:] = unfinished.follow(progress, held_by)
        near = waiting.boxes[:, 3] + self.reach >= regions.rows
        free = np.flatnonzero((held_by < 0) & ~near)
        reach = np.array((-1, -1, 1, 1)) * self.reach
        held_by[free] = unfinished.near(waiting.boxes[free] + reach)
        return near | (held_by >= 0)

    def _release(self, settled: NDArray[np.bool_]) -> Features:
        released = self._waiting.taken(settled)
        self._waiting = self._waiting.taken(~settled)
        chosen = released.chosen()
        if self.placed is not None and (self.tolerance > 0 or self.square):
            bad = ~are_valid(self.placed(chosen))
            chosen[bad] = released.features.polygons[bad]
        return released.features.reshaped(chosen)


@dataclass(frozen=True)
class _Waiting:
    """Regions with the forms that they may take: exact, simplified, squared.

    `is_square` says which are squared indeed, `boxes` (n, 4) are those of the exact forms.
    `held_by` is the part of an unfinished outline (`Unfinished`) that each must wait for, −1 for
    none. `meets` holds, for a region (by id) whose simplified form meets a neighbour, both forms
    of these neighbours.
    """

    features: Features
    simple: Objects
    square: Objects
    is_square: Bools
    boxes: NDArray[np.float64]
    held_by: Ints
    meets: dict[int, list[shapely.Geometry]] = field(default_factory=dict)

    @classmethod
    def of(cls, features: Features, simple: Objects, square: Objects, is_square: Bools) -> _Waiting:
        """Regions that nothing is known of yet."""
        boxes = shapely.bounds(features.polygons).reshape(-1, 4)
        return cls(features, simple, square, is_square, boxes, np.full(len(features), -1))

    @classmethod
    def none(cls) -> _Waiting:
        nothing = np.zeros(0, object)
        return cls.of(Features.none(), nothing, nothing, np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.features)

    def joined(self, other: _Waiting) -> _Waiting:
        return _Waiting(
            self.features.concatenated(other.features),
            np.concatenate((self.simple, other.simple)),
            np.concatenate((self.square, other.square)),
            np.concatenate((self.is_square, other.is_square)),
            np.concatenate((self.boxes, other.boxes)),
            np.concatenate((self.held_by, other.held_by)),
            self.meets | other.meets,
        )

    def taken(self, wanted: Bools) -> _Waiting:
        features = self.features.taken(wanted)
        ids = set(features.id.tolist()) & self.meets.keys()
        return _Waiting(
            features,
            self.simple[wanted],
            self.square[wanted],
            self.is_square[wanted],
            self.boxes[wanted],
            self.held_by[wanted],
            {i: self.meets[i] for i in ids},
        )

    def compare(self, known: int, reach: float) -> None:
        """Find which forms of those from index `known` on meet a neighbour's."""
        exact, simple, square = self.features.polygons, self.simple, self.square
        one, other = self._pairs(known, reach)
        once = (other < known) | (other < one)
        one, other = one[once], other[once]
        concerned = np.unique(np.concatenate((one, other)))
        prepared = [forms[concerned] for forms in (exact, simple, square)]
        for forms in prepared:
            shapely.prepare(forms)
        meet = np.zeros(len(one), bool)
        for mine, theirs in ((simple, simple), (simple, exact), (exact, simple)):
            meet |= _overlap(mine, one, theirs, other)
        for i, j in zip(one[meet].tolist(), other[meet].tolist(), strict=True):
            for a, b in ((i, j), (j, i)):
                near = self.meets.setdefault(int(self.features.id[a]), [])
                near += [exact[b], simple[b]]
        for a, b in ((one, other), (other, one)):
            able = self.is_square[a]
            a, b = a[able], b[able]
            hit = _overlap(square, a, exact, b) | _overlap(square, a, simple, b)
            # also where the other one's has been given up: else the order would matter
            hit |= _overlap(square, a, square, b)
            self.is_square[a[hit]] = False
        for forms in prepared:
            shapely.destroy_prepared(forms)

    def _pairs(self, known: int, reach: float) -> tuple[Ints, Ints]:
        """Indices of those from `known` on, and of regions whose boxes meet that of each."""
        # a simplified outline lies within the box of the exact one, a squared one within reach
        boxes = self.boxes
        if self.is_square.any():
            boxes = boxes + np.array((-1, -1, 1, 1)) * reach
        if known == len(boxes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        least, most = boxes[known:, :2].min(axis=0), boxes[known:, 2:].max(axis=0)
        near = np.flatnonzero(
            (boxes[:, :2] <= most).all(axis=1) & (boxes[:, 2:] >= least).all(axis=1)
        )
        areas = np.asarray(shapely.box(*boxes[near].T))  # those from `known` on are the last
        other, one = shapely.STRtree(areas[known - len(boxes) :]).query(areas)
        return one + known, near[other]

    def chosen(self) -> Objects:
        """The form of each region that keeps it apart from all the others."""
        out = np.where(self.is_square, self.square, self.simple)
        for i in np.flatnonzero(~self.is_square):
            near = self.meets.get(int(self.features.id[i]))
            if near is not None:
                others = np.array(near, object)
                out[i] = restored(self.features.polygons[i], self.simple[i], others)
        return out


def _overlap(mine: Objects, one: Ints, theirs: Objects, other: Ints) -> Bools:
    """Whether the interiors of pairs of polygons meet; all of them are prepared."""
    first, second = mine[one], theirs[other]
    # prepared, a polygon answers in time that hardly depends on its size; the second one is walked
    vertices, of_second = (
        shapely.get_num_coordinates(forms)[of] for forms, of in ((mine, one), (theirs, other))
    )
    swapped = vertices < of_second
    first[swapped], second[swapped] = second[swapped], first[swapped]
    is_large = np.maximum(vertices, of_second) > _FOR_TOUCHES
    meet = np.zeros(len(first), bool)
    small = ~is_large
    meet[small] = shapely.intersects(first[small], second[small])
    touching = np.flatnonzero(meet)
    meet[touching] = ~shapely.touches(first[touching], second[touching])
    # of a prepared one that is large, too much is still looked at each time
    by_polygon: dict[int, list[int]] = {}
    for pair in np.flatnonzero(is_large).tolist():
        by_polygon.setdefault(id(first[pair]), []).append(pair)
    for of in by_polygon.values():
        meet[of] = overlaps(first[of[0]], second[of])
    return meet
