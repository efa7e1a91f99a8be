"""The open country: land cover in parcels, woods, rock and water."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.simulate.plan.noise import FractalField, SmoothField, hash_cells, hash_uniform

__all__ = ["CODE", "NAMES", "Country", "draw_country"]

Float = NDArray[np.float32]

#: Kinds of ground; a pixel's code is the number of its kind.
NAMES = (
    "cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "forest", "bare", "rock", "water",
    "road", "garden",
)  # fmt: skip
CODE = {name: code for code, name in enumerate(NAMES)}
#: Parcels take these classes, with shares that differ between cities.
CROPS = ("cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "bare")
TEMPERATE = (0.30, 0.16, 0.28, 0.13, 0.06, 0.03, 0.04)
DRY = (0.24, 0.09, 0.10, 0.23, 0.08, 0.06, 0.20)
#: How much the small `edges` field frays the outlines of woods and rock.
FRAY = 0.22


@dataclass(frozen=True)
class Country:
    """Fields and tables from which the land cover of any pixel follows.

    Coordinates are metres east and south of the scene's upper left corner.
    """

    salt: int
    dryness: float
    hills: FractalField
    rocks: FractalField
    woods: FractalField
    rivers: FractalField
    lakes: FractalField
    warp: tuple[SmoothField, SmoothField]
    soil: SmoothField
    edges: FractalField
    rock_level: float
    wood_level: float
    lake_level: float
    river_width: float
    district: float

    def water(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where water stands, at points (metres)."""
        return self._is_water(self.rivers.at(x, y), self.lakes.at(x, y))

    def rock(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where bare rock stands, at points (metres)."""
        return self.rocks.at(x, y) + FRAY * self.edges.at(x, y) > self.rock_level

    def wood(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where forest stands, at points (metres)."""
        return self.woods.at(x, y) + FRAY * self.edges.at(x, y) > self.wood_level

    def _is_water(self, river: Float, lake: Float) -> NDArray[np.bool_]:
        return (np.abs(river) < self.river_width) | (lake > self.lake_level)

    def classes(
        self, x: NDArray[Any], y: NDArray[Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """Class codes, and a hash of each pixel's parcel."""
        parcel, edge = self._parcels(x, y)
        shares = (1 - self.dryness) * np.array(TEMPERATE) + self.dryness * np.array(DRY)
        steps = np.cumsum(shares / shares.sum())[:-1]
        codes = np.array([CODE[name] for name in CROPS], np.uint8)
        code = codes[np.searchsorted(steps.astype(np.float32), hash_uniform(parcel))]
        code[edge] = CODE["grass"]
        fray = np.float32(FRAY) * self.edges.grid(x, y)
        code[self.woods.grid(x, y) + fray > self.wood_level] = CODE["forest"]
        code[self.rocks.grid(x, y) + fray > self.rock_level] = CODE["rock"]
        code[self._is_water(self.rivers.grid(x, y), self.lakes.grid(x, y))] = CODE["water"]
        return code, parcel

    def _parcels(
        self, x: NDArray[Any], y: NDArray[Any]
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """A hash of each pixel's parcel, and the banks between parcels.

        Districts are squares with bent sides; each has its own direction and size of parcels.
        """
        across, down = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
        wide = np.float32(0.3 * self.district)
        area = hash_cells(
            np.floor((across + wide * self.warp[0].grid(x, y)) / self.district),
            np.floor((down + wide * self.warp[1].grid(x, y)) / self.district),
            self.salt,
        )
        angle = hash_uniform(area, 1) * np.float32(math.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        u = across * cos + down * sin
        v = down * cos - across * sin
        u /= np.float32(45) + np.float32(120) * hash_uniform(area, 2) ** 2
        v /= np.float32(130) + np.float32(380) * hash_uniform(area, 3)
        column = np.floor(u)
        shift = hash_uniform(hash_cells(column, area, self.salt + 1))
        row = np.floor(v + shift)
        parcel = hash_cells(column, row, self.salt + 2) ^ area
        bank = (u - column < np.float32(0.07)) & (hash_uniform(area, 4) < np.float32(0.4))
        return parcel, bank


def draw_country(rng: np.random.Generator, extent: float) -> Country:
    """Draw the land of a city; shares of forest, rock and water differ between cities."""
    dryness = rng.uniform(0, 1)
    return Country(
        salt=int(rng.integers(1, 2**31)),
        dryness=dryness,
        hills=FractalField.draw(rng, extent, 1200, 5, gain=0.6),
        rocks=FractalField.draw(rng, extent, 1500, 3, gain=0.5),
        woods=FractalField.draw(rng, extent, 1300, 3, gain=0.5),
        rivers=FractalField.draw(rng, extent, 6000, 5, gain=0.42),
        lakes=FractalField.draw(rng, extent, 2200, 3, gain=0.45),
        warp=(SmoothField.draw(rng, extent, 700), SmoothField.draw(rng, extent, 700)),
        soil=SmoothField.draw(rng, extent, 500),
        edges=FractalField.draw(rng, extent, 220, 3, gain=0.6),
        rock_level=rng.uniform(1.0, 1.5),
        wood_level=rng.uniform(0.75, 1.4) + 0.5 * dryness,
        lake_level=rng.uniform(1.9, 2.5),
        river_width=rng.uniform(0.008, 0.03),
        district=rng.uniform(700, 1400),
    )
