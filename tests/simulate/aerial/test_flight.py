"""Flights: where they go, and what differs between them."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.errors import BuiltupError
from builtup.simulate.aerial.flight import Flight, city_extent, draw_flight
from builtup.simulate.plan.city import City, CitySpec, draw_city


def test_the_city_is_larger_than_its_scenes() -> None:
    assert city_extent(256.0, footprints=False) == 5120
    assert city_extent(256.0, footprints=True) == 8200
    assert city_extent(2001.0, footprints=False) == 8010  # in whole pixels of the plan


def test_a_city_s_scenes_do_not_touch(aerial_city: City) -> None:
    side = 192 * 0.25
    corners = np.array([draw_flight(aerial_city, n, 192, 0.25).corner for n in range(8)])
    apart = np.abs(corners[:, None] - corners).max(-1)[~np.eye(8, dtype=bool)]
    assert apart.min() >= side
    assert corners.min() >= 0
    assert corners.max() <= aerial_city.spec.extent - side


def test_scenes_lie_among_houses_as_a_rule(aerial_city: City) -> None:
    box = aerial_city.buildings.bounds
    found = 0
    for number in range(10):
        x, y = draw_flight(aerial_city, number, 400, 0.25).corner
        inside = (box[:, 0] > x) & (box[:, 1] > y) & (box[:, 2] < x + 100) & (box[:, 3] < y + 100)
        found += bool(inside.any())
    assert found >= 7


def test_a_city_without_room_is_refused(aerial_city: City) -> None:
    with pytest.raises(BuiltupError, match="room for 9 scenes of 1280 m; take fewer"):
        draw_flight(aerial_city, 9, 1280, 1.0)


def test_terrain_is_one_for_all_flights_of_a_city(aerial_city: City, flight: Flight) -> None:
    other = draw_flight(aerial_city, 5, 64, 0.5)
    x, y = np.array([900.0, 2000.0]), np.array([1300.0, 30.0])
    np.testing.assert_array_equal(flight.terrain_at(x, y), other.terrain_at(x, y))
    assert flight.altitude == other.altitude
    np.testing.assert_allclose(np.diag(flight.terrain(x, y)), flight.terrain_at(x, y), atol=1e-4)


def test_relief_within_a_scene_is_higher_than_a_house_and_gentle(aerial_city: City) -> None:
    ranges, slopes = [], []
    for number in range(6):
        one = draw_flight(aerial_city, number, 1024, 0.25)
        t = np.arange(0, 256.0)
        heights = one.terrain(t + one.corner[0], t + one.corner[1])
        ranges.append(np.ptp(heights))
        slopes.append(np.hypot(*np.gradient(heights)).mean())
    assert 5 < np.median(ranges) < 18
    assert 0.01 < np.median(slopes) < 0.09


@pytest.mark.parametrize("variety", ["plain", "wide"])
def test_a_shift_gives_what_no_plain_flight_has(variety: str) -> None:
    def flights(shift: str) -> list[Flight]:
        cities = (draw_city(CitySpec(3, "test", n, 100, (), variety, shift)) for n in range(6))
        return [draw_flight(city, 0, 64, 0.25) for city in cities]

    plain = flights("")
    assert min(f.sun.rise for f in plain) > max(f.sun.rise for f in flights("season"))
    assert max(f.season.autumn for f in plain) < min(f.season.autumn for f in flights("season"))
    assert max(f.camera.noise for f in plain) < min(f.camera.noise for f in flights("sensor"))
    assert max(f.camera.blur for f in plain) < min(f.camera.blur for f in flights("sensor"))
    dry = [f.season.dry for f in flights("climate")]
    assert min(dry[::2]) > max(f.season.dry for f in plain)
    assert max(dry[1::2]) < min(f.season.dry for f in plain)


def test_labels_lie_a_third_of_a_metre_off(flight: Flight) -> None:
    assert np.hypot(*flight.shift) == pytest.approx(0.35)


def test_some_flights_end_within_the_scene(aerial_city: City) -> None:
    edges = [draw_flight(aerial_city, n, 128, 0.25) for n in range(24)]
    assert 2 <= sum(f.edge is not None for f in edges) <= 14
    for one in edges:
        if one.edge is not None:
            a, b, c = one.edge
            t = np.linspace(0, 32, 65)
            lost = a * (t + one.corner[0])[None] + b * (t + one.corner[1])[:, None] > c
            assert 0 < lost.mean() < 0.3
