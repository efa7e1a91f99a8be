"""A flight above a part of a city: its place, sun and season, its camera and its errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError
from builtup.simulate.plan.city import City, CitySpec
from builtup.simulate.plan.noise import FractalField, stream

__all__ = ["Camera", "Flight", "Season", "Sun", "city_extent", "draw_flight"]

#: Side of the city in metres, at least; of real footprints; and in sides of a scene.
EXTENT, FOOTPRINT_EXTENT, SCENES = 5120.0, 8200.0, 4
#: Scenes of a city lie on a lattice of this many of their sides, so that none touch.
APART = 1.15
#: Deviation (m) of the terrain and its wavelength, within a scene and beyond.
RELIEF = ((1.9, 260.0, 3), (7.0, 1500.0, 2))
#: Banks and terraces: their height (m), and the levels of a field of that wavelength (m) between
#: which they rise. They are as high and, on a surface model, as steep as small houses.
BANK, BANK_WAVE, BANK_LEVELS = 2.8, 110.0, ((-0.75, -0.68), (0.55, 0.62))
SQUARE = ((0, 0), (0, 1), (1, 0), (1, 1))

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Sun:
    """Direction towards the sun: east and south of a horizontal unit vector, and how far it rises
    along it (the tangent of its elevation)."""

    east: float
    south: float
    rise: float


@dataclass(frozen=True)
class Season:
    """What plants look like: `dry` 0 (lush) to 1 (straw), `leaf` and `water` sRGB colours, `autumn`
    the share of trees that have turned; `trees`: factor on their number."""

    dry: float
    leaf: Rgb
    water: Rgb
    autumn: float
    trees: float


@dataclass(frozen=True)
class Camera:
    """Tones and faults: gain a band, exponent of the tone curve, haze 0…1, blur and noise
    (deviations in pixels and grey levels), share of light from the sky, error of heights (m), and
    how much of the colours is left (0: grey)."""

    gain: Rgb
    gamma: float
    haze: float
    blur: float
    noise: float
    sky: float
    error: float
    colour: float


@dataclass(frozen=True)
class Flight:
    """A scene: `size` pixels of `pixel` metres a side, from `corner` (metres in the city).

    `relief` are fields of the terrain with their deviations above `altitude`; `shift` is how far
    labels lie off, in metres; there is no image where x·a + y·b > c for `edge` (metres in the
    city's frame), if any.
    """

    city: City
    number: int
    size: int
    pixel: float
    corner: tuple[float, float]
    salt: int
    altitude: float
    relief: tuple[tuple[float, FractalField], ...]
    banks: FractalField
    sun: Sun
    season: Season
    camera: Camera
    shift: tuple[float, float]
    edge: tuple[float, float, float] | None

    def terrain(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Metres of the ground (len(y), len(x)) above `altitude`."""
        parts = [np.float32(metres) * field.grid(x, y) for metres, field in self.relief]
        return sum(parts, _banks(self.banks.grid(x, y)))

    def terrain_at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Metres of the ground above `altitude` at points."""
        parts = [np.float32(metres) * field.at(x, y) for metres, field in self.relief]
        return sum(parts, _banks(self.banks.at(x, y)))


def _banks(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Metres that banks add to the ground."""
    out = np.zeros_like(field)
    for low, high in BANK_LEVELS:
        t = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
        out += np.float32(BANK) * t * t * (3 - 2 * t)
    return out


def city_extent(side: float, footprints: bool) -> float:
    """Side of the city (m) that scenes of `side` metres are taken of, in whole tens of metres."""
    least = max(FOOTPRINT_EXTENT if footprints else EXTENT, SCENES * side)
    return 10.0 * math.ceil(least / 10)


def draw_flight(city: City, number: int, size: int, pixel: float) -> Flight:
    """Draw the flight of a number; where it goes does not depend on how many there are.

    Raises BuiltupError where the city has no room for so many scenes.
    """
    key, shift = city.spec.key, city.spec.shift
    terrain, rng = stream(*key, 21), stream(*key, 22, number)
    relief = tuple(
        (metres, FractalField.draw(terrain, city.spec.extent, wave, octaves, 0.45))
        for metres, wave, octaves in RELIEF
    )
    corner = _place(city, number, size * pixel)
    return Flight(
        city=city,
        number=number,
        size=size,
        pixel=pixel,
        corner=corner,
        salt=int(rng.integers(1, 2**31)),
        altitude=float(np.round(terrain.uniform(60, 420), 2)),
        relief=relief,
        banks=FractalField.draw(terrain, city.spec.extent, BANK_WAVE, 2, 0.3),
        sun=_sun(rng, shift),
        season=_season(rng, city.spec),
        camera=_camera(rng, city.spec),
        shift=_label_shift(rng),
        edge=_edge(rng, corner, size * pixel) if rng.random() < 0.3 else None,
    )


def _place(city: City, number: int, side: float) -> tuple[float, float]:
    """Upper left corner (m) of the scene of a number: those with more buildings come first, but
    not always."""
    cell = APART * side
    count = int(city.spec.extent // cell)
    if number >= count * count:
        raise BuiltupError(
            f"dates={number + 1}: a city has room for {count * count} scenes of {side:g} m; "
            "take fewer, or a smaller size"
        )
    middles = city.buildings.bounds.reshape(-1, 2, 2).mean(axis=1)
    built, _, _ = np.histogram2d(
        middles[:, 1],
        middles[:, 0],
        bins=count,
        range=[(0, count * cell)] * 2,
        weights=city.buildings.areas(),
    )
    weight = np.minimum(built / cell**2, 0.25)
    weight += 0.1 * weight.mean() + 1e-6
    order = np.argsort(stream(*city.spec.key, 23).exponential(size=count * count) / weight.ravel())
    row, column = divmod(int(order[number]), count)
    rest = stream(*city.spec.key, 24, number).uniform(0, cell - side, 2)
    # whole metres, so that pixels of other sizes have the same corner
    return float(np.floor(column * cell + rest[0])), float(np.floor(row * cell + rest[1]))


def _sun(rng: np.random.Generator, shift: str) -> Sun:
    azimuth, elevation = math.radians(rng.uniform(105, 255)), rng.uniform(36, 62)
    if shift == "season":
        elevation = rng.uniform(20, 28)
    rise = math.tan(math.radians(elevation))
    return Sun(math.sin(azimuth), -math.cos(azimuth), rise)


def _season(rng: np.random.Generator, spec: CitySpec) -> Season:
    """Green and straw of the day; dry or lush, or autumn, where all is shifted."""
    dry, trees = rng.uniform(0.05, 0.75), rng.uniform(0.5, 1.7)
    autumn = rng.uniform(0.0, 0.35)
    leaf = np.array([98, 112, 70]) * rng.uniform(0.8, 1.2) + rng.normal(0, 6, 3)
    water = ((58, 66, 68), (72, 88, 72), (118, 106, 84), (62, 84, 98))[rng.integers(4)]
    if spec.shift == "climate":
        arid = spec.number % 2 == 0
        dry, trees = (rng.uniform(0.9, 1), 0.35) if arid else (rng.uniform(0, 0.05), 2.2)
    if spec.shift == "season":
        dry, autumn = rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.95)
    return Season(dry, _rgb(leaf), _rgb(np.array(water)), autumn, trees)


def _camera(rng: np.random.Generator, spec: CitySpec) -> Camera:
    """Tones differ from flight to flight, more so in wide cities; a shift goes beyond them."""
    wide = 1.8 if spec.variety == "wide" else 1.0
    gain = np.exp(rng.normal(0, 0.05 * wide, 3)) * math.exp(rng.normal(0.12, 0.1 * wide))
    gamma, haze = math.exp(rng.normal(0, 0.1 * wide)), rng.uniform(0, 0.12 * wide)
    blur, noise = rng.uniform(0.45, 0.75), rng.uniform(1.2, 3.0)
    sky, error, colour = rng.uniform(0.15, 0.3), 0.12, rng.uniform(0.45, 0.85)
    if spec.shift == "sensor":
        warm = 1 if spec.number % 2 else -1
        gain = gain * np.array([1 + 0.2 * warm, 1.0, 1 - 0.2 * warm])
        gamma, haze = gamma * (1.5 if warm > 0 else 0.65), rng.uniform(0.2, 0.35)
        blur, noise, error = rng.uniform(1.1, 1.5), rng.uniform(5, 9), 0.3
    return Camera(_rgb(gain), gamma, haze, blur, noise, sky, error, colour)


def _label_shift(rng: np.random.Generator, metres: float = 0.35) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * math.pi)
    return metres * math.cos(angle), metres * math.sin(angle)


def _edge(
    rng: np.random.Generator, corner: tuple[float, float], side: float
) -> tuple[float, float, float]:
    """The end of the flight's strips, across a corner of the scene."""
    angle = rng.uniform(0, 2 * math.pi)
    a, b = math.cos(angle), math.sin(angle)
    corners = [a * (corner[0] + i * side) + b * (corner[1] + j * side) for i, j in SQUARE]
    low, high = min(corners), max(corners)
    return a, b, high - rng.uniform(0.1, 0.25) * (high - low)


def _rgb(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
