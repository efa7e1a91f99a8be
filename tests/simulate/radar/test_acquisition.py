"""Dates of a city: unlike, and each its own whatever else is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.simulate.plan.city import City, CitySpec, draw_city
from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.style import VARIETIES
from builtup.simulate.radar.acquisition import (
    MAX_DATES,
    Conditions,
    Seasons,
    draw_acquisition,
    draw_conditions,
    draw_weather,
)


@pytest.fixture(scope="module")
def city() -> City:
    return draw_city(CitySpec(0, "train", 0, 96))


def test_dates_of_a_city_are_unlike() -> None:
    first = 17
    assert len({(first + 97 * n) % MAX_DATES for n in range(MAX_DATES)}) == MAX_DATES


def test_a_city_does_not_depend_on_how_many_dates_are_drawn(city: City) -> None:
    alone, later = draw_acquisition(city, 2), [draw_acquisition(city, n) for n in range(3)][2]
    assert alone.overpass == later.overpass
    assert alone.shift == later.shift
    assert alone.weather == later.weather


# --- conditions -----------------------------------------------------------------------------------


def spec(number: int, variety: str = "plain", shift: str = "") -> CitySpec:
    return CitySpec(3, "test", number, 96, (), variety, shift)


def test_plain_cities_are_imaged_under_the_same_conditions() -> None:
    assert all(draw_conditions(spec(n)) == Conditions() for n in range(3))
    weather = draw_weather(stream(1), stream(2), 0.2, Seasons())
    assert (weather.cold, weather.high) == ((0.0, 0.0), 0.0)


def test_wide_cities_differ_in_sensor_season_and_echo() -> None:
    found = [draw_conditions(spec(n, "wide")) for n in range(40)]
    looks = np.array([one.sensor.looks for one in found])
    assert looks.min() < 6 < 12 < looks.max()
    gain = np.array([one.sensor.gain for one in found])
    assert 1 < gain.std() < 3
    assert np.corrcoef(gain.T)[0, 1] > 0.5  # both bands go the same way, mostly
    assert {one.seasons.frost > 0 for one in found} == {True, False}
    assert len({one.echo.fall for one in found}) == 40


@pytest.mark.parametrize("variety", VARIETIES)
def test_a_shift_of_season_or_sensor_goes_beyond_what_is_drawn_otherwise(variety: str) -> None:
    usual = [draw_conditions(spec(n, variety)).sensor for n in range(12)]
    for number in range(6):
        base = draw_conditions(spec(number, variety))
        moved = draw_conditions(spec(number, variety, "sensor"))
        assert moved.seasons == base.seasons
        assert moved.echo == base.echo
        low, high = moved.sensor.incidence
        assert all(high < one.incidence[0] or low > one.incidence[1] for one in usual)
        season = draw_conditions(spec(number, variety, "season"))
        assert season.sensor == base.sensor
        assert 1.0 in (season.seasons.frost, season.seasons.snow, season.seasons.high)


@pytest.mark.parametrize("kind", ["frost", "snow", "high"])
def test_the_weather_follows_the_season(kind: str) -> None:
    seasons = Seasons(**{kind: 1.0})
    dates = [draw_weather(stream(1), stream(n), 0.5, seasons) for n in range(9)]
    if kind == "high":
        assert all(date.high >= 1.0 and date.cold == (0.0, 0.0) for date in dates)
    else:
        assert all(max(date.cold) < -2 and date.high == 0 for date in dates)
