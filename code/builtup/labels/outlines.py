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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.raster.ahead import map_ahead
from builtup.raster.windows import Window

__all__ = ["BLOCK", "Regions", "trace"]

#: Columns of the blocks that are read at once, and most rows of them.
BLOCK = 1024
#: Pixels of a row of blocks: what is held follows these, so wide rasters have lower blocks.
STRIP = 2**22

#: Reads a window: (built-up, value), bool and uint8 of the window's shape.
Read = Callable[[Window], tuple[NDArray[np.bool_], NDArray[np.uint8]]]


@dataclass(frozen=True)
class Regions:
    """Regions of a mask: outlines in pixel coordinates (x = column, y = row, of corners).

    `pixels` is their size, `value_sum` the sum of the value over their pixels (int64 both).
    `touching` (n, 2) are the points where their outlines touch themselves or each other.
    Of the raster, `rows` rows are done; `open_edges` (m, 2, 2) are the edges, from point to point,
    of outlines that go on below.
    """

    outlines: NDArray[np.object_]
    pixels: NDArray[np.int64]
    value_sum: NDArray[np.int64]
    touching: NDArray[np.int32]
    open_edges: NDArray[np.int32]
    rows: int

    def __len__(self) -> int:
        return len(self.outlines)


def trace(
    width: int, height: int, read: Read, block: tuple[int, int] | None = None
) -> Iterator[Regions]:
    """Yield the regions of a mask, after each row of blocks those that have ended.

    The order is fixed: by the row of blocks where a region ends, then from the upper left. Every
    outline is valid and has a vertex at each turn, nowhere else; holes that touch at a corner are
    holes of their own. `block` is (rows, columns) of what is read at once.
    """
    block = block or (_rows_of_strip(width), BLOCK)
    open_corners = _Corners.empty()
    waiting = _Rings.empty()  # closed holes of shells that are still open
    rows = 0
    for found in _scan(width, height, read, block):
        rows = min(rows + block[0], height)
        rings, open_corners = _close(open_corners, found)
        holes = waiting.joined(rings.selected(rings.pixels < 0))
        shells = rings.selected(rings.pixels > 0)
        regions, waiting = _assemble(shells, holes)
        if len(regions):
            yield replace(regions, open_edges=open_corners.edges(rows), rows=rows)


@dataclass(frozen=True)
class _Columns:
    """Arrays of one length, selected and joined together."""

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    def taken(self, index: NDArray[Any]) -> Any:
        return replace(self, **{name: getattr(self, name)[index] for name in self._names()})

    def concatenated(self, other: Any) -> Any:
        return replace(
            self,
            **{
                name: np.concatenate((getattr(self, name), getattr(other, name)))
                for name in self._names()
            },
        )


@dataclass(frozen=True)
class _Corners(_Columns):
    """Turns of outlines at lattice points (x, y), in scanning order.

    `right` and `down` say where the two edges leave. `sign` is the mixed difference of the region:
    with it −1 an outline (region on its left) leaves by the horizontal edge, with +1 by the
    vertical one. `integral` is the sum of the value over all pixels above and left of the point.
    `across` and `along` are the indices at the other ends of the horizontal and vertical edge
    (`along` is −1 while that end is not found); `twin` marks a point where two corners meet.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    right: NDArray[np.bool_]
    down: NDArray[np.bool_]
    sign: NDArray[np.int8]
    twin: NDArray[np.bool_]
    integral: NDArray[np.int64]
    across: NDArray[np.int64]
    along: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _Corners:
        ints, bools = np.zeros(0, np.int32), np.zeros(0, bool)
        long = np.zeros(0, np.int64)
        return cls(ints, ints, bools, bools, np.zeros(0, np.int8), bools, long, long, long)

    def __len__(self) -> int:
        return len(self.x)

    def edges(self, bottom: int) -> NDArray[np.int32]:
        """The edges (m, 2, 2), from point to point; those without an end reach to `bottom`."""
        point = np.stack((self.x, self.y), axis=1)
        below = point[self.along]
        below[self.along < 0] = np.stack((self.x, np.full(len(self), bottom, np.int32)), axis=1)[
            self.along < 0
        ]
        level = np.stack((point, point[self.across]), axis=1)[self.right]
        upright = np.stack((point, below), axis=1)[self.down]
        return np.concatenate((level, upright))


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

    def linear(self) -> NDArray[np.object_]:
        """The rings as shapely geometries."""
        index = np.repeat(np.arange(len(self)), self.counts)
        return np.asarray(shapely.linearrings(self.vertices.astype(np.float64), indices=index))


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


# --- scanning ---------------------------------------------------------------------------------


def _scan(width: int, height: int, read: Read, block: tuple[int, int]) -> Iterator[_Corners]:
    """Yield the corners of each row of blocks, sorted, with their horizontal partners.

    The raster is taken to go on with background beyond its right and lower edges, so that every
    outline closes. Of the rows above only the last one and its integral image are kept.
    """
    above = np.zeros(width + 2, bool)  # the pixel row above; [0] stands left of the raster
    total = np.zeros(width + 1, np.int64)  # integral image at the lattice row of the blocks' top
    found: list[_Corners] = []
    for place, values in map_ahead(
        partial(_read, read, width, height), _places(width, height, block)
    ):
        x, columns = place.x, place.width
        if x == 0:
            left = np.zeros(place.height + 1, bool)
            before = np.zeros(place.height + 1, np.int64)  # integral over these rows, left of x
        padded, value = _pad(place, values)
        padded[0] = above[x : x + columns + 1]
        padded[:, 0] = left
        left = padded[:, -1].copy()
        above[x + 1 : x + columns + 1] = padded[-1, 1:]
        local = _integral(value, padded)
        here = total[x : x + columns]
        found.append(_corners(padded, place, (local, here, before)))
        here += before[-1] if local is None else before[-1] + local[-1, :-1]
        if local is not None:
            before = before + local[:, -1]
        if x + columns > width:
            yield _sorted_and_paired(found, width)
            found = []


def _rows_of_strip(width: int) -> int:
    """Rows of blocks: a power of two, so that blocks lie well on those of files."""
    rows = BLOCK
    while rows > 32 and rows * width > STRIP:
        rows //= 2
    return rows


def _places(width: int, height: int, block: tuple[int, int]) -> Iterator[Window]:
    """Blocks over the lattice, which has a column and a row more than the raster has."""
    rows, columns = block
    for y in range(0, height + 1, rows):
        for x in range(0, width + 1, columns):
            yield Window(y, x, min(rows, height + 1 - y), min(columns, width + 1 - x))


_Values = tuple[NDArray[np.bool_], NDArray[np.uint8]]


def _read(read: Read, width: int, height: int, place: Window) -> tuple[Window, _Values | None]:
    """What is in the raster of a block; None for a block beyond its edge."""
    inside = place.intersection(Window(0, 0, height, width))
    return place, None if inside is None else read(inside)


def _pad(
    place: Window, values: _Values | None
) -> tuple[NDArray[np.bool_], NDArray[np.uint8] | None]:
    """A block's built-up pixels with a row above and a column to the left; background beyond."""
    padded = np.zeros((place.height + 1, place.width + 1), bool)
    if values is None:
        return padded, None
    built_up, value = values
    padded[1 : built_up.shape[0] + 1, 1 : built_up.shape[1] + 1] = built_up
    return padded, value


