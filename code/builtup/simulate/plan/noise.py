"""Random fields that are functions of the ground position, whatever the grid or block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FractalField", "SmoothField", "hash_cells", "hash_uniform", "stream"]

#: Fields reach this far beyond the scene on every side, in metres.
MARGIN = 1000.0
#: Mean of the sum of squared cubic B-spline weights over all positions, along one axis.
SPLINE_ENERGY = 0.4794

Float = NDArray[np.float32]
UInt = NDArray[np.uint32]


def stream(*key: int) -> np.random.Generator:
    """A random stream of its own for each key of integers, alike on every machine."""
    return np.random.default_rng([part & 0xFFFFFFFF for part in key])


@dataclass(frozen=True)
class SmoothField:
    """Gaussian noise of mean 0 and deviation 1, smooth below `spacing` metres.

    A cubic B-spline through independent normal coefficients on a lattice. Coordinates are metres
    east and south of the scene's upper left corner.
    """

    coefficients: Float
    spacing: float

    @classmethod
    def draw(cls, rng: np.random.Generator, extent: float, spacing: float) -> SmoothField:
        """Draw a field for a square of `extent` metres and its margin."""
        count = math.ceil((extent + 2 * MARGIN) / spacing) + 4
        values = rng.standard_normal((count, count), dtype=np.float32)
        return cls(values / np.float32(SPLINE_ENERGY), spacing)

    def grid(self, x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Values (len(y), len(x)) on the grid of the columns `x` and rows `y`, in metres."""
        rows, first_row = self._weights(y)
        columns, first_column = self._weights(x)
        part = self.coefficients[
            first_row : first_row + rows.shape[1], first_column : first_column + columns.shape[1]
        ]
        values: Any = rows @ part @ columns.T
        return values

    def at(self, x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Values at points, in metres; points beyond the margin get the margin's edge."""
        row, wy = self._point_weights(y)
        column, wx = self._point_weights(x)
        out = np.zeros(len(row), np.float32)
        for i in range(4):
            for j in range(4):
                out += wy[i] * wx[j] * self.coefficients[row + i, column + j]
        return out

    def _point_weights(self, t: NDArray[Any]) -> tuple[NDArray[np.intp], list[Float]]:
        scaled = (np.asarray(t, np.float64) + MARGIN) / self.spacing
        scaled = np.clip(scaled, 0, len(self.coefficients) - 4.001)
        whole = np.floor(scaled)
        f: Any = (scaled - whole).astype(np.float32)
        weights = [
            (1 - f) ** 3 / 6,
            (3 * f**3 - 6 * f**2 + 4) / 6,
            (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
            f**3 / 6,
        ]
        return whole.astype(np.intp), weights

    def _weights(self, t: NDArray[Any]) -> tuple[Float, int]:
        """Dense spline weights of an axis and the first coefficient that they meet."""
        whole, weights = self._point_weights(t)
        first = int(whole.min())
        matrix = np.zeros((len(whole), int(whole.max()) - first + 4), np.float32)
        rows = np.arange(len(whole))
        for k in range(4):
            matrix[rows, whole - first + k] = weights[k]
        return matrix, first


@dataclass(frozen=True)
class FractalField:
    """A sum of smooth fields, each octave half as wide and `gain` times as strong."""

    octaves: tuple[SmoothField, ...]
    gains: tuple[float, ...]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        extent: float,
        spacing: float,
        octaves: int,
        gain: float = 0.5,
    ) -> FractalField:
        """Draw `octaves` fields; the sum has deviation 1."""
        fields = tuple(SmoothField.draw(rng, extent, spacing / 2**i) for i in range(octaves))
        gains = [gain**i for i in range(octaves)]
        norm = math.sqrt(sum(g * g for g in gains))
        return cls(fields, tuple(g / norm for g in gains))

    def grid(self, x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Values (len(y), len(x)) on a grid, as SmoothField.grid."""
        out = np.zeros((len(y), len(x)), np.float32)
        for octave, gain in zip(self.octaves, self.gains, strict=True):
            out += np.float32(gain) * octave.grid(x, y)
        return out

    def at(self, x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Values at points, as SmoothField.at."""
        out = np.zeros(len(x), np.float32)
        for octave, gain in zip(self.octaves, self.gains, strict=True):
            out += np.float32(gain) * octave.at(x, y)
        return out


def hash_cells(x: NDArray[Any], y: NDArray[Any], salt: int) -> UInt:
    """Mix integer cell coordinates and a salt into well-spread 32 bits (murmur3's finaliser)."""
    h = x.astype(np.int64).astype(np.uint32) * np.uint32(0x9E3779B1)
    h = h ^ (y.astype(np.int64).astype(np.uint32) * np.uint32(0x85EBCA77))
    h ^= np.uint32((salt * 0xC2B2AE3D) & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    return h


def hash_uniform(hashed: UInt, salt: int = 0) -> Float:
    """Uniform numbers in [0, 1) from hashes; each salt gives other numbers."""
    h = hashed
    if salt:
        h = (h ^ np.uint32((salt * 0x27D4EB2F) & 0xFFFFFFFF)) * np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0xC2B2AE35)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
