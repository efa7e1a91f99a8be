"""Height above local ground, from elevations: what of a surface stands up from its terrain.

The ground is the lower envelope of the surface: a low percentile in a window wider than any
building, then a high percentile of that in the same window (a slope is taken down by the first and
put back by the second), smoothed; and once more of what is left, for hills. It is computed in cells
of about 4 m at nodes of about 16 m, so that a whole scene's fits into little memory, and read
between the nodes for any window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from builtup.geo.bilinear import between
from builtup.geo.windows import Window

__all__ = ["Ground", "GroundCells"]

#: Side of the window in metres: with 50 m the middle of a hall became ground.
WINDOW = 160.0
#: Metres of a cell and between nodes, and the least pixels of a cell: a 64th of a scene's memory.
CELL, NODE, LEAST_PIXELS = 4.0, 16.0, 8
#: Percentile of the lower envelope: streets and yards, not the deepest pit.
LOW = 0.10
#: Standard deviation of the smoothing, in nodes.
SMOOTH = 1.0
#: Envelopes, each of what the ones before left: on hills of 9 m the first is 1.5 m off the ground
#: (root mean square; a low percentile alone 3.4 m), two are 1.0 m.
ENVELOPES = 2
#: Rounds in which the scene's plane sinks to its lower side, and the weight of what is above it.
_ROUNDS, _ABOVE = 20, 0.02

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]


class GroundCells:
    """The mean elevation in each cell of a scene, taken in window by window.

    `metres` is the side of a pixel. 16 bytes a cell: 1/400 of the elevations at 10 cm.
    """

    def __init__(self, width: int, height: int, metres: float) -> None:
        self.metres = metres
        self.pixels = max(LEAST_PIXELS, round(CELL / metres))
        self.shape = (-(-height // self.pixels), -(-width // self.pixels))
        self._totals = np.zeros(self.shape)
        self._counts = np.zeros(self.shape)

    def add(self, window: Window, elevation: Floats) -> None:
        """Take a window into account: (h, w), NaN unknown. None may come twice."""
        rows = self._starts(window.y, window.height)
        columns = self._starts(window.x, window.width)
        known = np.isfinite(elevation)
        if known.all():
            total = _sums(elevation, rows, columns)
            of_row = np.diff(rows, append=window.height)
            count = np.outer(of_row, np.diff(columns, append=window.width)).astype(np.float64)
        else:
            total = _sums(np.where(known, elevation, 0), rows, columns)
            count = _sums(known, rows, columns)
        top, left = window.y // self.pixels, window.x // self.pixels
        place = (slice(top, top + len(rows)), slice(left, left + len(columns)))
        self._totals[place] += total
        self._counts[place] += count

    def _starts(self, first: int, length: int) -> Places:
        """Where the cells begin in a window, along an axis; one that began before it, at 0."""
        starts = np.arange(-(first % self.pixels), length, self.pixels)
        return np.maximum(starts, 0)

    def ground(self) -> Ground | None:
        """The ground of the scene; None where nothing is known."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cells = (self._totals / self._counts).astype(np.float32)
        if not np.isfinite(cells).any():
            return None
        plane = _lower_plane(cells)
        left = (cells - _on_plane(plane, *cells.shape)).astype(np.float32)
        cell = self.pixels * self.metres
        step = max(1, round(NODE / cell))
        half = max(1, round(WINDOW / 2 / cell))
        places = [(np.arange(size) + 0.5) / step - 0.5 for size in cells.shape]
        nodes: Floats = np.zeros([-(-size // step) for size in cells.shape], np.float32)
        for _ in range(ENVELOPES):
            low = _percentiles(left, half, step, LOW)
            high = _percentiles(low, max(1, round(half / step)), 1, 1 - LOW)
            envelope = _smoothed(high)
            nodes += envelope
            left -= between(envelope, *places)
        return Ground(nodes, plane, step * self.pixels, self.pixels)


@dataclass(frozen=True)
class Ground:
    """The elevation of the ground: `nodes` above a plane, `spacing` pixels apart.

    `plane` is the elevation at the first cell, and its change by a row and by a column of cells of
    `cell` pixels.
    """

    nodes: Floats
    plane: Doubles
    spacing: int
    cell: int

    def under(self, window: Window) -> Floats:
        """The ground's elevation (h, w) under each pixel of a window."""
        y = np.arange(window.y, window.y + window.height) + 0.5
        x = np.arange(window.x, window.x + window.width) + 0.5
        out = between(self.nodes, y / self.spacing - 0.5, x / self.spacing - 0.5)
        start, by_row, by_column = self.plane
        out += (start + by_row * (y / self.cell - 0.5)).astype(np.float32)[:, None]
        out += (by_column * (x / self.cell - 0.5)).astype(np.float32)
        return out


def _sums(values: Any, rows: Places, columns: Places) -> Doubles:
    down = np.add.reduceat(values, rows, axis=0, dtype=np.float64)
    total: Doubles = np.add.reduceat(down, columns, axis=1)
    return total


def _lower_plane(cells: Floats) -> Doubles:
    """The plane (start, by row, by column) at the lower side of the cells: their slope as a whole.

    Least squares, in which what lies above counts little and less in each round, so that buildings
    on one side do not tilt it.
    """
    y, x = np.nonzero(np.isfinite(cells))
    if len(y) > 50_000:  # a sample, evenly spread
        chosen = np.linspace(0, len(y) - 1, 50_000).astype(np.intp)
        y, x = y[chosen], x[chosen]
    z = cells[y, x].astype(np.float64)
    middle = np.array([y.mean(), x.mean()])
    terms = np.stack([np.ones(len(z)), y - middle[0], x - middle[1]], axis=1)
    weights = np.ones(len(z))
    fit: Doubles = np.zeros(3)
    for _ in range(_ROUNDS):
        # a little of nothing keeps cells on one line from having any slope across it
        normal = terms.T @ (terms * weights[:, None]) + np.diag([0, 1e-6, 1e-6])
        fit[:] = np.linalg.solve(normal, terms.T @ (z * weights))
        weights = np.where(z - terms @ fit > 0, _ABOVE, 1.0)
    return np.array([fit[0] - fit[1] * middle[0] - fit[2] * middle[1], fit[1], fit[2]])


def _on_plane(plane: Doubles, height: int, width: int) -> Doubles:
    out: Doubles = plane[0] + plane[1] * np.arange(height)[:, None] + plane[2] * np.arange(width)
    return out


def _percentiles(values: Floats, half: int, step: int, share: float) -> Floats:
    """A percentile of the known values in a square window around every `step`-th one.

    The window reaches `half` values to each side, and is cut at the edges; NaN where it holds none.
    The middle ones of each `step` x `step` are its centres.
    """
    height, width = values.shape
    ys = np.minimum(np.arange(0, height, step) + step // 2, height - 1)
    xs = np.minimum(np.arange(0, width, step) + step // 2, width - 1)
    out = np.empty((len(ys), len(xs)), np.float32)
    side = 2 * half + 1
    for row, y in enumerate(ys):
        rows = values[max(0, y - half) : y + half + 1]
        padded = np.pad(rows, ((0, 0), (half, half)), constant_values=np.nan)
        windows = sliding_window_view(padded, side, axis=1)[:, xs]
        ranked = np.sort(windows.transpose(1, 0, 2).reshape(len(xs), -1), axis=1)  # NaN last
        known = np.count_nonzero(np.isfinite(ranked), axis=1)
        rank = np.floor(share * np.maximum(known - 1, 0)).astype(np.intp)
        out[row] = ranked[np.arange(len(xs)), rank]
    return out


def _smoothed(nodes: Floats) -> Floats:
    """Smoothed by a Gaussian over what is known; unknown nodes are as the nearest known."""
    unknown = ~np.isfinite(nodes)
    if unknown.any():
        nearest = ndimage.distance_transform_edt(
            unknown, return_distances=False, return_indices=True
        )
        nodes = nodes[tuple(nearest)]
    out: Floats = ndimage.gaussian_filter(nodes, SMOOTH, mode="nearest")
    return out
