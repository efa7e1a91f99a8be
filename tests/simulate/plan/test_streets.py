"""Settlements, their houses and their roads."""

from __future__ import annotations

import numpy as np
import shapely

from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.streets import build, draw_roads, draw_settlements

EXTENT = 4000.0


def test_a_town_stands_near_the_middle_with_villages_around_it() -> None:
    for seed in range(5):
        settlements = draw_settlements(stream(seed), EXTENT)
        (town,) = [s for s in settlements if s.town]
        assert abs(town.x / EXTENT - 0.5) < 0.15 and abs(town.y / EXTENT - 0.5) < 0.15
        assert all(s.rank < town.rank for s in settlements if not s.town)


def test_houses_crowd_around_settlements_and_hardly_overlap() -> None:
    settlements = draw_settlements(stream(0), EXTENT)
    houses = build(stream(1), settlements, EXTENT)
    footprints = houses.polygons()
    centres = shapely.get_coordinates(shapely.centroid(footprints))
    inside = [np.hypot(*(centres - (s.x, s.y)).T) < 1.5 * s.radius for s in settlements]
    assert np.any(inside, axis=0).mean() > 0.6
    assert (houses.heights > 2).all()
    together = shapely.area(shapely.union_all(footprints))
    assert together > 0.9 * shapely.area(footprints).sum()


def test_roads_lead_through_the_land_and_hold_asphalt() -> None:
    roads = draw_roads(stream(2), draw_settlements(stream(0), EXTENT), EXTENT)
    assert len(roads.points) == len(roads.area) > 100
    assert (roads.area > 0).all()
