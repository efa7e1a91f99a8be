"""Exact outlines of the regions of a mask, in one pass over its blocks.

A region is a set of built-up pixels that hang together by their sides (4-connected). All that is
kept of the raster are the lattice points where an outline turns. Along a row of the lattice these
corners pair up, first with second, third with fourth, and so they do along a column: the pairs
are the edges, and following them gives the rings. So blocks need no joining: an outline that
crosses a border is found whole, without the extra vertices of a cut. Rings are handed out as soon
as they are closed; memory follows the outlines that are still open, not the raster.

Sums over a region come from its corners too: the sum of a value over its pixels is the signed sum,
over its corners, of the value's integral image (the discrete form of Green's theorem; Tang,
"A discrete version of Green's theorem", IEEE PAMI 1982).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.labels.corners import Corners, Read, block_of, scan

__all__ = ["Regions", "trace"]


@dataclass(frozen=True)
class Regions:
    """Regions of a mask: outlines in pixel coordinates (x = column, y = row, of corners).

    `pixels` is their size, `value_sum` the sum of the value over their pixels (int64 both).
    `vacant` says of each hole, in the order of the outlines, that the value is 0 on all that is
    built up in it. `touching` (n, 2) are the points where outlines touch themselves or each other.
    Of the raster, `rows` rows are done; `open_edges` (m, 2, 2) are the edges, from point to point,
    of outlines that go on below and of the closed holes that may lie around a region in these.
    """

    outlines: NDArray[np.object_]
    pixels: NDArray[np.int64]
    value_sum: NDArray[np.int64]
    touching: NDArray[np.int32]
    open_edges: NDArray[np.int32]
    rows: int
    vacant: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.outlines)


def trace(
    width: int, height: int, read: Read, block: tuple[int, int] | None = None
) -> Generator[Regions, None, None]:
    """Yield the regions of a mask, after each row of blocks those that have ended.

    The order is fixed: by the row of blocks where a region ends, then from the upper left. Every
    outline is valid and has a vertex at each turn, nowhere else; holes that touch at a corner are
    holes of their own. `block` is (rows, columns) of what is read at once.
    """
    block = block or block_of(width)
    open_corners = Corners.empty()
    waiting = _Rings.empty()  # closed holes of shells that are still open
    rows = 0
    for found in scan(width, height, read, block):
        rows = min(rows + block[0], height)
        rings, open_corners = _close(open_corners, found)
        holes = waiting.joined(rings.selected(rings.pixels < 0))
        shells = rings.selected(rings.pixels > 0)
        regions, waiting = _assemble(shells, holes)
        if len(regions):
            edges = np.concatenate((open_corners.edges(rows), waiting.around_others().edges()))
            yield replace(regions, open_edges=edges, rows=rows)


@dataclass(frozen=True)
class _Rings:
    """Closed rings: ring i is `vertices[offsets[i]:offsets[i + 1]]`, its first vertex first.

    `twin` marks the vertices where it touches a ring. `pixels` is the area, negative for holes;
    `value_sum` the signed sum over it.
    """

    vertices: NDArray[np.int32]
    twin: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    pixels: NDArray[np.int64]
    value_sum: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _Rings:
        long = np.zeros(0, np.int64)
        return cls(np.zeros((0, 2), np.int32), np.zeros(0, bool), np.zeros(1, np.int64), long, long)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def selected(self, wanted: NDArray[np.bool_]) -> _Rings:
        counts = self.counts
        vertices = np.repeat(wanted, counts)
        return _Rings(
            self.vertices[vertices],
            self.twin[vertices],
            _offsets(counts[wanted]),
            self.pixels[wanted],
            self.value_sum[wanted],
        )

    def joined(self, other: _Rings) -> _Rings:
        return _Rings(
            np.concatenate((self.vertices, other.vertices)),
            np.concatenate((self.twin, other.twin)),
            np.concatenate((self.offsets, self.offsets[-1] + other.offsets[1:])),
            np.concatenate((self.pixels, other.pixels)),
            np.concatenate((self.value_sum, other.value_sum)),
        )

    def around_others(self) -> _Rings:
        """The holes in which another region may lie: a pixel and its four neighbours at least."""
        return self.selected(self.pixels <= -5)

    def edges(self) -> NDArray[np.int32]:
        """The edges (m, 2, 2), from point to point."""
        following = np.arange(1, len(self.vertices) + 1)
        following[self.offsets[1:] - 1] = self.offsets[:-1]
        return np.stack((self.vertices, self.vertices[following]), axis=1)

    def linear(self) -> NDArray[np.object_]:
        """The rings as shapely geometries."""
        index = np.repeat(np.arange(len(self)), self.counts)
        return np.asarray(shapely.linearrings(self.vertices.astype(np.float64), indices=index))


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


# --- following --------------------------------------------------------------------------------


def _close(known: Corners, found: Corners) -> tuple[_Rings, Corners]:
    """Join new corners to open outlines; return the rings that closed and what stays open."""
    found = replace(found, across=found.across + len(known))
    corners = known.concatenated(found)
    if not len(corners):
        return _Rings.empty(), corners
    along = _pair_vertically(corners)
    following = np.where(corners.sign < 0, corners.across, along)
    label = _labels(following)
    closed = label >= 0
    _split_at_twins(corners, following, label, closed)
    kept = np.flatnonzero(closed)
    position = _renumber(closed)
    rings = _rings(corners.taken(kept), position[following[kept]])
    rest = np.flatnonzero(~closed)
    position = _renumber(~closed)
    opened = along[rest]
    still_open = replace(
        corners.taken(rest),
        across=position[corners.across[rest]],
        along=np.where(opened < 0, -1, position[opened]),
    )
    return rings, still_open


def _renumber(wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.cumsum(wanted) - 1


def _pair_vertically(corners: Corners) -> NDArray[np.int64]:
    """Index of the other end of each vertical edge, −1 where it lies further down."""
    along = corners.along.copy()
    free = np.flatnonzero(along < 0)
    order = free[np.lexsort((corners.down[free], corners.y[free], corners.x[free]))]
    x, down = corners.x[order], corners.down[order]
    start = np.flatnonzero(down[:-1] & (x[:-1] == x[1:]))
    upper, lower = order[start], order[start + 1]
    along[upper], along[lower] = lower, upper
    return along


def _labels(following: NDArray[np.int64]) -> NDArray[np.int64]:
    """Smallest index in each corner's ring, −1 where the outline is open (pointer doubling)."""
    label = np.arange(len(following))
    label[following < 0] = -1
    ahead = np.where(following < 0, np.arange(len(following)), following)
    # an open outline is followed one way only: mark what comes after its gap as well
    while True:
        smallest = np.minimum(label, label[ahead])
        if np.array_equal(smallest, label):
            return label
        label, ahead = smallest, ahead[ahead]


