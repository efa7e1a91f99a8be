"""Outlines with right angles: each edge is turned along or across its polygon's main direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["LARGEST_CHANGE", "squared"]

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Share of its area by which squaring may change a polygon.
LARGEST_CHANGE = 0.05


def squared(outlines: Objects, pixel: tuple[float, float], limit: float) -> tuple[Objects, Bools]:
    """Polygons with right angles, and which ones these are; the others are left as they were.

    `outlines` are in pixel coordinates, `pixel` the size of a pixel in metres. Edges within 45° of
    the main direction are laid along it, the others across; runs of one kind become one edge, at
    the mean of their places weighted by length, which keeps the area nearly. A polygon stays as it
    was where a vertex would lie more than `limit` (metres) from its edge, the area would change by
    more than 5 %, or the result would not be valid.
    """
    if not len(outlines):
        return outlines, np.zeros(0, bool)
    scale = np.array(pixel)
    _, xy, offsets = shapely.to_ragged_array(outlines)
    rings, polygons = (np.asarray(values, np.int64) for values in offsets)
    edges = _Edges.of(xy * scale, rings, polygons)
    turned = _turned(edges.start, edges.polygon, edges.main_direction(), -1)
    made = _runs(edges, turned, len(rings) - 1)
    corners = _turned(made.corner, made.polygon, edges.main_direction(), 1)
    good = np.ones(len(outlines), bool)
    good[edges.polygon[edges.ring_run_count(made) < 4]] = False
    good[edges.polygon[made.displacement > limit]] = False
    out = outlines.copy()
    out[good] = _assembled(corners / scale, made.ring, rings, polygons, good)
    area, before = shapely.area(out), shapely.area(outlines)
    good &= np.abs(area - before) <= LARGEST_CHANGE * before
    good[good] = shapely.is_valid(out[good])
    return np.where(good, out, outlines), good


@dataclass(frozen=True)
class _Edges:
    """The edges of all rings, in order: where they start, how they go, whose they are."""

    start: Floats
    vector: Floats
    ring: Ints
    polygon: Ints
    previous: Ints
    following: Ints

    @classmethod
    def of(cls, xy: Floats, rings: Ints, polygons: Ints) -> _Edges:
        """Edges of closed rings `xy[rings[i]:rings[i + 1]]`."""
        counts = np.diff(rings) - 1
        ring = np.repeat(np.arange(len(counts)), counts)
        first = rings[:-1] - np.arange(len(counts))  # index of each ring's first edge
        index = np.arange(len(ring))
        at = index + ring  # without the last vertex of each ring before
        previous = np.where(index == first[ring], first[ring] + counts[ring] - 1, index - 1)
        following = np.where(index == first[ring] + counts[ring] - 1, first[ring], index + 1)
        owner = np.repeat(np.arange(len(polygons) - 1), np.diff(polygons))
        return cls(xy[at], xy[at + 1] - xy[at], ring, owner[ring], previous, following)

    def main_direction(self) -> Floats:
        """Of each polygon, the angle (radians, within 45° of the x axis) of most of its edges.

        The mean of the edges' directions modulo 90°, weighted by length.
        """
        length = np.hypot(*self.vector.T)
        angle = 4 * np.arctan2(self.vector[:, 1], self.vector[:, 0])
        count = int(self.polygon.max()) + 1
        sine = np.bincount(self.polygon, length * np.sin(angle), count)
        cosine = np.bincount(self.polygon, length * np.cos(angle), count)
        return np.asarray(np.arctan2(sine, cosine) / 4)

    def ring_run_count(self, runs: _Runs) -> Ints:
        """Of each edge, how many runs its ring has."""
        return np.asarray(np.bincount(runs.ring, minlength=int(self.ring.max()) + 1)[self.ring])


@dataclass(frozen=True)
class _Runs:
    """The corners that runs of edges meet in, by ring, and how far each edge's ends are moved."""

    corner: Floats
    ring: Ints
    polygon: Ints
    displacement: Floats


def _turned(xy: Floats, polygon: Ints, angle: Floats, sign: int) -> Floats:
    """Points turned by their polygon's angle."""
    cosine, sine = np.cos(angle)[polygon], sign * np.sin(angle)[polygon]
    x, y = xy.T
    return np.stack((x * cosine - y * sine, x * sine + y * cosine), axis=1)


def _runs(edges: _Edges, start: Floats, rings: int) -> _Runs:
    """Join edges of one kind that follow each other, along the axes of `start`."""
    end = start[edges.following]
    span = np.abs(end - start)
    level = span[:, 0] >= span[:, 1]
    begins = level != level[edges.previous]
    # edges before a ring's first beginning belong to its last run
    number = np.cumsum(begins) - 1
    last = np.full(rings, -1)
    last[edges.ring[begins]] = number[begins]
    first = np.full(rings, len(number))
    np.minimum.at(first, edges.ring[begins], number[begins])
    run = np.where(number < first[edges.ring], last[edges.ring], number)
    whole = run >= 0  # a ring of one kind only has no run
    weight = np.where(level, span[:, 0], span[:, 1])
    middle = np.where(level, start[:, 1] + end[:, 1], start[:, 0] + end[:, 0]) / 2
    count = int(begins.sum())
    total = np.bincount(run[whole], weight[whole], count)
    place = np.bincount(run[whole], (weight * middle)[whole], count) / np.maximum(total, 1e-12)
    place = np.append(place, 0.0)  # of edges without a run, whose number is −1
    across = np.where(level[:, None], start[:, 1:], start[:, :1])
    beyond = np.where(level[:, None], end[:, 1:], end[:, :1])
    ends = np.concatenate((across, beyond), axis=1)
    moved = np.abs(ends - place[run][:, None]).max(axis=1, initial=0)
    at = np.flatnonzero(begins)
    own, before = place[run[at]], place[run[edges.previous[at]]]
    corner = np.where(
        level[at][:, None], np.stack((before, own), axis=1), np.stack((own, before), axis=1)
    )
    return _Runs(corner, edges.ring[at], edges.polygon[at], moved)


def _assembled(corner: Floats, ring: Ints, rings: Ints, polygons: Ints, good: Bools) -> Objects:
    """The polygons that are `good`, from their corners."""
    counts = np.diff(polygons)
    chosen = np.repeat(good, counts)  # rings
    lines: Any = shapely.linearrings(
        corner[chosen[ring]], indices=(np.cumsum(chosen) - 1)[ring[chosen[ring]]]
    )
    owner = np.repeat(np.arange(int(good.sum())), counts[good])
    return np.asarray(shapely.polygons(lines, indices=owner))
