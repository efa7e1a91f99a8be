"""The open country: land cover in parcels, woods, rock and water."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from builtup.simulate.plan.noise import FractalField, SmoothField, hash_cells, hash_uniform
from builtup.simulate.plan.style import Land

__all__ = ["CODE", "NAMES", "OTHER_CROPS", "Country", "draw_country"]

Float = NDArray[np.float32]

#: Kinds of ground; a pixel's code is the number of its kind.
NAMES = (
    "cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "forest", "bare", "rock", "water",
    "road", "garden", "tallcrop", "greenhouse", "flooded", "reed", "belt",
)  # fmt: skip
CODE = {name: code for code, name in enumerate(NAMES)}
#: Parcels take these classes, with shares that differ between cities.
CROPS = ("cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "bare")
TEMPERATE = (0.30, 0.16, 0.28, 0.13, 0.06, 0.03, 0.04)
DRY = (0.24, 0.09, 0.10, 0.23, 0.08, 0.06, 0.20)
#: Parcels take these where a city's style gives them a share.
OTHER_CROPS = ("tallcrop", "greenhouse", "flooded", "reed")
#: How much the small `edges` field frays the outlines of woods and rock.
FRAY = 0.22
#: How far that field moves the shore, and how wide a belt of trees is, in metres.
SHORE, BELT = 90.0, np.float32(14.0)
#: The land of the plain world.
PLAIN = Land()


@dataclass(frozen=True)
class Country:
    """Fields and tables from which the land cover of any pixel follows.

    Coordinates are metres east and south of the scene's upper left corner. `steps`: upper ends of
    the crops' shares, but for the last; the sea lies where x·a + y·b > c for `coast` (a, b, c).
    """

    salt: int
    steps: Float
    hills: FractalField
    rocks: FractalField
    woods: FractalField
    rivers: FractalField
    lakes: FractalField
    warp: tuple[SmoothField, SmoothField]
    soil: SmoothField
    quarters: SmoothField
    edges: FractalField
    rock_level: float
    wood_level: float
    lake_level: float
    river_width: float
    district: float
    parcel: float
    strips: float
    turns: tuple[float, float]
    clusters: float
    belts: float
    coast: tuple[float, float, float] | None

    def water(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where water stands, at points (metres)."""
        inland = self._is_water(self.rivers.at(x, y), self.lakes.at(x, y))
        return inland | self.sea(x, y)

    def sea(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the sea lies, at points (metres)."""
        return self._is_sea(x, y, self.edges.at(x, y))

    def rock(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where bare rock stands, at points (metres)."""
        return self.rocks.at(x, y) + FRAY * self.edges.at(x, y) > self.rock_level

    def wood(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """Where forest stands, at points (metres)."""
        return self.woods.at(x, y) + FRAY * self.edges.at(x, y) > self.wood_level

    def _is_water(self, river: Float, lake: Float) -> NDArray[np.bool_]:
        return (np.abs(river) < self.river_width) | (lake > self.lake_level)

    def _is_sea(self, x: NDArray[Any], y: NDArray[Any], fray: Float) -> NDArray[np.bool_]:
        """Where the sea lies, at coordinates that broadcast and the field of edges there."""
        if self.coast is None:
            return np.zeros(fray.shape, np.bool_)
        a, b, c = self.coast
        sea: NDArray[np.bool_] = a * x + b * y + SHORE * fray > c
        return sea

    def classes(
        self, x: NDArray[Any], y: NDArray[Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """Class codes, and a hash of each pixel's parcel."""
        parcel, bank, belt = self._parcels(x, y)
        codes = np.array([CODE[name] for name in CROPS + OTHER_CROPS], np.uint8)
        code = codes[np.searchsorted(self.steps, self._ranks(parcel, x, y))]
        code[bank] = CODE["grass"]
        code[belt] = CODE["belt"]
        edges = self.edges.grid(x, y)
        fray = np.float32(FRAY) * edges
        code[self.woods.grid(x, y) + fray > self.wood_level] = CODE["forest"]
        code[self.rocks.grid(x, y) + fray > self.rock_level] = CODE["rock"]
        code[self._is_water(self.rivers.grid(x, y), self.lakes.grid(x, y))] = CODE["water"]
        code[self._is_sea(x[None, :], y[:, None], edges)] = CODE["water"]
        return code, parcel

    def _ranks(self, parcel: NDArray[np.uint32], x: NDArray[Any], y: NDArray[Any]) -> Float:
        """Uniform numbers that choose a parcel's crop, alike nearby where crops cluster."""
        own = hash_uniform(parcel)
        if not self.clusters:
            return own
        # a Gaussian copula: the mix of a parcel's deviate and the place's has deviation 1 again
        place = np.float32(self.clusters) * self.quarters.grid(x, y)
        deviate = special.ndtri(np.clip(own, 1e-6, 1 - 1e-6)).astype(np.float32)
        mixed: Float = special.ndtr(place + np.float32(math.sqrt(1 - self.clusters**2)) * deviate)
        return mixed

    def _parcels(
        self, x: NDArray[Any], y: NDArray[Any]
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_], NDArray[np.bool_]]:
        """A hash of each pixel's parcel, the banks and the belts of trees between parcels.

        Districts are squares with bent sides; each has its own direction and size of parcels.
        """
        across, down = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
        wide = np.float32(0.3 * self.district)
        area = hash_cells(
            np.floor((across + wide * self.warp[0].grid(x, y)) / self.district),
            np.floor((down + wide * self.warp[1].grid(x, y)) / self.district),
            self.salt,
        )
        first, spread = self.turns
        angle = hash_uniform(area, 1) * np.float32(math.pi * spread) + np.float32(first)
        cos, sin = np.cos(angle), np.sin(angle)
        u = across * cos + down * sin
        v = down * cos - across * sin
        width = np.float32(45) + np.float32(120) * hash_uniform(area, 2) ** 2
        u /= width * np.float32(self.parcel)
        length = np.float32(130) + np.float32(380) * hash_uniform(area, 3)
        v /= length * np.float32(self.parcel * self.strips)
        column = np.floor(u)
        shift = hash_uniform(hash_cells(column, area, self.salt + 1))
        row = np.floor(v + shift)
        parcel = hash_cells(column, row, self.salt + 2) ^ area
        bank = (u - column < np.float32(0.07)) & (hash_uniform(area, 4) < np.float32(0.4))
        grown = (hash_uniform(area, 5) < self.belts) & (hash_uniform(parcel, 11) < 0.4)
        belt = grown & (
            (u - column < BELT / (width * np.float32(self.parcel))) | (v + shift - row < 0.06)
        )
        return parcel, bank, belt


def draw_country(rng: np.random.Generator, extent: float, land: Land = PLAIN) -> Country:
    """Draw the land of a city; shares of crops, forest, rock and water differ between cities."""
    dryness = rng.uniform(*land.dryness)
    return Country(
        salt=int(rng.integers(1, 2**31)),
        steps=_steps(dryness, land),
        hills=FractalField.draw(rng, extent, 1200, 5, gain=0.6),
        rocks=FractalField.draw(rng, extent, 1500, 3, gain=0.5),
        woods=FractalField.draw(rng, extent, 1300, 3, gain=0.5),
        rivers=FractalField.draw(rng, extent, 6000, 5, gain=0.42),
        lakes=FractalField.draw(rng, extent, 2200, 3, gain=0.45),
        warp=(SmoothField.draw(rng, extent, 700), SmoothField.draw(rng, extent, 700)),
        soil=SmoothField.draw(rng, extent, 500),
        edges=FractalField.draw(rng, extent, 220, 3, gain=0.6),
        rock_level=rng.uniform(1.0, 1.5) + land.rocks,
        wood_level=rng.uniform(0.75, 1.4) + 0.5 * dryness + land.woods,
        lake_level=rng.uniform(1.9, 2.5) + land.lakes,
        river_width=rng.uniform(0.008, 0.03) * land.rivers,
        district=rng.uniform(700, 1400) * max(1.0, land.parcel),
        parcel=land.parcel,
        strips=land.strips,
        turns=(0.0 if land.turns == 1 else rng.uniform(0, math.pi), land.turns),
        clusters=land.clusters,
        belts=land.belts,
        coast=_coast(rng, extent) if land.coast else None,
        quarters=SmoothField.draw(rng, extent, 900),
    )


def _steps(dryness: float, land: Land) -> Float:
    """Upper ends of the shares of crops, without the last."""
    mix = (1 - dryness) * np.array(TEMPERATE) + dryness * np.array(DRY)
    shares = mix * [land.crops.get(name, 1.0) for name in CROPS]
    shares = np.append(shares, [land.crops.get(name, 0.0) for name in OTHER_CROPS])
    return np.cumsum(shares / shares.sum())[:-1].astype(np.float32)


def _coast(rng: np.random.Generator, extent: float) -> tuple[float, float, float]:
    """The sea takes up to a third of the scene, from one side."""
    angle = rng.uniform(0, 2 * math.pi)
    a, b = math.cos(angle), math.sin(angle)
    return a, b, (a + b) * extent / 2 + rng.uniform(0.15, 0.45) * extent
