"""A simulated city: its place on the ground, its land and streets, and its dates."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from builtup.simulate.plan import buildings as footprints
from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.landcover import Country, Weather, draw_country
from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.streets import Roads, build, draw_roads, draw_settlements
from builtup.simulate.radar.backscatter import PIXEL, Scatterers, View

__all__ = ["City", "CitySpec", "Date", "Pass", "draw_city", "draw_date", "draw_pass"]

YEAR = 2015
FIRST_DAY = datetime.date(YEAR, 1, 8)
#: Heading of the orbit from north: the sensor looks right, at 78° (ascending) and 282°.
TILT = math.radians(12)
#: Dates of a city are unlike below this number.
MAX_DATES = 345
#: Cities of a split: 60 zones and 8 bands of latitude.
MAX_CITIES = 480
TRAIN_NAMES = (
    "Ardena", "Belmora", "Cassira", "Dorvan", "Elmesh", "Farouna", "Galdir", "Hestia", "Ilvane",
    "Jorun", "Kelmar", "Lorvik",
)  # fmt: skip
TEST_NAMES = (
    "Maradh", "Nerim", "Ostrava", "Pellun", "Quirin", "Rasteg", "Selkir", "Tamiris", "Ustrel",
    "Vendra", "Wesmar", "Yardan",
)  # fmt: skip


@dataclass(frozen=True)
class CitySpec:
    """Everything a city follows from; its number counts within its split."""

    seed: int
    split: str
    number: int
    size: int
    footprints: tuple[Path, ...] = ()

    @property
    def key(self) -> tuple[int, int, int]:
        """What the city's random streams begin with."""
        return self.seed, int(self.split == "test"), self.number

    @property
    def extent(self) -> float:
        """Side in metres."""
        return self.size * PIXEL

    @property
    def zone(self) -> int:
        """UTM zone, north; neighbours in number lie in neighbouring zones."""
        return 1 + (37 + self.number) % 60

    @property
    def corner(self) -> tuple[float, float]:
        """Easting and northing of the upper left corner; splits never share a latitude."""
        band = 2 * (self.number // 60) + int(self.split == "test")
        return 399_960.0, 3_600_000.0 + 260_000.0 * band

    @property
    def epsg(self) -> int:
        """EPSG code of the CRS."""
        return 32600 + self.zone

    @property
    def tile(self) -> str:
        """Name of the 100 km square of the military grid that holds the scene's middle."""
        easting = self.corner[0] + min(self.extent, 90_000) / 2
        northing = self.corner[1] - min(self.extent, 90_000) / 2
        columns = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(self.zone - 1) % 3]
        row = int(northing // 100_000) + (5 if self.zone % 2 == 0 else 0)
        latitude = northing / 110_900.0  # near enough to tell bands of 8°
        band = "CDEFGHJKLMNPQRSTUVWX"[int((latitude + 80) // 8)]
        letters = columns[int(easting // 100_000) - 1] + "ABCDEFGHJKLMNPQRSTUV"[row % 20]
        return f"{self.zone:02d}{band}{letters}"

    @property
    def name(self) -> str:
        """Name of the city."""
        names = TEST_NAMES if self.split == "test" else TRAIN_NAMES
        again = self.number // len(names)
        return names[self.number % len(names)] + (str(again + 1) if again else "")

    @property
    def folder(self) -> str:
        """`<City>_<year>`."""
        return f"{self.name}_{YEAR}"


@dataclass(frozen=True)
class City:
    """What stays between dates."""

    spec: CitySpec
    country: Country
    buildings: Buildings
    roads: Roads
    scatterers: Scatterers


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
class Date:
    """An acquisition: pass, grid, weather and view.

    `shift`: metres east and south of the grid's corner from the city's; `wedge`: no-data where
    x·a + y·b > c (metres in the city's frame), if any; `noise`: noise-equivalent σ⁰.
    """

    overpass: Pass
    shift: tuple[float, float]
    width: int
    height: int
    weather: Weather
    view: View
    noise: float
    wedge: tuple[float, float, float] | None
    ships: Scatterers


def draw_city(spec: CitySpec) -> City:
    """Draw land, streets, buildings and lasting strong scatterers."""
    country = draw_country(stream(*spec.key, 1), spec.extent)
    settlements = draw_settlements(stream(*spec.key, 2), spec.extent)
    if spec.footprints:
        polygons, heights = footprints.read_footprints(spec.footprints)
        rng = stream(*spec.key, 3)
        turn = 0.0 if spec.number == 0 and spec.split == "train" else rng.uniform(0, 2 * math.pi)
        houses = footprints.placed(polygons, heights, spec.extent, turn, rng)
        roads = Roads(np.zeros((0, 2)), np.zeros(0))
    else:
        houses = _on_dry_land(build(stream(*spec.key, 3), settlements, spec.extent), country)
        roads = draw_roads(stream(*spec.key, 4), settlements, spec.extent)
    lasting = _lasting_scatterers(stream(*spec.key, 5), spec.extent, houses)
    return City(spec, country, houses, roads, lasting)


def _on_dry_land(houses: Buildings, country: Country) -> Buildings:
    """The buildings that do not stand in water or on bare rock."""
    box = houses.bounds
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    return houses.take(np.flatnonzero(~(country.water(x, y) | country.rock(x, y))))


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


def draw_pass(spec: CitySpec, number: int) -> Pass:
    """Draw day, time and direction of a pass; directions take turns."""
    first = int(stream(*spec.key, 7).integers(0, 60))
    minute, second = stream(*spec.key, 10, number).integers(0, 60, 2)
    ascending = (number + first) % 2 == 0
    time = f"{'15' if ascending else '03'}{minute:02d}{second:02d}"
    return Pass(number, (first + 97 * number) % MAX_DATES, time, ascending)


def draw_date(city: City, number: int) -> Date:
    """Draw the acquisition of a number; the first lies on the city's own grid."""
    spec, overpass = city.spec, draw_pass(city.spec, number)
    rng = stream(*spec.key, 6, number)
    shift = np.round(rng.uniform(-4.5, 4.5, 2), 2) if number else np.zeros(2)
    width, height = spec.size + (rng.integers(-2, 3, 2) if number else np.zeros(2, int))
    east, south = math.cos(TILT), -math.sin(TILT)
    look = (east, south) if overpass.ascending else (-east, south)
    year = overpass.days / 365
    return Date(
        overpass=overpass,
        shift=(float(shift[0]), float(shift[1])),
        width=int(width),
        height=int(height),
        weather=Weather(year, float(rng.normal(0, 0.8)), float(rng.normal(0, 1.8))),
        view=View(look, float(rng.uniform(32, 44)), int(not overpass.ascending)),
        noise=float(10 ** (rng.uniform(-29, -25) / 10)),
        wedge=_wedge(rng, look, spec.extent) if rng.random() < 0.4 else None,
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


def ground_transform(spec: CitySpec, date: Date) -> Affine:
    """The geotransform of a date's grid."""
    left, top = spec.corner[0] + date.shift[0], spec.corner[1] - date.shift[1]
    return Affine(PIXEL, 0, left, 0, -PIXEL, top)
