"""The outlines of regions that have not ended, as one that follows their tracing knows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.chains import Edges
from builtup.geo.regions import Progress

__all__ = ["Unfinished"]

Ints = NDArray[np.int64]


class Unfinished:
    """Finds what lies near an outline that is still open, and how long that remains so.

    An edge keeps its place until the region that it belongs to has ended. So what was found near
    one part of an outline need not be looked at again while that part, under the number that it
    has by then, is there.
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._front = Edges.none()

    def follow(self, progress: Progress, parts: Ints) -> Ints:
        """Take in what a row of blocks adds; return what numbers `parts` have now, −1 for none."""
        if len(progress.edges):
            self._batches.append(_Batch.of(progress.edges))
        self._front = progress.front
        for batch in self._batches:
            batch.renumber(progress)
        self._batches = [batch for batch in self._batches if len(batch.edges)]
        return _renumbered(parts, progress)

    def near(self, boxes: NDArray[np.float64]) -> Ints:
        """A part of an outline that meets each box (n, 4: west, south, east, north), −1 for none.

        Edges along the sides of the raster's pixels meet a box where their own boxes do.
        """
        out = np.full(len(boxes), -1, np.int64)
        if not len(boxes):
            return out
        tree = shapely.STRtree(np.asarray(shapely.box(*boxes.T)))
        all_of = np.concatenate((boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)))
        for edges in (*(batch.within(all_of) for batch in self._batches), self._front):
            found = _inside(edges, all_of)
            edge, box = tree.query(_lines(found))
            out[box] = found.part[edge]
        return out


@dataclass
class _Batch:
    """Edges in the order of the parts that they were given with.

    `count` of them belong to each part, whose number is `part` now (−1: it has ended). `extent` is
    the box around all.
    """

    edges: Edges
    part: Ints
    count: Ints
    extent: NDArray[np.int32]

    @classmethod
    def of(cls, edges: Edges) -> _Batch:
        edges = edges.taken(np.argsort(edges.part, kind="stable"))
        part, count = np.unique(edges.part, return_counts=True)
        extent = np.array(
            (
                min(edges.x.min(), edges.to_x.min()),
                min(edges.y.min(), edges.to_y.min()),
                max(edges.x.max(), edges.to_x.max()),
                max(edges.y.max(), edges.to_y.max()),
            )
        )
        return cls(edges, part, count, extent)

    def renumber(self, progress: Progress) -> None:
        """Give the parts their new numbers; drop the edges of those that have ended."""
        self.part = _renumbered(self.part, progress)
        alive = self.part >= 0
        if 2 * self.count[alive].sum() <= len(self.edges):
            self.edges = self.edges.taken(np.repeat(alive, self.count))
            self.part, self.count = self.part[alive], self.count[alive]

    def within(self, box: NDArray[np.float64]) -> Edges:
        """The edges that are left, none where a box is far from all of them."""
        if (self.extent[:2] > box[2:]).any() or (self.extent[2:] < box[:2]).any():
            return Edges.none()
        part = np.repeat(self.part, self.count)
        edges = Edges(self.edges.x, self.edges.y, self.edges.to_x, self.edges.to_y, part)
        return edges.taken(part >= 0)


def _renumbered(parts: Ints, progress: Progress) -> Ints:
    """The numbers of parts after a row of blocks, −1 for those that have ended."""
    out = parts.copy()
    for old, new in (
        (progress.joined[:, 0], progress.joined[:, 1]),
        (progress.ended, np.full(len(progress.ended), -1)),
    ):
        if len(old):
            order = np.argsort(old)
            at = np.minimum(np.searchsorted(old, out, sorter=order), len(old) - 1)
            same = old[order[at]] == out
            out[same] = new[order[at[same]]]
    return out


def _inside(edges: Edges, box: NDArray[np.float64]) -> Edges:
    """The edges that meet a box."""
    west, south, east, north = box
    x, y, to_x, to_y = edges.x, edges.y, edges.to_x, edges.to_y
    return edges.taken(
        (np.maximum(x, to_x) >= west)
        & (np.minimum(x, to_x) <= east)
        & (np.maximum(y, to_y) >= south)
        & (np.minimum(y, to_y) <= north)
    )


def _lines(edges: Edges) -> NDArray[np.object_]:
    start, end = (np.stack(ends, axis=1) for ends in ((edges.x, edges.y), (edges.to_x, edges.to_y)))
    return np.asarray(shapely.linestrings(np.stack((start, end), axis=1).astype(np.float64)))
