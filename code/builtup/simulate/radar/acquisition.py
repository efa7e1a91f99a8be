"""Passes of a radar over a simulated city: when, from where and under which conditions it is imaged
(sensor, seasons, how its ground and walls return), and what moves.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.city import PIXEL, YEAR, City, CitySpec
from builtup.simulate.plan.landcover import NAMES, Country
from builtup.simulate.plan.noise import stream
from builtup.simulate.radar.backscatter import PLAIN, Echo, Scatterers, View
from builtup.simulate.radar.ground import PUBLISHED, Surface, Weather
from builtup.simulate.radar.speckle import CORRELATION, LOOKS

__all__ = [
    "MAX_DATES",
    "Acquisition",
    "Conditions",
    "Pass",
    "Seasons",
    "Sensor",
    "draw_acquisition",
    "draw_conditions",
    "draw_pass",
    "draw_weather",
    "ground_transform",
]

Range = tuple[float, float]


@dataclass(frozen=True)
class Sensor:
    """What images a city; as it stands, Sentinel-1's IW GRDH.

    `incidence` (degrees) and `noise` (noise-equivalent σ⁰, dB): ranges that dates are drawn from;
    `looks` and `correlation` (pixels) of the speckle; `response`: deviation (pixels) of the
    Gaussian that, after bilinear splitting, makes the impulse response (0.76: 20 m between its
    half-power points); `gain`: dB by which VV and VH are off.
    """

    incidence: Range = (32, 44)
    noise: Range = (-29, -25)
    looks: float = LOOKS
    correlation: float = CORRELATION
    response: float = 0.76
    gain: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Seasons:
    """What the weather of dates is drawn from.

    `wind`: mean and deviation of what it adds to water (dB); `frost`, `snow`, `high`: chances of
    frozen ground, of wet snow on it, and of crops at their highest.
    """

    wind: Range = (0.0, 1.8)
    frost: float = 0.0
    snow: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Conditions:
    """Of all dates of a city."""

    sensor: Sensor = Sensor()
    seasons: Seasons = Seasons()
    surface: Surface = PUBLISHED
    echo: Echo = PLAIN


def draw_conditions(spec: CitySpec) -> Conditions:
    """The conditions of a city; plain cities without a shift draw nothing."""
    rng = stream(*spec.key, 12)
    found = _wide(rng) if spec.variety == "wide" else Conditions()
    if spec.shift == "season":
        return replace(found, seasons=_other_seasons(found.seasons, spec.number))
    if spec.shift == "sensor":
        return replace(found, sensor=_other_sensor(rng, spec.number))
    return found


def draw_weather(
    rng: np.random.Generator, extra: np.random.Generator, year: float, seasons: Seasons
) -> Weather:
    """The weather of a date, `year` in [0, 1); `extra` draws what plain seasons do not have."""
    moisture, wind = float(rng.normal(0, 0.8)), float(rng.normal(*seasons.wind))
    chance, depth, wet = extra.random(3)
    cold = (0.0, 0.0)
    if chance < seasons.frost:
        cold = (-3.0 - 3.0 * depth, -3.5 - 3.0 * depth)
    elif chance < seasons.frost + seasons.snow:
        cold = (-4.5 - 5.0 * depth, -4.0 - 4.0 * depth)
    high = 1.0 + 2.5 * depth if wet < seasons.high else 0.0
    return Weather(year, moisture, min(wind, 10.0), cold, high)


def _wide(rng: np.random.Generator) -> Conditions:
    """Sensors, processors, climates and ways to build as they differ between data sets."""
    common, smooth = rng.normal(0, 1.8), rng.random()
    sensor = Sensor(
        incidence=(29, 46),
        noise=(-33, -24),
        looks=4.0 * math.exp(rng.uniform(0, math.log(5))),
        correlation=0.6 + 0.9 * smooth,  # what smooths speckle smooths houses as well
        response=0.55 + 0.6 * smooth,
        gain=(common + rng.normal(0, 0.8), common + rng.normal(0, 0.8)),
    )
    cold = rng.random() < 0.5
    seasons = Seasons(
        wind=(rng.uniform(0, 3), 3.0),
        frost=0.25 * cold,
        snow=0.15 * cold,
        high=rng.uniform(0, 0.4),
    )
    surface = Surface(
        jitter=rng.normal(0, 1.1, (len(NAMES), 2)).astype(np.float32),
        spread=rng.uniform(0.3, 1.3),
        contrast=rng.uniform(0.2, 1.2),
        soil=rng.uniform(0.3, 1.2),
        relief=math.exp(rng.normal(0.6, 0.9)),
        terraces=rng.uniform(0, 0.5) * (rng.random() < 0.5),
    )
    echo = Echo(
        gain=10 ** (rng.normal(-1.5, 1.5) / 10),
        facing=10 * math.exp(rng.normal(0, 0.35)),
        other=2.8 * math.exp(rng.normal(-0.1, 0.4)),
        fall=rng.uniform(8, 22),
        cross=0.055 * math.exp(rng.normal(0, 0.4)),
        roof=math.exp(rng.normal(-0.3, 0.5)),
    )
    return Conditions(sensor, seasons, surface, echo)


def _other_seasons(seasons: Seasons, number: int) -> Seasons:
    """Frozen ground, wet snow, or crops at their highest, at every date."""
    kinds = (
        replace(seasons, frost=1.0, snow=0.0, high=0.0),
        replace(seasons, frost=0.0, snow=1.0, high=0.0),
        replace(seasons, frost=0.0, snow=0.0, high=1.0),
    )
    return kinds[number % len(kinds)]


def _other_sensor(rng: np.random.Generator, number: int) -> Sensor:
    """A steep view with little averaging, or a flat one that is smooth and dull."""
    off = rng.uniform(-1, 1)
    kinds = (
        Sensor((21, 26), (-24, -20), 1.3, 0.5, 0.5, (4.0 + off, 2.0 + off)),
        Sensor((49, 54), (-21, -18), 25.0, 1.3, 1.4, (-5.0 + off, -2.5 + off)),
    )
    return kinds[number % len(kinds)]


FIRST_DAY = datetime.date(YEAR, 1, 8)
#: Heading of the orbit from north: the sensor looks right, at 78° (ascending) and 282°.
TILT = math.radians(12)
#: Dates of a city are unlike below this number.
MAX_DATES = 345


@dataclass(frozen=True)
class Pass:
    """When and from where a city is imaged: what the names of files and folders say."""

    number: int
    days: int
    time: str
    ascending: bool

    @property
    def date(self) -> str:
        """YYYYMMDD."""
        return (FIRST_DAY + datetime.timedelta(days=self.days)).strftime("%Y%m%d")

    def stem(self, tile: str, polarisation: str) -> str:
        """The stem of a polarisation's file."""
        orbit = "ASC" if self.ascending else "DES"
        return f"s1a_{tile}_{polarisation}_{orbit}_{self.date}t{self.time}"

    @property
    def folder(self) -> str:
        """Name of the product that the files come from, shortened."""
        return f"S1A_IW_GRDH_1SDV_{self.date}T{self.time}"


