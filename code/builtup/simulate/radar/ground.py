"""Mean backscatter of the open country on a date.

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

from builtup.simulate.plan.landcover import CODE, CROPS, NAMES, Country
from builtup.simulate.plan.noise import hash_cells, hash_uniform

__all__ = ["LEVELS", "PUBLISHED", "Surface", "Weather", "garden_power", "ground_power"]

Float = NDArray[np.float32]
Codes = NDArray[np.uint8]
Parcels = NDArray[np.uint32]


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
    "tallcrop": Level(-7.4, -13.0, 1.2, 1.0),
    "greenhouse": Level(-5.5, -15.0, 2.2, 0.3),
    "flooded": Level(-18.5, -25.5, 1.8, 1.5),
    "reed": Level(-9.5, -17.0, 1.6, 2.0),
    "belt": Level(-8.4, -13.8, 0.8, 0.7),
}
_LEVELS = [LEVELS[name] for name in NAMES]
#: Shape of the gamma texture within a stand (∞: none): K-distributed clutter after speckle.
TEXTURE = {
    "forest": 9.0, "orchard": 7.0, "rock": 1.5, "garden": 4.0, "greenhouse": 2.0, "belt": 3.0,
}  # fmt: skip
#: Cold takes less than the whole from what is no field: from trees, whose twigs freeze too, and
#: from stone; from water nothing.
COLD = {"forest": 0.7, "belt": 0.7, "orchard": 0.8, "rock": 0.5, "greenhouse": 0.3, "water": 0.0}
#: Terraces lie where the field of rivers has this value, and are so wide (in its units).
TERRACE = (0.16, 0.035)
#: What stands high before harvest.
HIGH = frozenset({"cereal", "rowcrop", "wet", "tallcrop", "reed"})
#: Incidence dependence of land at C band, dB per degree from 38°.
PER_DEGREE = -0.13


@dataclass(frozen=True)
class Weather:
    """What a date changes: `year` in [0, 1), soil moisture (dB), wind on water (dB).

    `cold`: dB that frost or wet snow adds to VV and VH of fields; `high`: that crops add which
    stand high before harvest.
    """

    year: float
    moisture: float
    wind: float
    cold: tuple[float, float] = (0.0, 0.0)
    high: float = 0.0


@dataclass(frozen=True)
class Surface:
    """How a city's ground differs from the published levels; as it stands, not at all.

    `jitter`: dB on VV and VH of every kind of ground, (kinds, 2); `spread`: factor on the
    deviation between stands; `contrast`: factor on the differences between crops; `soil`: dB from
    place to place; `relief`: factor on slopes; `terraces`: steps in the ground beside rivers, in
    the unit of the hills.
    """

    jitter: Float | None = None
    spread: float = 1.0
    contrast: float = 1.0
    soil: float = 0.5
    relief: float = 1.0
    terraces: float = 0.0

    @property
    def levels(self) -> Float:
        """σ⁰ of every kind, dB, (kinds, 2)."""
        table = np.array([(level.vv, level.vh) for level in _LEVELS], np.float32)
        if self.contrast != 1:
            crops = [CODE[name] for name in CROPS]
            middle = table[crops].mean(axis=0)
            table[crops] = middle + np.float32(self.contrast) * (table[crops] - middle)
        return table if self.jitter is None else table + self.jitter


#: The ground of the plain world.
PUBLISHED = Surface()


def ground_power(
    country: Country,
    x: NDArray[Any],
    y: NDArray[Any],
    weather: Weather,
    look: tuple[float, float],
    incidence: float = 38.0,
    surface: Surface = PUBLISHED,
) -> tuple[Float, Float]:
    """Mean σ⁰ (linear VV, VH) without towns on a grid.

    `x` (columns) and `y` (rows) are metres; `look` is the horizontal direction from the
    sensor (east, south), `incidence` in degrees.
    """
    code, parcel = country.classes(x, y)
    table = surface.levels
    vv, vh = table[:, 0][code], table[:, 1][code]
    change = _stand_change(code, parcel, weather, surface.spread)
    change += _slopes(country, x, y, code, look, surface)
    change += np.float32(surface.soil) * country.soil.grid(x, y)
    change += np.float32(PER_DEGREE * (incidence - 38))
    vv += change
    vh += change * np.float32(0.8) + _cross_change(code, parcel, weather)
    if weather.cold != (0.0, 0.0) or weather.high:
        share = np.array([COLD.get(name, 1.0) for name in NAMES], np.float32)[code]
        high = np.float32(weather.high) * np.isin(code, [CODE[name] for name in HIGH])
        vv += share * np.float32(weather.cold[0]) + high
        vh += share * np.float32(weather.cold[1]) + high
    texture = _texture(country, x, y, code)
    return _power(vv) * texture, _power(vh) * texture


def garden_power(
    country: Country,
    x: NDArray[Any],
    y: NDArray[Any],
    cold: tuple[float, float] = (0.0, 0.0),
    surface: Surface = PUBLISHED,
) -> tuple[Float, Float]:
    """σ⁰ (VV, VH) of the ground between houses: gardens, trees, pavement.

    Streets and yards are cleared and trees stay, so that cold takes half as much as from fields.
    """
    cell = hash_cells(*_cells(x, y, 20.0), country.salt + 5)
    green = hash_uniform(cell)
    offset = np.float32(5.0) * (green - np.float32(0.75))
    vv, vh = surface.levels[CODE["garden"]]
    first, second = (_power(offset + vv), _power(offset + vh))
    if cold == (0.0, 0.0):
        return first, second
    return first * np.float32(10 ** (cold[0] / 20)), second * np.float32(10 ** (cold[1] / 20))


def _stand_change(code: Codes, parcel: Parcels, weather: Weather, factor: float) -> Float:
    """dB from stand to stand, season and moisture."""
    spread = (np.array([level.spread for level in _LEVELS], np.float32) * np.float32(factor))[code]
    season = np.array([level.season for level in _LEVELS], np.float32)[code]
    moist = np.array(
        [0.1 if name in {"water", "road", "rock", "flooded"} else 1.0 for name in NAMES], np.float32
    )
    stand = special.ndtri(np.clip(hash_uniform(parcel, 7), 0.002, 0.998)).astype(np.float32)
    whole = (code == CODE["forest"]) | (code == CODE["rock"]) | (code == CODE["water"])
    stand[whole] = 0
    phase = hash_uniform(parcel, 8) * np.float32(0.6) + np.float32(weather.year)
    change: Float = spread * stand + season * np.sin(np.float32(2 * math.pi) * phase)
    change += moist[code] * np.float32(weather.moisture)
    change += np.where(code == CODE["water"], np.float32(weather.wind), np.float32(0))
    return change


def _cross_change(code: Codes, parcel: Parcels, weather: Weather) -> Float:
    """dB of VH beyond that of VV: vegetation in its season."""
    season = np.array([level.season for level in _LEVELS], np.float32)[code]
    phase = hash_uniform(parcel, 8) * np.float32(0.6) + np.float32(weather.year)
    extra = hash_uniform(parcel, 9) * np.float32(2) - np.float32(1)
    extra[code == CODE["water"]] = 0
    return np.float32(0.25) * season * np.sin(np.float32(2 * math.pi) * phase) + extra


def _slopes(
    country: Country,
    x: NDArray[Any],
    y: NDArray[Any],
    code: Codes,
    look: tuple[float, float],
    surface: Surface,
) -> Float:
    """dB of slopes that face the sensor (brighter) or turn away; strong on rock."""
    step = 10.0
    x_long = np.concatenate([x, [x[-1] + step]])
    y_long = np.concatenate([y, [y[-1] + step]])
    height = country.hills.grid(x_long, y_long)
    if surface.terraces:
        valley = np.abs(country.rivers.grid(x_long, y_long)) - np.float32(TERRACE[0])
        height += np.float32(surface.terraces) * np.tanh(valley / np.float32(TERRACE[1]))
    rise = look[0] * np.diff(height, axis=1)[:-1] + look[1] * np.diff(height, axis=0)[:, :-1]
    gain = np.full(len(NAMES), 10.0, np.float32)
    gain[CODE["rock"]] = 220.0
    gain[CODE["forest"]] = 30.0
    gain[CODE["water"]] = 0.0
    gain *= np.float32(surface.relief)
    return np.float32(7) * np.tanh(gain[code] * rise / np.float32(7))


def _texture(country: Country, x: NDArray[Any], y: NDArray[Any], code: Codes) -> Float:
    """Gamma texture of mean 1, fixed on the ground in cells of 15 m."""
    draw = hash_uniform(hash_cells(*_cells(x, y, 15.0), country.salt + 6))
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
