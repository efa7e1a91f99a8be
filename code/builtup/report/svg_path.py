"""Polygons as one SVG path in pixels of a grid, of bounded length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.geo.vectors import PolygonSet, reproject, stream_polygons

__all__ = ["OutlinePath", "outline_path"]

#: Coordinates are whole numbers of this part of a pixel.
FRACTION = 10
#: Outlines may leave their place by this many pixels.
TOLERANCE = 0.3


@dataclass(frozen=True)
class OutlinePath:
    """The path (`d` of an SVG path, in tenths of a pixel), and what stands in it.

    Polygons below `least` pixels are left out, so that the path keeps its budget.
    """

    d: str
    drawn: int
    left_out: int
    least: float


def outline_path(path: Path, grid: Grid, budget: int) -> OutlinePath:
    """The outlines of a vector file on `grid`, simplified to what its pixels can show."""
    return _path((reproject(batch, grid.crs) for batch in stream_polygons(path)), grid, budget)


def _path(batches: Iterable[PolygonSet], grid: Grid, budget: int) -> OutlinePath:
    kept: list[tuple[float, str]] = []
    length, least, left_out = 0, 0.25, 0
    inverse = ~grid.transform
    for batch in batches:
        pixels = shapely.transform(
            batch.geometries, lambda xy: np.column_stack(inverse @ (xy[:, 0], xy[:, 1]))
        )
        areas = shapely.area(pixels)
        large = areas >= least
        left_out += int((~large).sum())
        simple = shapely.simplify(pixels[large], TOLERANCE)
        made = [(area, _rings(polygon)) for area, polygon in zip(areas[large], simple, strict=True)]
        kept += made
        length += sum(len(text) for _, text in made)
        while length > budget:
            kept.sort()
            least = kept[len(kept) // 2][0] if len(kept) > 1 else np.inf
            gone = kept[: max(1, len(kept) // 2)]
            kept = kept[len(gone) :]
            left_out += len(gone)
            length -= sum(len(text) for _, text in gone)
    return OutlinePath("".join(text for _, text in kept), len(kept), left_out, least)


def _rings(polygon: shapely.Polygon) -> str:
    rings = [polygon.exterior, *polygon.interiors]
    return "".join(_ring(shapely.get_coordinates(ring)) for ring in rings)


def _ring(xy: NDArray[np.float64]) -> str:
    """`M` to the first vertex, then relative steps, closed."""
    points = np.rint(xy[:-1] * FRACTION).astype(int)
    if len(points) < 3:
        return ""
    steps = np.diff(points, axis=0)
    steps = steps[(steps != 0).any(axis=1)]
    moves = " ".join(f"{x} {y}" for x, y in steps)
    return f"M{points[0][0]} {points[0][1]}l{moves}z" if moves else ""