@dataclass(frozen=True)
class Acquisition:
    """A date: pass, grid, weather and view.

    `conditions` are those of the city; `shift`: metres east and south of the grid's corner from
    the city's; `wedge`: no-data where x·a + y·b > c (metres in the city's frame), if any; `noise`:
    noise-equivalent σ⁰; `lasting` are the strong single scatterers of all dates, `ships` those of
    this one.
    """

    overpass: Pass
    conditions: Conditions
    shift: tuple[float, float]
    width: int
    height: int
    weather: Weather
    view: View
    noise: float
    wedge: tuple[float, float, float] | None
    lasting: Scatterers
    ships: Scatterers


def draw_pass(spec: CitySpec, number: int) -> Pass:
    """Draw day, time and direction of a pass; directions take turns."""
    first = int(stream(*spec.key, 7).integers(0, 60))
    minute, second = stream(*spec.key, 10, number).integers(0, 60, 2)
    ascending = (number + first) % 2 == 0
    time = f"{'15' if ascending else '03'}{minute:02d}{second:02d}"
    return Pass(number, (first + 97 * number) % MAX_DATES, time, ascending)


def draw_acquisition(city: City, number: int) -> Acquisition:
    """Draw the acquisition of a number; the first lies on the city's own grid."""
    spec, overpass = city.spec, draw_pass(city.spec, number)
    rng = stream(*spec.key, 6, number)
    shift = np.round(rng.uniform(-4.5, 4.5, 2), 2) if number else np.zeros(2)
    width, height = spec.size + (rng.integers(-2, 3, 2) if number else np.zeros(2, int))
    east, south = math.cos(TILT), -math.sin(TILT)
    look = (east, south) if overpass.ascending else (-east, south)
    conditions = draw_conditions(spec)
    sensor, extra = conditions.sensor, stream(*spec.key, 13, number)
    return Acquisition(
        overpass=overpass,
        conditions=conditions,
        shift=(float(shift[0]), float(shift[1])),
        width=int(width),
        height=int(height),
        weather=draw_weather(rng, extra, overpass.days / 365, conditions.seasons),
        view=View(look, float(rng.uniform(*sensor.incidence)), int(not overpass.ascending)),
        noise=float(10 ** (rng.uniform(*sensor.noise) / 10)),
        wedge=_wedge(rng, look, spec.extent) if rng.random() < 0.4 else None,
        lasting=_lasting_scatterers(stream(*spec.key, 5), spec.extent, city.buildings),
        ships=_ships(rng, city.country, spec.extent),
    )


