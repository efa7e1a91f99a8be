"""A small flight above a plain city."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builtup.simulate.aerial.flight import Flight, draw_flight
from builtup.simulate.plan.city import City, CitySpec, draw_city


@pytest.fixture(scope="session")
def aerial_city() -> City:
    return draw_city(CitySpec(0, "train", 0, 512))


@pytest.fixture(scope="session")
def flight(aerial_city: City) -> Flight:
    """192 pixels of 25 cm among houses, without an edge."""
    flight = draw_flight(aerial_city, 1, 192, 0.25)
    return replace(flight, edge=None, corner=(2190.0, 3040.0))
