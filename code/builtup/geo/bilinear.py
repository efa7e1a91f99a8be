"""Values between the pixels of a raster, for rows and columns that run along its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["between", "between_known"]

#: A place is known where known pixels have at least this share of its weight: gaps stay their size.
KNOWN = 0.5

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]


def between(values: Floats, y: Doubles, x: Doubles) -> Floats:
    """Values (len(y), len(x)) at rows y and columns x, in which pixel 0 has its centre at 0.

    Bilinear; beyond the outermost centres as there.
    """
    (above, below, down), (left, right, across) = (
        _neighbours(places, size) for places, size in zip((y, x), values.shape, strict=True)
    )
    rows = values[above] * (1 - down)[:, None]
    rows += values[below] * down[:, None]
    out: Floats = rows.take(left, axis=1)
    out *= 1 - across
    out += rows.take(right, axis=1) * across
    return out


def between_known(values: Floats, y: Doubles, x: Doubles) -> Floats:
    """As `between`, of values that are NaN where unknown: of the known ones among the four."""
    known = np.isfinite(values)
    if known.all():
        return between(values, y, x)
    weight = between(known.astype(np.float32), y, x)
    out = between(np.where(known, values, np.float32(0)), y, x)
    with np.errstate(invalid="ignore", divide="ignore"):
        out /= weight
    out[weight < KNOWN] = np.nan
    return out


def _neighbours(places: Doubles, size: int) -> tuple[Places, Places, Floats]:
    """Of places the pixel before, the next, and the share of the next."""
    places = np.clip(places, 0, size - 1)
    before = np.minimum(places.astype(np.intp), max(size - 2, 0))
    return before, np.minimum(before + 1, size - 1), (places - before).astype(np.float32)
