"""Outlines without needless vertices, each by itself: valid, and with all of their rings.

Exact outlines are stairs of pixels. `simplified` takes away vertices within a tolerance (Douglas &
Peucker 1973); where an outline would cross itself, its rings are kept from that (`_untangled`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.columns import ranges
from builtup.geo.grid import Grid

__all__ = ["Vertices", "simplified"]

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
    vertices = Vertices.of(outlines, fixed, np.array((1.0, height / width)))
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
    vertices = Vertices.of(outlines, fixed, scale)
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
class Vertices:
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
    def of(cls, outlines: Objects, fixed: NDArray[np.int32], scale: Floats) -> Vertices:
        """Those of `outlines` (n), with the points (k, 2) that must stay, and the scale (2)."""
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
