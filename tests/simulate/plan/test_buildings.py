"""Footprints: their areas, and the points that stand for roofs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.simulate.plan.buildings import Buildings
from houses import house


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 6.2), st.floats(100, 700), st.booleans())
def test_roof_points_cover_the_footprint(angle: float, x: float, odd: bool) -> None:
    buildings = house(x=x, angle=angle)
    if odd:  # an L of six walls
        ring = np.array([(0, 0), (30, 0), (30, 12), (12, 12), (12, 30), (0, 30), (0, 0)], float)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        buildings = Buildings(
            ring @ turn + x,
            np.array([0, 7]),
            *(buildings.heights, buildings.strength, buildings.roofs),
        )
    points, own, area = buildings.roof_points(3.0)
    polygon = buildings.polygons()[0]
    assert buildings.areas()[0] == pytest.approx(polygon.area)
    assert area.sum() == pytest.approx(polygon.area)
    assert shapely.contains_xy(polygon.buffer(1e-6), *points.T).all()
    assert (own == 0).all()
    centre = (points * area[:, None]).sum(0) / area.sum()
    assert np.hypot(*(centre - shapely.get_coordinates(polygon.centroid)[0])) < 1
