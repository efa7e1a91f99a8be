"""Building footprints with heights: rings in flat arrays, from a plan or from a file."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.errors import InputError
from builtup.geo.vectors import polygons_with_number

__all__ = ["Buildings", "boxes", "footprint_files", "read_footprints"]

log = logging.getLogger(__name__)

#: Fields that hold a building's height in metres, in the order of preference.
HEIGHT_FIELDS = ("height", "hauteur", "building_height", "measuredheight", "hoehe", "heightroof")
#: Suffixes of vector files that are looked for in a folder of footprints.
VECTOR_SUFFIXES = (".shp", ".gpkg", ".geojson", ".fgb")
#: Heights are cut here: the layover of anything taller would leave a block's halo.
MAX_HEIGHT = 60.0
DEFAULT_HEIGHT = 6.5
#: Shape of the gamma variable of wall returns in the plain world; less makes a heavier tail.
TAIL = 2.3

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Buildings:
    """Footprints as closed rings in flat arrays.

    `points` (m, 2) float64: metres east and south of the scene's upper left corner; `starts`
    (n + 1,): where each ring begins; `heights` (n,) float32 in metres; `strength` (n, 2) float32:
    the relative return of the walls, seen from ascending and from descending orbits; `roofs` (n,)
    float32: that of the roof, beyond what follows from its walls.
    """

    points: NDArray[np.float64]
    starts: NDArray[np.int64]
    heights: Float
    strength: Float
    roofs: Float

    def __len__(self) -> int:
        return len(self.heights)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(n, 4): least x, least y, greatest x, greatest y."""
        if not len(self):
            return np.zeros((0, 4))
        low = np.minimum.reduceat(self.points, self.starts[:-1])
        high = np.maximum.reduceat(self.points, self.starts[:-1])
        return np.hstack([low, high])

    def take(self, index: NDArray[np.intp]) -> Buildings:
        """The buildings of these numbers."""
        counts = np.diff(self.starts)[index]
        starts = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(starts[-1]) + np.repeat(self.starts[:-1][index] - starts[:-1], counts)
        of_each = (self.heights[index], self.strength[index], self.roofs[index])
        return Buildings(self.points[rows], starts, *of_each)

    def roof_points(
        self, step: float
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
        """Points (m, 2) about every `step` metres under roofs, whose they are, and square metres.

        A lattice in the frame of each building's first wall; the points of a building share its
        area equally.
        """
        counts = np.diff(self.starts)
        owner = np.repeat(np.arange(len(self)), counts)
        first = self.points[self.starts[:-1]]
        wall = self.points[self.starts[:-1] + 1] - first
        wall /= np.maximum(np.hypot(*wall.T), 1e-9)[:, None]
        offset = self.points - first[owner]
        frame = np.stack(
            [
                (offset * wall[owner]).sum(1),
                offset[:, 1] * wall[owner, 0] - offset[:, 0] * wall[owner, 1],
            ],
            1,
        )
        low = np.minimum.reduceat(frame, self.starts[:-1])
        size = np.maximum.reduceat(frame, self.starts[:-1]) - low
        steps = np.maximum(1, np.ceil(size / step)).astype(np.intp)
        total = steps[:, 0] * steps[:, 1]
        own = np.repeat(np.arange(len(self)), total)
        number = np.arange(len(own)) - np.repeat(np.cumsum(total) - total, total)
        cell = np.stack([number % steps[own, 0], number // steps[own, 0]], 1)
        uv = low[own] + (cell + 0.5) * (size / steps)[own]
        along, across = wall[own], np.stack([-wall[own, 1], wall[own, 0]], 1)
        points = first[own] + uv[:, :1] * along + uv[:, 1:] * across
        keep = counts[own] == 5
        odd = np.flatnonzero(~keep)
        if len(odd):
            polygons = self.polygons()
            shapely.prepare(polygons)
            keep[odd] = shapely.contains_xy(polygons[own[odd]], points[odd, 0], points[odd, 1])
        points, own = points[keep], own[keep]
        share = self.areas() / np.maximum(np.bincount(own, minlength=len(self)), 1)
        return points, own, share[own]

    def areas(self) -> NDArray[np.float64]:
        """Square metres of each footprint."""
        return np.abs(self.signed_areas())

    def signed_areas(self) -> NDArray[np.float64]:
        """Square metres, positive where the ring turns from x to y."""
        counts = np.diff(self.starts)
        owner = np.repeat(np.arange(len(self)), counts)
        offset = self.points - self.points[self.starts[:-1]][owner]
        x, y = offset.T
        cross = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0.0)
        cross[self.starts[1:] - 1] = 0
        return np.bincount(owner, cross, len(self)) / 2

    def polygons(self) -> NDArray[Any]:
        """The footprints as shapely polygons."""
        rings = np.arange(len(self) + 1)
        return shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.points, (self.starts, rings)
        )


def boxes(
    centres: NDArray[Any],
    lengths: NDArray[Any],
    widths: NDArray[Any],
    angles: NDArray[Any],
    heights: NDArray[Any],
    strength: Float,
    roofs: NDArray[Any] | float = 1.0,
) -> Buildings:
    """Rectangles: centres (n, 2), lengths along `angles` (radians), widths, heights; metres."""
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (lengths / 2)[:, None]
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * (widths / 2)[:, None]
    corners = np.stack(
        [
            centres - along - across,
            centres + along - across,
            centres + along + across,
            centres - along + across,
            centres - along - across,
        ],
        axis=1,
    )
    starts = np.arange(len(centres) + 1, dtype=np.int64) * 5
    tall = np.minimum(heights, MAX_HEIGHT).astype(np.float32)
    relative = np.broadcast_to(np.float32(roofs), len(centres)).copy()
    return Buildings(corners.reshape(-1, 2).astype(np.float64), starts, tall, strength, relative)


def footprint_files(path: Path) -> tuple[Path, ...]:
    """The vector files that `path` names: itself, or those in the folder."""
    if path.is_dir():
        found = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in VECTOR_SUFFIXES))
        if not found:
            raise InputError(
                path, "holds no vector file", f"give a file ({', '.join(VECTOR_SUFFIXES)})"
            )
        return found
    if not path.exists():
        raise InputError(path, "no such file", "check footprints")
    return (path,)


