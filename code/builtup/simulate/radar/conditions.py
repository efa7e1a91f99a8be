"""Under which conditions a city is imaged: sensor, seasons, and how its ground and walls return."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from builtup.simulate.plan.city import CitySpec
from builtup.simulate.plan.landcover import NAMES
from builtup.simulate.plan.noise import stream
from builtup.simulate.radar.backscatter import PLAIN, Echo
from builtup.simulate.radar.ground import PUBLISHED, Surface, Weather
from builtup.simulate.radar.speckle import CORRELATION, LOOKS

__all__ = ["Conditions", "Seasons", "Sensor", "draw_conditions", "draw_weather"]

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
