"""Exact outlines of the regions of a mask, in one pass over its blocks.

A region is a set of built-up pixels that hang together by their sides (4-connected). All that is
kept of the raster are the lattice points where an outline turns. Along a row of the lattice these
corners pair up, first with second, third with fourth, and so they do along a column: the pairs
are the edges, and following them gives the rings. So blocks need no joining: an outline that
crosses a border is found whole, without the extra vertices of a cut. Regions are handed out as
soon as they have ended; memory follows the outlines that are still open, not the raster.

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

from builtup.geo.chains import Chains, Closed, Turns, labels_of
from builtup.geo.corners import Read, block_of, scan

__all__ = ["Regions", "trace"]


@dataclass(frozen=True)
class Regions:
    """Regions of a mask (n): outlines in pixel coordinates (x = column, y = row, of corners).

    `pixels` is their size, `value_sum` the sum of the value over their pixels (int64 both).
    `touching` (m, 2) are the points where outlines touch themselves or each other. No region that
    comes later has a corner above the row `open_from`. `vacant` says of each hole, in the order of
    the outlines, that the value is 0 on all that is built up in it.
    """

    outlines: NDArray[np.object_]
    pixels: NDArray[np.int64]
    value_sum: NDArray[np.int64]
    touching: NDArray[np.int32]
    open_from: int
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
    chains = Chains()
    waiting = _Rings.empty()  # closed holes of shells that are still open
    rows = 0
    for found in scan(width, height, read, block):
        rows = min(rows + block[0], height)
        rings = _rings(chains.follow(found))
        holes = waiting.joined(rings.selected(rings.pixels < 0))
        regions, waiting = _assemble(rings.selected(rings.pixels > 0), holes)
        if len(regions):
            top = chains.top
            yield replace(regions, open_from=rows if top is None else min(rows, top))


@dataclass(frozen=True)
class _Rings:
    """Closed rings: ring i is `vertices[offsets[i]:offsets[i + 1]]`, its first vertex first.

        vertices (m, 2)   ┌ ring 0 ──────┬ ring 1 ──┬ ring 2 ────────┐
        offsets (n + 1)   0              offsets[1] offsets[2]       m

    `twin` (m) marks the vertices where it touches a ring. `pixels` (n) is the area, negative for
    holes; `value_sum` (n) the signed sum over it.
    """

    vertices: NDArray[np.int32]
    twin: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    pixels: NDArray[np.int64]
    value_sum: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _Rings:
        long = np.zeros(0, np.int64)
        points = np.zeros((0, 2), np.int32)
        return cls(points, np.zeros(0, bool), np.zeros(1, np.int64), long, long)

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
        if not len(other):
            return self
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


# --- following --------------------------------------------------------------------------------


def _rings(closed: Closed) -> _Rings:
    """Put closed outlines into the order of their vertices; one that touches itself becomes several
    rings."""
    turns = closed.turns
    if not len(turns):
        return _Rings.empty()
    following = _split_at_twins(turns, closed.following, closed.label)
    label = labels_of(following)
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
    x, y = turns.x.astype(np.int64), turns.y.astype(np.int64)
    return _Rings(
        np.stack((turns.x[order], turns.y[order]), axis=1),
        turns.twin[order],
        np.append(starts, len(order)),
        np.add.reduceat((turns.sign * x * y)[order], starts),
        np.add.reduceat((turns.sign * turns.integral)[order], starts),
    )


def _split_at_twins(
    turns: Turns, following: NDArray[np.int64], label: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Cut a ring that touches itself at a point into two, so that every ring is simple.

    Touching always happens across the background, so the cuts do not interleave and all of them
    can be made at once.
    """
    first = np.flatnonzero(turns.twin)
    one, other = first[:-1], first[1:]
    same = (
        (turns.x[one] == turns.x[other])
        & (turns.y[one] == turns.y[other])
        & (label[one] == label[other])
    )
    one, other = one[same], other[same]
    out = following.copy()
    out[one], out[other] = following[other], following[one]
    return out


# --- assembling -------------------------------------------------------------------------------


def _assemble(shells: _Rings, holes: _Rings) -> tuple[Regions, _Rings]:
    """Give each hole to its shell; return the regions, and the holes whose shell is still open."""
    if not len(shells):
        points, long = np.zeros((0, 2), np.int32), np.zeros(0, np.int64)
        return Regions(np.zeros(0, object), long, long, points, 0), holes
    owner = _owners(shells, holes)
    owned = owner >= 0
    inner, waiting = _Rings.empty(), holes
    if owned.any():
        inner, waiting = holes.selected(owned), holes.selected(~owned)
    owner = owner[owned]
    pixels, value_sum = shells.pixels.copy(), shells.value_sum.copy()
    np.add.at(pixels, owner, inner.pixels)
    np.add.at(value_sum, owner, inner.value_sum)
    index = np.concatenate((np.arange(len(shells)), owner))
    order = np.argsort(index, kind="stable")  # each shell first, then its holes
    rings = shells.joined(inner)
    outlines = np.asarray(shapely.polygons(rings.linear()[order], indices=index[order]))
    touching = rings.vertices[rings.twin]
    vacant = inner.value_sum[np.argsort(owner, kind="stable")] == 0
    return Regions(outlines, pixels, value_sum, touching, 0, vacant), waiting


def _owners(shells: _Rings, holes: _Rings) -> NDArray[np.int64]:
    """The shell that each hole belongs to, −1 for none: the smallest one around it.

    The pixel above and right of a hole's first vertex belongs to the region that has the hole.
    Where its shell is still open, so are all shells around that one.
    """
    owner = np.full(len(holes), -1, np.int64)
    if not len(holes):
        return owner
    first = holes.vertices[holes.offsets[:-1]]
    near = np.ones(len(first), bool)
    for axis in (0, 1):
        at, of_shells = first[:, axis], shells.vertices[:, axis]
        near &= (at >= of_shells.min()) & (at <= of_shells.max())
    candidates = np.flatnonzero(near)
    points = first[candidates] + np.array((0.5, -0.5))
    tree = shapely.STRtree(np.asarray(shapely.points(points)))
    shell, hole = tree.query(shapely.polygons(shells.linear()), predicate="contains")
    order = np.argsort(-shells.pixels[shell], kind="stable")
    owner[candidates[hole[order]]] = shell[order]  # the last one written is the smallest
    return owner