def _wedge(
    rng: np.random.Generator, look: tuple[float, float], extent: float
) -> tuple[float, float, float]:
    """The far or near edge of the swath, across a corner of the scene."""
    sign = rng.choice([-1.0, 1.0])
    a, b = sign * look[0], sign * look[1]
    corners = [a * x + b * y for x in (0, extent) for y in (0, extent)]
    low, high = min(corners), max(corners)
    return a, b, high - rng.uniform(0.12, 0.28) * (high - low)


def _lasting_scatterers(rng: np.random.Generator, extent: float, houses: Buildings) -> Scatterers:
    """Masts, lines of pylons, and the corners of some buildings, with Pareto cross-sections."""
    square_km = (extent / 1000) ** 2
    masts = rng.uniform(0, extent, (rng.poisson(0.5 * square_km), 2))
    lines = [_pylons(rng, extent) for _ in range(rng.poisson(0.02 * square_km) + 1)]
    corners = houses.points[houses.starts[:-1]][rng.random(len(houses)) < 0.035]
    points = np.concatenate([masts, *lines, corners])
    sections = 90 * (1 + rng.pareto(1.25, len(points)))
    sections = np.minimum(sections, 30_000)
    cross = 10 ** rng.uniform(-1.7, -0.7, len(points))
    return Scatterers(points, sections, sections * cross)


def _pylons(rng: np.random.Generator, extent: float) -> NDArray[np.float64]:
    start, angle = rng.uniform(0, extent, 2), rng.uniform(0, 2 * math.pi)
    length = min(extent, 12_000) * rng.uniform(0.4, 1)
    t = np.arange(0, length, rng.uniform(230, 380))[:, None]
    return start + t * np.array([math.cos(angle), math.sin(angle)])


def _ships(rng: np.random.Generator, country: Country, extent: float) -> Scatterers:
    """Ships on the water of the day, each a row of scatterers along its deck."""
    places = rng.uniform(0, extent, (rng.poisson(1.5 * (extent / 1000) ** 2), 2))
    places = places[country.water(places[:, 0], places[:, 1])]
    decks = rng.integers(2, 9, len(places))
    angle = np.repeat(rng.uniform(0, math.pi, len(places)), decks)
    along = rng.uniform(-8, 8, decks.sum()) * np.repeat(decks, decks)
    points = np.repeat(places, decks, axis=0)
    points = points + np.stack([np.cos(angle), np.sin(angle)], axis=1) * along[:, None]
    sections = np.minimum(120 * (1 + rng.pareto(1.3, len(points))), 30_000)
    return Scatterers(points, sections, sections * 10 ** rng.uniform(-1.6, -0.8, len(points)))


def ground_transform(spec: CitySpec, date: Acquisition) -> Affine:
    """The geotransform of a date's grid."""
    left, top = spec.corner[0] + date.shift[0], spec.corner[1] - date.shift[1]
    return Affine(PIXEL, 0, left, 0, -PIXEL, top)
