"""Outlines for work: without small holes and needless vertices, valid, and apart from each other.

`Generaliser` fills small holes, takes away vertices (`simplify`), and lays edges at right angles
(`square`) where that is wanted. Each outline is worked on by itself. Neighbours keep the corners at
which they touch; where two of them overlap after all, which is rare (9 pairs of 25,910 polygons at
a tolerance of two pixels), the larger one is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.regions import Regions
from builtup.geo.simplify import Vertices, simplified
from builtup.geo.square import squared
from builtup.geo.vector_writers import Features
from builtup.options import PolygonOptions

__all__ = ["Generaliser", "without_small_holes"]

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Vertices of a polygon above which only its edges near another one are looked at.
_MANY = 10_000


class Generaliser:
    """Generalises regions as they come, and hands them out once no other can overlap them.

    The result depends neither on the order of the regions nor on how they are batched. Memory
    follows the regions that reach below the uppermost corner that is still open.
    """

    def __init__(self, options: PolygonOptions, grid: Grid) -> None:
        """`grid` is that of the mask: its pixels' size in metres, and the way to its CRS."""
        self.options, self.grid = options.sized(), grid
        self.pixel = grid.metres_per_pixel
        #: how far squaring may move an edge, in metres; a corner moves with two of them
        self.limit = 1.5 * max(self.options.simplify, *self.pixel)
        self.reach = 2 * np.sqrt(2) * self.limit / min(self.pixel) if options.square else 0.0
        self._waiting = _Waiting.of(Features.none(), np.zeros(0, object), np.zeros(0, bool))
        #: by the id of a polygon, the smaller ones that overlap it
        self._within: dict[int, list[shapely.Polygon]] = {}

    def add(self, features: Features, regions: Regions) -> Features:
        """Take in features, the regions that they were taken from; return what is finished.

        Features come in pixel coordinates (column, row) and leave in those of the grid's CRS.
        Those of less than the least area are left out. One that was cut in two leaves as two of
        one id, which share its area.
        """
        options = self.options
        large = features.area_m2 >= options.min_area
        of_hole = np.repeat(large, shapely.get_num_interior_rings(regions.outlines))
        pixel_area = features.area_m2 / regions.pixels
        features = features.taken(large)
        outlines = without_small_holes(
            features.polygons,
            regions.vacant[of_hole],
            pixel_area[large],
            min_hole=options.min_hole,
            min_area=options.min_area,
        )
        simple = simplified(outlines, regions.touching, options.simplify, self.grid)
        square, is_square = simple, np.zeros(len(simple), bool)
        if options.square:
            square, is_square = squared(simple, self.pixel, self.limit)
        known = len(self._waiting)
        new = _Waiting.of(replace(features, polygons=simple), square, is_square)
        self._waiting = self._waiting.concatenated(new)
        if options.simplify > 0 or options.square:
            self._compare(known)
        return self._release(self._waiting.bottom + self.reach <= regions.open_from)

    def rest(self) -> Features:
        """Return all that is left, after the last regions."""
        return self._release(np.ones(len(self._waiting), bool))

    def _compare(self, known: int) -> None:
        """Find which of those from index `known` on overlap another."""
        waiting = self._waiting
        simple, square = waiting.polygons, waiting.square
        one, other = _pairs(waiting.boxes, known)
        hit = _overlap(simple, one, simple, other)
        areas = shapely.area(simple) if hit.any() else np.zeros(0)
        for pair in zip(one[hit].tolist(), other[hit].tolist(), strict=True):
            # of two alike the later one is cut
            smaller, larger = sorted(pair, key=lambda i: (areas[i], waiting.id[i]))
            self._within.setdefault(int(waiting.id[larger]), []).append(simple[smaller])
        for a, b in ((one, other), (other, one)):
            a, b = a[waiting.is_square[a]], b[waiting.is_square[a]]
            hit = _overlap(square, a, simple, b)
            # also where the other one's has been given up: else the order would matter
            hit |= _overlap(square, a, square, b)
            waiting.is_square[a[hit]] = False

    def _release(self, finished: Bools) -> Features:
        released = self._waiting.taken(finished)
        self._waiting = self._waiting.taken(~finished)
        polygons = np.where(released.is_square, released.square, released.polygons)
        within = [self._within.pop(number, []) for number in released.id.tolist()]
        cut = np.array([bool(smaller) for smaller in within], bool) & ~released.is_square
        ground = np.asarray(shapely.transform(polygons, self.grid.to_ground))
        features = Features(ground, released.id, released.area_m2, released.mean_prob)
        if not cut.any():
            return features
        left = [
            self._parts(features.taken(np.array([i])), shapely.difference(polygons[i], smaller))
            for i, smaller in ((i, shapely.union_all(within[i])) for i in np.flatnonzero(cut))
        ]
        features = features.taken(~cut).concatenated(*left)
        return features.taken(np.argsort(features.id, kind="stable"))

    def _parts(self, feature: Features, geometry: shapely.Geometry) -> Features:
        """What is left of a feature: its largest part, and others of the least area."""
        placed = shapely.transform(geometry, self.grid.to_ground)
        if not shapely.is_valid(placed):  # by a rounding
            placed = shapely.make_valid(placed)
        polygons = shapely.get_parts(shapely.get_parts(placed))  # of collections, of multipolygons
        polygons = polygons[shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON]
        areas = shapely.area(polygons)
        kept = feature.area_m2 * areas >= self.options.min_area * areas.sum()
        kept |= areas == areas.max(initial=0)
        areas = areas[kept]
        same = feature.taken(np.zeros(len(areas), np.int64))
        return replace(same, polygons=polygons[kept], area_m2=same.area_m2 * areas / areas.sum())


