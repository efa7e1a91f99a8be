"""Outlines for work: without small holes and needless vertices, valid, and apart from each other.

Exact outlines are stairs of pixels. `Generaliser` fills their small holes, takes away vertices
within a tolerance (Douglas & Peucker 1973), and lays them at right angles where that is wanted.
Each outline is simplified by itself, its rings kept from crossing where they would (`_untangled`).
Neighbours keep the corners at which they touch; where two of them overlap after all, which is rare
(9 of 25,910 polygons at a tolerance of two pixels), the larger one is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.columns import ranges
from builtup.geo.grid import Grid
from builtup.geo.regions import Regions
from builtup.geo.square import squared
from builtup.geo.vector_writers import Features
from builtup.options import PolygonOptions

__all__ = ["Generaliser", "simplified", "without_small_holes"]

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
#: Holes times vertices of the shell above which GEOS takes long to tell whether a polygon is valid:
#: it looks for each hole at all of the shell.
_LARGE = 100_000_000
#: Side, in pixels, of the squares in which rings are kept from crossing: GEOS looks at all lines
#: for each edge, so it is given few at once.
_CELL = 128


class Generaliser:
    """Generalises regions as they come, and hands them out once no other can overlap them.

    The result depends neither on the order of the regions nor on how they are batched. Memory
    follows the regions that reach below the uppermost corner that is still open.
    """

    def __init__(self, options: PolygonOptions, grid: Grid) -> None:
        """`grid` is that of the mask: its pixels' size in metres, and the way to its CRS."""
        self.options, self.grid = options, grid
        self.pixel = grid.metres_per_pixel
        #: how far squaring may move an edge, in metres; a corner moves with two of them
        self.limit = 1.5 * max(options.simplify, *self.pixel)
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
        hit = _overlap(simple[one], simple[other])
        areas = shapely.area(simple)
        for a, b in zip(one[hit].tolist(), other[hit].tolist(), strict=True):
            # of two alike the later one is cut
            larger, smaller = sorted((a, b), key=lambda i: (areas[i], waiting.id[i]), reverse=True)
            self._within.setdefault(int(waiting.id[larger]), []).append(simple[smaller])
        for a, b in ((one, other), (other, one)):
            a, b = a[waiting.is_square[a]], b[waiting.is_square[a]]
            hit = _overlap(square[a], simple[b])
            # also where the other one's has been given up: else the order would matter
            hit |= _overlap(square[a], square[b])
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


def _overlap(one: Objects, other: Objects) -> Bools:
    """Whether the interiors of pairs of polygons meet."""
    vertices = shapely.get_num_coordinates(np.stack((one, other)))
    larger, smaller = np.where(vertices[0] >= vertices[1], (one, other), (other, one))
    shapely.prepare(larger)  # answers in a time that hardly depends on its size
    meet = np.asarray(shapely.intersects(larger, smaller))
    meet[meet] = ~shapely.touches(larger[meet], smaller[meet])
    shapely.destroy_prepared(larger)
    return meet


# --- holes ------------------------------------------------------------------------------------


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


# --- vertices ---------------------------------------------------------------------------------


def simplified(
    outlines: Objects, fixed: NDArray[np.int32], tolerance: float, grid: Grid
) -> Objects:
    """Outlines without vertices that lie within `tolerance` (metres) of what is left.

    `outlines` (n) are exact polygons in pixel coordinates of `grid`, `fixed` (m, 2) the points that
    stay: where regions touch at a corner. Each polygon is simplified by itself; what is left are
    some of its vertices. It is valid, also with coordinates on the ground.
    """
    if tolerance <= 0 or not len(outlines):
        return outlines
    width, height = grid.metres_per_pixel
    vertices = _Vertices.of(outlines, fixed, np.array((1.0, height / width)))
    tolerance /= width
    lines, ring, _ = vertices.arcs(vertices.fixed)
    lines = shapely.simplify(lines, tolerance, preserve_topology=False)
    out, bad = vertices.polygons_of(lines, ring, outlines)
    holes = shapely.get_num_interior_rings(outlines)
    large = holes * shapely.get_num_coordinates(shapely.get_exterior_ring(outlines)) > _LARGE
    bad |= large
    bad[~bad] = ~_are_valid(out[~bad], grid)
    if bad.any():
        out[bad] = _untangled(outlines[bad], fixed, vertices.scale, tolerance)
        wrong = bad & ~large
        wrong[wrong] = ~_are_valid(out[wrong], grid)
        out[wrong] = outlines[wrong]
    return out


def _are_valid(polygons: Objects, grid: Grid) -> Bools:
    """Which are valid on the ground: rings that touch in the midst of an edge may cross there by a
    rounding."""
    return np.asarray(shapely.is_valid(shapely.transform(polygons, grid.to_ground)))