def _split_at_twins(
    corners: Corners,
    following: NDArray[np.int64],
    label: NDArray[np.int64],
    closed: NDArray[np.bool_],
) -> None:
    """Cut a ring that touches itself at a point into two, so that every ring is simple.

    Touching always happens across the background, so the cuts do not interleave and all of them
    can be made at once.
    """
    first = np.flatnonzero(corners.twin & closed)
    if not len(first):
        return
    same = (
        (corners.x[first[:-1]] == corners.x[first[1:]])
        & (corners.y[first[:-1]] == corners.y[first[1:]])
        & (label[first[:-1]] == label[first[1:]])
    )
    one, other = first[:-1][same], first[1:][same]
    following[one], following[other] = following[other], following[one]


def _rings(corners: Corners, following: NDArray[np.int64]) -> _Rings:
    """Put closed outlines into the order of their vertices."""
    label = _labels(following)
    last = following == label
    distance = (~last).astype(np.int64)  # number of steps to the ring's last corner
    ahead = np.where(last, np.arange(len(following)), following)
    while True:
        further = distance[ahead]
        if not further.any():
            break
        distance += further
        ahead = ahead[ahead]
    order = np.lexsort((-distance, label))
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    x, y = corners.x.astype(np.int64), corners.y.astype(np.int64)
    if not len(starts):
        return _Rings.empty()
    return _Rings(
        np.stack((corners.x[order], corners.y[order]), axis=1),
        corners.twin[order],
        np.append(starts, len(order)),
        np.add.reduceat((corners.sign * x * y)[order], starts),
        np.add.reduceat((corners.sign * corners.integral)[order], starts),
    )


#: No points, no edges, no rows.
_NOTHING = (np.zeros((0, 2), np.int32), np.zeros((0, 2, 2), np.int32), 0)

# --- assembling -------------------------------------------------------------------------------


def _assemble(shells: _Rings, holes: _Rings) -> tuple[Regions, _Rings]:
    """Give each hole to its shell; return the regions and the holes whose shell is still open."""
    if not len(shells):
        return Regions(np.zeros(0, object), shells.pixels, shells.value_sum, *_NOTHING), holes
    owner = _owners(shells, holes)
    inner = holes.selected(owner >= 0)
    waiting = holes.selected(owner < 0)
    owner = owner[owner >= 0]
    pixels, value_sum = shells.pixels.copy(), shells.value_sum.copy()
    np.add.at(pixels, owner, inner.pixels)
    np.add.at(value_sum, owner, inner.value_sum)
    index = np.concatenate((np.arange(len(shells)), owner))
    order = np.argsort(index, kind="stable")  # each shell first, then its holes
    rings = shells.joined(inner)
    outlines = np.asarray(shapely.polygons(rings.linear()[order], indices=index[order]))
    touching = rings.vertices[rings.twin]
    vacant = inner.value_sum[np.argsort(owner, kind="stable")] == 0
    return Regions(outlines, pixels, value_sum, touching, *_NOTHING[1:], vacant), waiting


def _owners(shells: _Rings, holes: _Rings) -> NDArray[np.int64]:
    """The shell that each hole belongs to, −1 for none: the smallest one around it.

    The pixel above and right of a hole's first vertex belongs to the region that has the hole.
    Where its shell is still open, so are all shells around that one.
    """
    owner = np.full(len(holes), -1, np.int64)
    if not len(holes):
        return owner
    first = holes.vertices[holes.offsets[:-1]].astype(np.float64)
    tree = shapely.STRtree(np.asarray(shapely.points(first + np.array((0.5, -0.5)))))
    shell, hole = tree.query(shapely.polygons(shells.linear()), predicate="contains")
    order = np.argsort(-shells.pixels[shell], kind="stable")
    owner[hole[order]] = shell[order]  # the last one written is the smallest
    return owner
