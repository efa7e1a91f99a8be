"""Passes of a radar over a simulated city: when and from where it is imaged, and what moves."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.city import PIXEL, YEAR, City, CitySpec
from builtup.simulate.plan.landcover import Country
from builtup.simulate.plan.noise import stream
from builtup.simulate.radar.backscatter import Scatterers, View
from builtup.simulate.radar.conditions import Conditions, draw_conditions, draw_weather
from builtup.simulate.radar.ground import Weather

__all__ = ["MAX_DATES", "Acquisition", "Pass", "draw_acquisition", "draw_pass", "ground_transform"]

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
