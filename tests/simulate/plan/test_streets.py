"""Settlements, their houses and their roads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.streets import KINDS, build, draw_roads, draw_settlements
from builtup.simulate.plan.style import Towns

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


@pytest.mark.parametrize("kind", ["slabs", "shacks", "terraces", "plots", "halls"])
def test_a_style_puts_its_kinds_in_the_place_of_others(kind: str) -> None:
    roles = dict.fromkeys(("core", "rows", "suburb", "industry"), kind)
    towns = Towns(radius=(0.2, 0.25), villages=0, farms=0, kinds=roles)
    settlements = [s for s in draw_settlements(stream(3), EXTENT, towns) if s.town]
    houses = build(stream(1), settlements, EXTENT, towns)
    low, high = (KINDS[kind].length[i] * KINDS[kind].width[i] for i in (0, 1))
    assert (houses.areas() > 0.99 * low).all()
    assert (houses.areas() < 1.01 * high).all()
    together = shapely.area(shapely.union_all(houses.polygons()))
    assert together > 0.9 * houses.areas().sum()
    assert (houses.roofs.max() > 2) == (kind == "halls")


def test_villages_become_rows_under_trees() -> None:
    towns = Towns(rows=1.0, farms=0, trees=0.8)
    settlements = [s for s in draw_settlements(stream(0), EXTENT, towns) if not s.town]
    bare = build(stream(1), settlements, EXTENT, replace(towns, trees=0.0))
    hidden = build(stream(1), settlements, EXTENT, towns)
    np.testing.assert_array_equal(bare.points.shape, hidden.points.shape)
    assert 0.4 < (hidden.strength / bare.strength).mean() < 0.8


def test_roads_lead_through_the_land_and_hold_asphalt() -> None:
    roads = draw_roads(stream(2), draw_settlements(stream(0), EXTENT), EXTENT)
    assert len(roads.points) == len(roads.area) > 100
    assert (roads.area > 0).all()


def test_avenues_run_between_houses_and_nothing_stands_on_them() -> None:
    towns = Towns(radius=(0.2, 0.25), villages=0, farms=0, avenues=400.0)
    settlements = [s for s in draw_settlements(stream(0), EXTENT, towns) if s.town]
    houses = build(stream(1), settlements, EXTENT, towns)
    corners = houses.points[houses.starts[:-1]]
    without = draw_roads(stream(2), settlements, EXTENT)
    roads = draw_roads(stream(2), settlements, EXTENT, 400.0, corners)
    added = shapely.points(roads.points[len(without.points) :])
    assert len(added) > 500
    tree = shapely.STRtree(houses.polygons())
    assert len(tree.query(added, predicate="intersects")[0]) < 0.02 * len(added)
    assert len(np.unique(tree.query(added, predicate="dwithin", distance=90.0)[0])) == len(added)
