"""What a map needs to be read: a scale bar in metres, and where north is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyproj

from builtup.geo.grid import Grid

__all__ = ["ScaleBar", "ground_width", "north", "scale_bar"]

#: The longest bar, as a share of the frame.
LONGEST = 0.3


@dataclass(frozen=True)
class ScaleBar:
    """A bar of `share` of the frame's width, and what it stands for."""

    share: float
    label: str


def scale_bar(width: float, zoom: float = 1.0) -> ScaleBar:
    """The longest bar of 1, 2 or 5 times a power of ten metres for a frame `width` metres wide."""
    seen = width / zoom
    power = 10.0 ** math.floor(math.log10(seen * LONGEST))
    metres = max(step * power for step in (1, 2, 5) if step * power <= seen * LONGEST)
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    return ScaleBar(metres / seen, label)


def ground_width(grid: Grid) -> float | None:
    """Metres on the ellipsoid along the middle row; None without a CRS."""
    ends = _geographic(grid, [(0, grid.height / 2), (grid.width, grid.height / 2)])
    if ends is None:
        return None
    (west, south), (east, north_) = ends
    metres = float(pyproj.Geod(ellps="WGS84").inv(west, south, east, north_)[2])
    return metres if math.isfinite(metres) and metres > 0 else None


def north(grid: Grid) -> float | None:
    """Where north is at the centre, in degrees clockwise from straight up; None without a CRS."""
    middle = (grid.width / 2, grid.height / 2)
    found = _geographic(grid, [middle])
    if found is None:
        return None
    (longitude, latitude), step = found[0], 1e-4
    back = pyproj.Transformer.from_crs("EPSG:4326", _crs(grid), always_xy=True)
    column, row = ~grid.transform @ back.transform(longitude, latitude + step)
    across, along = grid.resolution
    angle = math.degrees(math.atan2((column - middle[0]) * across, (middle[1] - row) * along))
    return angle if math.isfinite(angle) else None


def centre(grid: Grid) -> tuple[float, float] | None:
    """Longitude and latitude of the centre; None without a CRS."""
    found = _geographic(grid, [(grid.width / 2, grid.height / 2)])
    return None if found is None else found[0]


def _crs(grid: Grid) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(grid.crs.to_wkt())


def _geographic(grid: Grid, pixels: list[tuple[float, float]]) -> list[tuple[float, float]] | None:
    """Longitude and latitude of pixels (column, row)."""
    if not grid.crs:
        return None
    there = pyproj.Transformer.from_crs(_crs(grid), "EPSG:4326", always_xy=True)
    places = [there.transform(*(grid.transform @ pixel)) for pixel in pixels]
    return places if all(math.isfinite(v) for place in places for v in place) else None
