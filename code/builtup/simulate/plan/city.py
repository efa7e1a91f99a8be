"""A simulated city: its place on the ground, its land and its streets, whatever images it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.geo.target_grid import square_of
from builtup.simulate.plan import buildings as footprints
from builtup.simulate.plan.buildings import Buildings
from builtup.simulate.plan.landcover import Country, draw_country
from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.streets import Roads, build, draw_roads, draw_settlements
from builtup.simulate.plan.style import Style, draw_style

__all__ = ["MAX_CITIES", "PIXEL", "YEAR", "City", "CitySpec", "draw_city"]

#: Side of a pixel in metres.
PIXEL = 10.0
YEAR = 2015
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
    """Everything a city follows from; its number counts within its split.

    `variety` and `shift`: of VARIETIES and SHIFTS, or no shift (plan/style.py).
    """

    seed: int
    split: str
    number: int
    size: int
    footprints: tuple[Path, ...] = ()
    variety: str = "plain"
    shift: str = ""

    @property
    def style(self) -> Style:
        """What kind of land and towns the city has."""
        return draw_style(stream(*self.key, 11), self.variety, self.shift, self.number)

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
        side = min(self.size, 9000)
        transform = Affine(PIXEL, 0, self.corner[0], 0, -PIXEL, self.corner[1])
        return square_of(Grid(CRS.from_epsg(self.epsg), transform, side, side))

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
    """What stays between dates.

    `lanes` (n, 5) are the streets of towns and villages: the ends of straight pieces (x, y, x, y)
    and their width in metres.
    """

    spec: CitySpec
    country: Country
    buildings: Buildings
    roads: Roads
    lanes: NDArray[np.float64]


def draw_city(spec: CitySpec) -> City:
    """Draw land, streets and buildings."""
    style = spec.style
    country = draw_country(stream(*spec.key, 1), spec.extent, style.land)
    lanes = [np.zeros((0, 5))]
    settlements = draw_settlements(stream(*spec.key, 2), spec.extent, style.towns)
    if spec.footprints:
        polygons, heights = footprints.read_footprints(spec.footprints)
        rng = stream(*spec.key, 3)
        turn = 0.0 if spec.number == 0 and spec.split == "train" else rng.uniform(0, 2 * math.pi)
        tail = style.towns.tail
        houses = footprints.placed(polygons, heights, spec.extent, turn, rng, tail)
        roads = Roads(np.zeros((0, 2)), np.zeros(0))
    else:
        plan = build(stream(*spec.key, 3), settlements, spec.extent, style.towns, lanes)
        houses = _on_dry_land(plan, country)
        rng, avenues = stream(*spec.key, 4), style.towns.avenues
        corners = houses.points[houses.starts[:-1]]
        roads = _ashore(draw_roads(rng, settlements, spec.extent, avenues, corners), country)
    return City(spec, country, houses, roads, np.concatenate(lanes))


def _on_dry_land(houses: Buildings, country: Country) -> Buildings:
    """The buildings that do not stand in water or on bare rock."""
    box = houses.bounds
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    return houses.take(np.flatnonzero(~(country.water(x, y) | country.rock(x, y))))


def _ashore(roads: Roads, country: Country) -> Roads:
    """The roads without what lies in the sea; they cross rivers and lakes."""
    keep = ~country.sea(roads.points[:, 0], roads.points[:, 1])
    return Roads(roads.points[keep], roads.area[keep])
