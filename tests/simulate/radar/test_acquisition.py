"""Dates of a city: unlike, and each its own whatever else is drawn."""

from __future__ import annotations

import pytest

from builtup.simulate.plan.city import City, CitySpec, draw_city
from builtup.simulate.radar.acquisition import MAX_DATES, draw_acquisition


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
