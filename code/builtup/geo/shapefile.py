"""Plain polygon shapefiles straight into arrays, at twenty times the rate of feature by feature.

Only what leaves no question is read here: shapes of type 5, in which each polygon is one outer ring
(clockwise) and its holes. Anything else is left to GDAL, which knows all the variants.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["RaggedPolygons", "plain_polygons"]

NULL, POLYGON = 0, 5
#: Points of the shortest ring, its first point twice.
LEAST_RING = 4


@dataclass(frozen=True)
class RaggedPolygons:
    """Polygons as arrays: ring i is `points[rings[i]:rings[i + 1]]`, polygon j is made of rings
    `polygons[j]` to `polygons[j + 1]`, the outer one first."""

    points: NDArray[np.float64]
    rings: NDArray[np.int64]
    polygons: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.polygons) - 1

    def geometries(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Those from `start` to before `stop` as shapely polygons."""
        polygons = self.polygons[start : len(self.polygons) if stop is None else stop + 1]
        rings = self.rings[polygons[0] : polygons[-1] + 1]
        made = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON,
            self.points[rings[0] : rings[-1]],
            (rings - rings[0], polygons - polygons[0]),
        )
        return np.asarray(made)


def plain_polygons(shp: Path, shx: Path, dbf: Path) -> RaggedPolygons | None:
    """The polygons of a shapefile in its order, or None where it is not plain.

    Layout as in the ESRI Shapefile Technical Description (1998). The lengths of the files must
    have been held against their headers before.
    """
    if _has_deleted(dbf):
        return None
    data = shp.read_bytes()
    starts = np.fromfile(shx, dtype=">i4", offset=100).reshape(-1, 2)[:, 0].astype(np.int64) * 2 + 8
    firsts, lengths, counts, points = [], [], [], []
    for start in starts.tolist():
        kind = struct.unpack_from("<i", data, start)[0]
        if kind == NULL:
            continue
        if kind != POLYGON:
            return None
        parts, length = struct.unpack_from("<2i", data, start + 36)
        if parts < 1 or length < 1:
            return None
        firsts.append(np.frombuffer(data, "<i4", parts, start + 44))
        lengths.append(length)
        points.append(np.frombuffer(data, "<f8", 2 * length, start + 44 + 4 * parts))
        counts.append(parts)
    if not counts:
        return None
    number = np.array(counts)
    rings = _ring_lengths(np.concatenate(firsts), np.array(lengths, np.int32), number)
    return _polygons(np.concatenate(points).reshape(-1, 2), rings, number)


def _ring_lengths(
    firsts: NDArray[np.int32], lengths: NDArray[np.int32], counts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Points of each ring, from where rings begin in their records and the records' points."""
    ends = np.append(firsts[1:], np.int32(0))
    ends[np.cumsum(counts) - 1] = lengths
    return np.asarray(ends - firsts)


def _polygons(
    points: NDArray[np.float64], lengths: NDArray[np.int32], counts: NDArray[np.int64]
) -> RaggedPolygons | None:
    """Polygons of `counts` rings of `lengths` points, or None where a ring leaves a question."""
    if (lengths < LEAST_RING).any() or not np.isfinite(points).all():
        return None
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    if (points[starts[:-1]] != points[starts[1:] - 1]).any():
        return None
    polygons = np.concatenate(([0], np.cumsum(counts)))
    outer = np.zeros(len(lengths), dtype=bool)
    outer[polygons[:-1]] = True
    alone = np.repeat(counts, counts) == 1  # a single ring is taken whichever way it runs
    if (alone | ((_areas(points, starts) < 0) == outer)).all():
        return RaggedPolygons(points, starts, polygons)
    return None


def _areas(points: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Twice the signed area of each ring, negative when clockwise."""
    near = points - np.repeat(points[starts[:-1]], np.diff(starts), axis=0)  # no cancellation
    cross = near[:-1, 0] * near[1:, 1] - near[1:, 0] * near[:-1, 1]
    cross[starts[1:-1] - 1] = 0  # from one ring to the next
    return np.asarray(np.add.reduceat(cross, starts[:-1]))


def _has_deleted(dbf: Path) -> bool:
    """Whether rows are marked as deleted: GDAL leaves their shapes out."""
    with dbf.open("rb") as f:
        records, start, length = struct.unpack("<IHH", f.read(12)[4:])
        f.seek(start)
        rows = np.frombuffer(f.read(records * length), np.uint8)
    return bool((rows[::length] == ord("*")).any())