def _integral(
    value: NDArray[np.uint8] | None, padded: NDArray[np.bool_]
) -> NDArray[np.uint32] | None:
    """Integral image of the value over built-up pixels, at the block's lattice points."""
    inside = padded[1:, 1:]
    if value is None or not inside.any():
        return None
    height, width = value.shape
    local = np.zeros(padded.shape, np.uint32)  # enough for blocks of 4,096
    part = local[1 : height + 1, 1 : width + 1]
    np.cumsum(value * inside[:height, :width], axis=1, dtype=np.uint32, out=part)
    local[1:, width + 1 :] = local[1:, width : width + 1]
    return np.asarray(np.cumsum(local, axis=0, out=local))


#: By the four pixels around a point (1 upper left, 2 upper right, 4 lower left, 8 lower right).
_RIGHT = np.array([c in {2, 8, 13, 7} for c in range(16)])
_DOWN = np.array([c in {4, 8, 11, 7} for c in range(16)])
_SIGN = np.array([1 if c in {1, 8, 13, 11} else -1 for c in range(16)], np.int8)


def _corners(
    padded: NDArray[np.bool_],
    place: Window,
    integral: tuple[NDArray[np.uint32] | None, NDArray[np.int64], NDArray[np.int64]],
) -> _Corners:
    """The corners at the lattice points of a block; two where pixels touch across a point."""
    turn = padded[:, :-1] ^ padded[:, 1:]
    step = padded[:-1, :-1] ^ padded[1:, :-1]
    crossing = turn[:-1] & turn[1:]
    crossing &= step
    point = turn[:-1] ^ turn[1:]
    point |= crossing
    at = np.flatnonzero(point)
    row, column = np.divmod(at, point.shape[1])
    code = padded[row, column].astype(np.uint8)
    code |= padded[row, column + 1].astype(np.uint8) << 1
    code |= padded[row + 1, column].astype(np.uint8) << 2
    code |= padded[row + 1, column + 1].astype(np.uint8) << 3
    twin = (code == 6) | (code == 9)
    # the one pixel's corner, then the other's: 9 is 1 and 8, 6 is 4 and 2
    order = np.repeat(np.arange(len(at)), 1 + twin)
    second = np.concatenate((np.zeros(1, bool), order[1:] == order[:-1]))[: len(order)]
    code, row, column, twin = code[order], row[order], column[order], twin[order]
    code = np.where(twin & (code == 9), np.where(second, 8, 1), code)
    code = np.where(twin & (code == 6), np.where(second, 2, 4), code)
    local, top, left = integral
    total = top[column] + left[row]
    if local is not None:
        total += local[row, column]
    unset = np.full(len(row), -1, np.int64)
    return _Corners(
        (column + place.x).astype(np.int32),
        (row + place.y).astype(np.int32),
        _RIGHT[code],
        _DOWN[code],
        _SIGN[code],
        twin,
        total,
        unset,
        unset,
    )


def _sorted_and_paired(found: list[_Corners], width: int) -> _Corners:
    corners = found[0]
    for other in found[1:]:
        corners = corners.concatenated(other)
    key = (corners.y.astype(np.int64) * (width + 1) + corners.x) * 2 + corners.right
    corners = corners.taken(np.argsort(key, kind="stable"))
    return replace(corners, across=np.arange(len(corners)) ^ 1)


# --- following --------------------------------------------------------------------------------


def _close(known: _Corners, found: _Corners) -> tuple[_Rings, _Corners]:
    """Join new corners to open outlines; return the rings that closed and what stays open."""
    found = replace(found, across=found.across + len(known))
    corners: _Corners = known.concatenated(found)
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


def _pair_vertically(corners: _Corners) -> NDArray[np.int64]:
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
    corners: _Corners,
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


def _rings(corners: _Corners, following: NDArray[np.int64]) -> _Rings:
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
    return Regions(outlines, pixels, value_sum, touching, *_NOTHING[1:]), waiting


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
