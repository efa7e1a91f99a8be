"""What stands outside towns: farms, single houses, row villages, strips of large halls.

Tables (n, 8) hold a building a row: x, y, length, width (m), angle (radians), height (m), and the
relative returns of its roof and of its walls.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "bright_roofs", "farms", "halls", "row_village", "scattered"]

COLUMNS = 8

Points = NDArray[np.float64]


def farms(rng: np.random.Generator, extent: float, per_km2: float) -> Points:
    """A house and up to three barns each, anywhere."""
    count = rng.poisson(per_km2 * (extent / 1000) ** 2)
    yards = rng.integers(1, 5, count)
    n = int(yards.sum())
    middle = np.repeat(rng.uniform(0, extent, (count, 2)), yards, axis=0)
    angle = np.repeat(rng.uniform(0, math.pi, count), yards)
    angle = angle + rng.integers(0, 2, n) * math.pi / 2
    centres = middle + rng.normal(0, 22, (n, 2))
    length, width = rng.uniform(10, 38, n), rng.uniform(8, 16, n)
    return _table(centres, length, width, angle, rng.uniform(3.5, 8, n))


def scattered(rng: np.random.Generator, extent: float, per_km2: float) -> Points:
    """Single houses of open settlement, in loose clusters along nothing."""
    if not per_km2:
        return np.zeros((0, COLUMNS))
    clusters = rng.uniform(0, extent, (rng.poisson(per_km2 / 5 * (extent / 1000) ** 2), 2))
    sizes = rng.geometric(0.2, len(clusters))
    n = int(sizes.sum())
    centres = np.repeat(clusters, sizes, axis=0) + rng.normal(0, 160, (n, 2))
    angle = rng.uniform(0, math.pi, n)
    length, width = rng.uniform(8, 18, n), rng.uniform(7, 12, n)
    return _table(centres, length, width, angle, rng.uniform(3, 8, n))


def halls(rng: np.random.Generator, extent: float, per_km2: float) -> Points:
    """Strips of large halls beside each other, each strip with bright roofs or without."""
    count = rng.poisson(per_km2 * (extent / 1000) ** 2) if per_km2 else 0
    parts = [np.zeros((0, COLUMNS))]
    for _ in range(count):
        n = int(rng.integers(1, 6))
        angle, middle = rng.uniform(0, math.pi), rng.uniform(0, extent, 2)
        length, width = rng.uniform(60, 260), rng.uniform(35, 110)
        gap = rng.uniform(6, 40)
        across = np.array([-math.sin(angle), math.cos(angle)])
        centres = middle + np.outer((np.arange(n) - (n - 1) / 2) * (width + gap), across)
        one = np.ones(n)
        part = _table(centres, length * one, width * one, angle * one, rng.uniform(6, 14, n))
        part[:, 6] *= bright_roofs(rng, 1)
        parts.append(part)
    return np.concatenate(parts)


def row_village(
    rng: np.random.Generator,
    middle: tuple[float, float],
    radius: float,
    turn: float,
    trees: float,
) -> Points:
    """Houses and barns on both sides of one winding road, behind trees."""
    half = 2.4 * radius
    pitch = rng.uniform(18, 40)
    t = np.arange(-half, half, pitch)
    bend = radius * rng.normal(0, 0.35) * np.sin(math.pi * t / half * rng.uniform(0.5, 1.5))
    slope = np.gradient(bend, pitch) if len(t) > 1 else np.zeros(len(t))
    rows: list[Points] = []
    for side in (-1.0, 1.0):
        for depth, share in ((rng.uniform(11, 18), 0.85), (rng.uniform(32, 48), 0.4)):
            built = rng.random(len(t)) < share
            n = int(built.sum())
            along = t[built] + rng.normal(0, 3, n)
            off = bend[built] + side * depth + rng.normal(0, 2, n)
            angle = turn + np.arctan(slope[built]) + (rng.random(n) < 0.6) * math.pi / 2
            cos, sin = math.cos(turn), math.sin(turn)
            centres = np.stack([along * cos - off * sin, along * sin + off * cos], 1) + middle
            sizes = rng.uniform(11, 26, n), rng.uniform(8, 12, n)
            part = _table(centres, *sizes, angle, rng.uniform(3.5, 8, n))
            part[:, 7] *= 1 - trees * rng.random(n)
            rows.append(part)
    return np.concatenate(rows)


def bright_roofs(rng: np.random.Generator, count: int) -> NDArray[Any]:
    """Relative returns of halls' roofs: ribbed metal is 5 to 15 dB above other roofs, or not."""
    bright = 10 ** rng.uniform(0.5, 1.5, count)
    return np.where(rng.random(count) < 0.6, bright, 1.0)


def _table(
    centres: Points,
    length: NDArray[Any],
    width: NDArray[Any],
    angle: NDArray[Any],
    height: NDArray[Any],
) -> Points:
    ones = np.ones((len(centres), 2))
    return np.column_stack([centres, length, width, angle, height, ones])
