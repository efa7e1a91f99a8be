"""Cities have places of their own, and buildings that stand on dry land."""

from __future__ import annotations

import numpy as np

from builtup.simulate.plan.city import CitySpec, draw_city


def test_tiles_are_named_after_the_military_grid() -> None:
    # Najaf, 400 km to 500 km east and 3,500 km to 3,600 km north in zone 38, is 38SMA
    assert CitySpec(0, "train", 0, 1024).tile == "38SMA"
    specs = [CitySpec(0, split, n, 64) for split in ("train", "test") for n in range(480)]
    places = {(spec.zone, spec.corner) for spec in specs}
    assert len(places) == len(specs)
    assert len({(spec.tile, spec.name) for spec in specs}) == len(specs)
    assert all(3.5e6 < spec.corner[1] < 7.7e6 for spec in specs)


def test_buildings_stand_on_dry_land_within_the_city() -> None:
    city = draw_city(CitySpec(0, "train", 0, 300))
    box = city.buildings.bounds
    x, y = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
    assert len(city.buildings) > 100
    assert not (city.country.water(x, y) | city.country.rock(x, y)).any()
    assert (np.abs(box - city.spec.extent / 2) <= city.spec.extent / 2 + 100).all()


def test_no_house_or_road_of_a_coast_lies_in_the_sea() -> None:
    specs = [CitySpec(2, "train", n, 300, (), "wide") for n in range(40)]
    cities = [draw_city(spec) for spec in [s for s in specs if s.style.land.coast][:2]]
    assert len(cities) == 2
    for city in cities:
        box = city.buildings.bounds
        houses = (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2
        for points in (houses, city.roads.points.T):
            assert not city.country.sea(*points).any()