def read_footprints(files: tuple[Path, ...]) -> tuple[NDArray[Any], Float]:
    """Polygons in metres around their middle (y points south) and heights (NaN where unknown).

    Any CRS: each file is projected to the UTM zone of the first one's middle. Holes are dropped,
    parts of multipolygons are buildings of their own. Raises InputError for a file that is no
    vector file, has no CRS or no polygon.
    """
    parts, heights, zone = [], [], None
    for file in files:
        polygons, tall, crs = polygons_with_number(file, HEIGHT_FIELDS)
        if zone is None:
            zone = _utm_zone(polygons, crs)
        parts.append(_project(polygons, crs, zone))
        heights.append(tall)
    polygons = np.concatenate(parts)
    low_x, low_y, high_x, high_y = shapely.total_bounds(polygons)
    middle = np.array([(low_x + high_x) / 2, (low_y + high_y) / 2])
    local = shapely.transform(polygons, lambda p: (p - middle) * np.array([1.0, -1.0]))
    return local, np.concatenate(heights)


def _utm_zone(polygons: NDArray[Any], crs: Any) -> Any:
    import pyproj

    low_x, low_y, high_x, high_y = shapely.total_bounds(polygons)
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform((low_x + high_x) / 2, (low_y + high_y) / 2)
    zone = int((longitude + 180) // 6) % 60 + 1
    return pyproj.CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def _project(polygons: NDArray[Any], crs: Any, target: Any) -> NDArray[Any]:
    import pyproj

    transformer = pyproj.Transformer.from_crs(crs, target, always_xy=True)
    return shapely.transform(
        polygons, lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1)
    )


def placed(
    polygons: NDArray[Any],
    heights: Float,
    extent: float,
    turn: float,
    rng: np.random.Generator,
    tail: float = TAIL,
) -> Buildings:
    """The footprints of a file, turned by `turn` radians, in the middle of a scene.

    Unknown heights are drawn (median 6.5 m). Buildings outside the scene are left out.
    """
    cos, sin = math.cos(turn), math.sin(turn)
    rotation = np.array([[cos, sin], [-sin, cos]])
    rings = shapely.get_exterior_ring(polygons)
    points, index = shapely.get_coordinates(rings, return_index=True)
    counts = np.bincount(index, minlength=len(rings))
    starts = np.concatenate([[0], np.cumsum(counts)])
    drawn = DEFAULT_HEIGHT * np.exp(rng.normal(0, 0.35, len(rings)))
    known = np.where(np.isfinite(heights) & (heights > 0), heights, drawn)
    every = Buildings(
        points @ rotation + extent / 2,
        starts.astype(np.int64),
        np.clip(known, 2.5, MAX_HEIGHT).astype(np.float32),
        wall_strength(rng, len(rings), tail),
        np.ones(len(rings), np.float32),
    )
    box = every.bounds
    inside = (box[:, 2] > 0) & (box[:, 3] > 0) & (box[:, 0] < extent) & (box[:, 1] < extent)
    return every.take(np.flatnonzero(inside))


def wall_strength(rng: np.random.Generator, count: int, shape: float = TAIL) -> Float:
    """Relative wall returns (n, 2) of mean 1 with a heavy tail: reciprocal of a gamma variable.

    Speckle times such a variable is the G⁰ distribution of extremely heterogeneous clutter (Frery
    et al. 1997, IEEE TGRS 35(3)), which fits towns.
    """
    tail = (shape - 1) / rng.standard_gamma(shape, (count, 2))
    return np.minimum(tail, 40).astype(np.float32)
