"""The open country: land cover in parcels and its mean backscatter on a date.

Mean backscatter of C band is the middle of the ranges in: Ulaby & Dobson (1989), Handbook of Radar
Scattering Statistics for Terrain (C band, VV and HV, 30–45°); for crops Vreugdenhil et al. (2018,
Remote Sensing 10(9) 1396) and Veloso et al. (2017, RSE 199): VV −16…−7 dB, VH −24…−13 dB; for
forest Dostálová et al. (2018, Remote Sensing 10(10) 1552): VV −11…−8 dB, VH −17…−13 dB; for water
and wet ground Bauer-Marschallinger et al. (2021, Scientific Data 8, 277).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from builtup.simulate.plan.noise import FractalField, SmoothField, hash_cells, hash_uniform

__all__ = ["Country", "Weather", "draw_country"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """Mean σ⁰ at about 38° incidence in dB, deviation between stands, swing over the year."""

    vv: float
    vh: float
    spread: float
    season: float


#: From the sources above.
LEVELS = {
    "cereal": Level(-11.0, -17.8, 1.1, 2.8),
    "rowcrop": Level(-9.3, -15.5, 1.0, 2.2),
    "grass": Level(-10.8, -17.4, 0.8, 0.9),
    "ploughed": Level(-10.4, -18.8, 1.7, 1.0),
    "orchard": Level(-8.5, -14.0, 0.9, 0.6),
    "wet": Level(-6.2, -15.0, 1.8, 2.2),
    "forest": Level(-9.6, -14.8, 0.8, 0.7),
    "bare": Level(-13.0, -21.5, 1.6, 0.5),
    "rock": Level(-8.2, -14.8, 1.3, 0.2),
    "water": Level(-21.0, -28.5, 0.6, 0.0),
    "road": Level(-16.5, -24.5, 0.7, 0.0),
    "garden": Level(-9.6, -15.8, 0.8, 0.8),
}
NAMES = tuple(LEVELS)
CODE = {name: code for code, name in enumerate(NAMES)}
#: Parcels take these classes, with shares that differ between cities.
CROPS = ("cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "bare")
TEMPERATE = (0.30, 0.16, 0.28, 0.13, 0.06, 0.03, 0.04)
DRY = (0.24, 0.09, 0.10, 0.23, 0.08, 0.06, 0.20)
#: Shape of the gamma texture within a stand (∞: none): K-distributed clutter after speckle.
TEXTURE = {"forest": 9.0, "orchard": 7.0, "rock": 1.5, "garden": 4.0}
#: How much the small `edges` field frays the outlines of woods and rock.
FRAY = 0.22
#: Incidence dependence of land at C band, dB per degree from 38°.
PER_DEGREE = -0.13


@dataclass(frozen=True)
class Weather:
    """What a date changes: `year` in [0, 1), soil moisture (σ, dB), wind on water (dB)."""

    year: float
    moisture: float
    wind: float


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

    def backscatter(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        weather: Weather,
        look: tuple[float, float],
        incidence: float = 38.0,
    ) -> tuple[Float, Float]:
        """Mean σ⁰ (linear VV, VH) without towns on a grid.

        `x` (columns) and `y` (rows) are metres; `look` is the horizontal direction from the
        sensor (east, south), `incidence` in degrees.
        """
        code, parcel = self._classes(x, y)
        table = np.array([(level.vv, level.vh) for level in LEVELS.values()], np.float32)
        vv, vh = table[:, 0][code], table[:, 1][code]
        change = self._stand_change(code, parcel, weather) + self._slopes(x, y, code, look)
        change += np.float32(0.5) * self.soil.grid(x, y)
        change += np.float32(PER_DEGREE * (incidence - 38))
        vv += change
        vh += change * np.float32(0.8) + self._cross_change(code, parcel, weather)
        texture = self._texture(x, y, code)
        return _power(vv) * texture, _power(vh) * texture

    def garden(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[Float, Float]:
        """σ⁰ (VV, VH) of the ground between houses: gardens, trees, pavement."""
        cell = hash_cells(*_cells(x, y, 20.0), self.salt + 5)
        green = hash_uniform(cell)
        offset = np.float32(5.0) * (green - np.float32(0.75))
        level = LEVELS["garden"]
        return _power(offset + np.float32(level.vv)), _power(offset + np.float32(level.vh))

    def _classes(
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

    def _stand_change(
        self, code: NDArray[np.uint8], parcel: NDArray[np.uint32], weather: Weather
    ) -> Float:
        """dB from stand to stand, season and moisture."""
        levels = LEVELS.values()
        spread = np.array([level.spread for level in levels], np.float32)[code]
        season = np.array([level.season for level in levels], np.float32)[code]
        moist = np.array(
            [0.1 if name in {"water", "road", "rock"} else 1.0 for name in NAMES], np.float32
        )
        stand = special.ndtri(np.clip(hash_uniform(parcel, 7), 0.002, 0.998)).astype(np.float32)
        whole = (code == CODE["forest"]) | (code == CODE["rock"]) | (code == CODE["water"])
        stand[whole] = 0
        phase = hash_uniform(parcel, 8) * np.float32(0.6) + np.float32(weather.year)
        change = spread * stand + season * np.sin(np.float32(2 * math.pi) * phase)
        change += moist[code] * np.float32(weather.moisture)
        change += np.where(code == CODE["water"], np.float32(weather.wind), np.float32(0))
        return change

    def _cross_change(
        self, code: NDArray[np.uint8], parcel: NDArray[np.uint32], weather: Weather
    ) -> Float:
        """dB of VH beyond that of VV: vegetation in its season."""
        season = np.array([level.season for level in LEVELS.values()], np.float32)[code]
        phase = hash_uniform(parcel, 8) * np.float32(0.6) + np.float32(weather.year)
        extra = hash_uniform(parcel, 9) * np.float32(2) - np.float32(1)
        extra[code == CODE["water"]] = 0
        return np.float32(0.25) * season * np.sin(np.float32(2 * math.pi) * phase) + extra

    def _slopes(
        self, x: NDArray[Any], y: NDArray[Any], code: NDArray[np.uint8], look: tuple[float, float]
    ) -> Float:
        """dB of slopes that face the sensor (brighter) or turn away; strong on rock."""
        step = 10.0
        x_long = np.concatenate([x, [x[-1] + step]])
        y_long = np.concatenate([y, [y[-1] + step]])
        height = self.hills.grid(x_long, y_long)
        rise = look[0] * np.diff(height, axis=1)[:-1] + look[1] * np.diff(height, axis=0)[:, :-1]
        gain = np.full(len(NAMES), 10.0, np.float32)
        gain[CODE["rock"]] = 220.0
        gain[CODE["forest"]] = 30.0
        gain[CODE["water"]] = 0.0
        return np.float32(7) * np.tanh(gain[code] * rise / np.float32(7))

    def _texture(self, x: NDArray[Any], y: NDArray[Any], code: NDArray[np.uint8]) -> Float:
        """Gamma texture of mean 1, fixed on the ground in cells of 15 m."""
        draw = hash_uniform(hash_cells(*_cells(x, y, 15.0), self.salt + 6))
        out = np.ones(code.shape, np.float32)
        for name, shape in TEXTURE.items():
            here = code == CODE[name]
            rank = (draw[here] * np.float32(1000)).astype(np.int32)
            out[here] = _gamma_quantiles(shape)[rank]
        return out


@cache
def _gamma_quantiles(shape: float) -> Float:
    """A thousand quantiles of a gamma variable of mean 1."""
    ranks = (np.arange(1000) + 0.5) / 1000
    return (special.gammaincinv(shape, ranks) / shape).astype(np.float32)


def _cells(x: NDArray[Any], y: NDArray[Any], size: float) -> tuple[Any, Any]:
    return np.floor(x / size)[None, :], np.floor(y / size)[:, None]


def _power(db: Float) -> Float:
    """Linear power from decibels."""
    return np.exp(db * np.float32(math.log(10) / 10))


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