@dataclass(frozen=True)
class _Waiting(Features):
    """Features (n) that are simplified, with their squared forms, and the boxes (n, 4) around both.

    `is_square` says which may take theirs.
    """

    square: Objects
    is_square: Bools
    boxes: Floats

    @classmethod
    def of(cls, features: Features, square: Objects, is_square: Bools) -> _Waiting:
        boxes = shapely.bounds(np.stack((features.polygons, square))).reshape(2, -1, 4)
        around = np.concatenate((boxes[..., :2].min(axis=0), boxes[..., 2:].max(axis=0)), axis=1)
        f = features
        return cls(f.polygons, f.id, f.area_m2, f.mean_prob, square, is_square, around)

    @property
    def bottom(self) -> Floats:
        """Lowest row that each reaches."""
        return self.boxes[:, 3]


def _pairs(boxes: Floats, known: int) -> tuple[Ints, Ints]:
    """Indices of boxes (n, 4) that meet, each pair once, one of them at least from `known` on."""
    if known == len(boxes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    least, most = boxes[known:, :2].min(axis=0), boxes[known:, 2:].max(axis=0)
    near = np.flatnonzero((boxes[:, :2] <= most).all(axis=1) & (boxes[:, 2:] >= least).all(axis=1))
    areas = np.asarray(shapely.box(*boxes[near].T))  # those from `known` on are the last
    other, one = shapely.STRtree(areas[known - len(boxes) :]).query(areas)
    one, other = one + known, near[other]
    once = other < one  # those known before are below all of the others
    return one[once], other[once]


def _overlap(forms: Objects, one: Ints, others: Objects, other: Ints) -> Bools:
    """Whether the interiors of pairs (n) meet, of `forms[one]` and `others[other]`."""
    first, second = (shapely.get_num_coordinates(of) for of in (forms, others))
    swap = first[one] < second[other]
    pair = forms[one], others[other]
    larger, smaller = np.where(swap, pair[::-1], pair)
    few = np.maximum(first[one], second[other]) <= _MANY
    meet = np.zeros(len(one), bool)
    shapely.prepare(larger[few])
    meet[few] = shapely.intersects(larger[few], smaller[few])
    touching = np.flatnonzero(meet)
    meet[touching] = ~shapely.touches(larger[touching], smaller[touching])
    shapely.destroy_prepared(larger[few])
    number = np.where(swap, len(forms) + other, one)
    for polygon in np.unique(number[~few]):
        of = number == polygon
        meet[of] = _overlap_large(larger[of][0], smaller[of])
    return meet


def _overlap_large(polygon: shapely.Polygon, others: Objects) -> Bools:
    """The same of one polygon with many vertices and others (n).

    Where no edge of it runs through the inside of another one, this lies within or without it as a
    whole, so one point tells. (A prepared polygon still looks at each of its rings, each time.)
    """
    vertices = Vertices.of(np.array([polygon]), np.zeros((0, 2), np.int32), np.ones(2))
    lines, _, _ = vertices.arcs(np.arange(len(vertices.xy)) % 32 == 0)
    other, line = shapely.STRtree(lines).query(others, predicate="intersects")
    meet = np.zeros(len(others), bool)
    meet[other[~shapely.touches(others[other], lines[line])]] = True
    rest = np.flatnonzero(~meet)
    shapely.prepare(polygon)
    within = shapely.get_coordinates(shapely.point_on_surface(others[rest]))
    meet[rest] = shapely.intersects_xy(polygon, *within.T)
    shapely.destroy_prepared(polygon)
    return meet


def without_small_holes(
    outlines: Objects, vacant: Bools, pixel_area: Floats, *, min_hole: float, min_area: float
) -> Objects:
    """Polygons without their holes below `min_hole` (m²).

    `outlines` (n) are in pixel coordinates, `pixel_area` (n, m²) that of a pixel of each; `vacant`
    has a value for each hole, in the order of the outlines: nothing is built up in it. A hole in
    which a polygon of `min_area` or more may lie stays, so that no two polygons overlap.
    """
    if min_hole <= 0 or not len(vacant):
        return outlines
    rings, owner = shapely.get_rings(outlines, return_index=True)
    hole = np.concatenate((np.zeros(1, bool), owner[1:] == owner[:-1]))
    area = shapely.area(shapely.polygons(rings[hole])) * pixel_area[owner[hole]]
    filled = (area < min_hole) & (vacant | (area <= min_area))
    if not filled.any():
        return outlines
    changed = np.zeros(len(outlines), bool)
    changed[owner[hole][filled]] = True
    kept = changed[owner]
    kept[np.flatnonzero(hole)[filled]] = False
    number = np.cumsum(changed) - 1
    out = outlines.copy()
    out[changed] = shapely.polygons(rings[kept], indices=number[owner[kept]])
    return out