def _untangled(
    outlines: Objects, fixed: NDArray[np.int32], scale: Floats, tolerance: float
) -> Objects:
    """Outlines simplified by GEOS's rule that lines given together never cross: slower by far.

    Rings are cut where they leave a square of `_CELL` pixels, and simplified square by square: an
    arc lies in one, and so does all that it may cross. The edges that lead from one to another
    stay, and so does a ring that would enclose nothing.
    """
    vertices = _Vertices.of(outlines, fixed, scale)
    cell = (vertices.xy // _CELL).astype(np.int64)
    columns, rows = cell.max(axis=0) + 1
    leaves = (cell[1:] != cell[:-1]).any(axis=1)
    cut = vertices.fixed.copy()
    cut[:-1] |= leaves
    cut[1:] |= leaves
    while True:
        lines, ring, ends = vertices.arcs(cut)
        least, most = np.minimum(*cell[ends]), np.maximum(*cell[ends])
        wide, high = (most - least + 1).T
        # a line stands in each square that it meets: an edge that leads from one to another in both
        line = np.repeat(np.arange(len(lines)), wide * high)
        x, y = np.divmod(ranges(np.zeros(len(lines), np.int64), wide * high), high[line])
        x, y = x + least[line, 0], y + least[line, 1]
        place = (vertices.polygon[ring[line]] * columns + x) * rows + y
        order = np.argsort(place, kind="stable")
        line, place = line[order], np.unique(place[order], return_inverse=True)[1]
        squares = shapely.multilinestrings(lines[line], indices=place)
        left = shapely.get_parts(shapely.simplify(squares, tolerance, preserve_topology=True))
        inside = (wide * high)[line] == 1
        lines[line[inside]] = left[inside]
        collapsed = vertices.joined(lines, ring)[1] < 4
        if not collapsed.any():
            return vertices.polygons_of(lines, ring, outlines)[0]
        cut |= np.repeat(collapsed, np.diff(vertices.rings))


@dataclass(frozen=True)
class _Vertices:
    """The vertices (m, 2) of polygons, ring by ring, the last one of a ring being its first.

        xy         ┌ ring 0 ─────┬ ring 1 ┬ ring 2 ──────┐
        rings      0             r₁       r₂             m
        polygons   0                      2              3        here two, of 2 rings and of 1
        polygon    0             0        1                       of each ring

    `fixed` (m) are those that must stay. Multiplied by `scale`, distances are in widths of a pixel.
    """

    xy: Floats
    rings: Ints
    polygons: Ints
    polygon: Ints
    fixed: Bools
    scale: Floats

    @classmethod
    def of(cls, outlines: Objects, fixed: NDArray[np.int32], scale: Floats) -> _Vertices:
        _, xy, offsets = shapely.to_ragged_array(outlines)
        rings, polygons = (np.asarray(values, np.int64) for values in offsets)
        polygon = np.repeat(np.arange(len(outlines)), np.diff(polygons))
        return cls(xy, rings, polygons, polygon, np.isin(_key(xy), _key(fixed)), scale)

    def arcs(self, cut: Bools) -> tuple[Objects, Ints, Ints]:
        """Lines (k), scaled, between the vertices (m) where rings are cut, each ring's ends being
        among them; the ring of each, and the indices (2, k) of its first and last vertex."""
        cut = cut.copy()
        cut[self.rings[:-1]] = cut[self.rings[1:] - 1] = True
        points = np.flatnonzero(cut)
        within = ~np.isin(points, self.rings[1:] - 1)[:-1]
        ends = np.stack((points[:-1][within], points[1:][within]))
        length = ends[1] - ends[0] + 1
        index = np.repeat(np.arange(len(length)), length)
        lines = shapely.linestrings((self.xy * self.scale)[ranges(ends[0], length)], indices=index)
        return np.asarray(lines), np.searchsorted(self.rings, ends[0], side="right") - 1, ends

    def joined(self, lines: Objects, ring: Ints) -> tuple[Floats, Ints]:
        """The vertices of the rings that arcs make up, in order, and how many each ring has."""
        xy, arc = shapely.get_coordinates(lines, return_index=True)
        of = ring[arc]
        # an arc's last vertex is the next one's first, but for the last arc of a ring
        shared = np.append((arc[1:] != arc[:-1]) & (of[1:] == of[:-1]), False)
        count = np.bincount(of[~shared], minlength=len(self.polygon))
        return np.rint(xy[~shared] / self.scale), count

    def polygons_of(self, lines: Objects, ring: Ints, outlines: Objects) -> tuple[Objects, Bools]:
        """The polygons that arcs make up, and which have a ring that encloses nothing: of these,
        the `outlines` as they are."""
        xy, count = self.joined(lines, ring)
        collapsed = np.add.reduceat(count < 4, self.polygons[:-1]) > 0
        whole = ~collapsed[self.polygon]
        offsets = _offsets(count[whole]), _offsets(np.diff(self.polygons)[~collapsed])
        out = outlines.copy()
        out[~collapsed] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, xy[np.repeat(whole, count)], offsets
        )
        return out, collapsed


def _key(xy: NDArray[np.floating] | NDArray[np.int32]) -> Ints:
    """One number for each lattice point."""
    whole = xy.astype(np.int64)
    return np.asarray(whole[:, 0] << 32 | whole[:, 1])


def _offsets(counts: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
