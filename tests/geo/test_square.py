from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from builtup.geo.square import LARGEST_CHANGE, squared


def right_angled(polygon: shapely.Polygon, pixel: tuple[float, float] = (10, 10)) -> bool:
    for ring in shapely.get_rings(polygon):
        edges = np.diff(shapely.get_coordinates(ring), axis=0) * pixel
        edges /= np.hypot(*edges.T)[:, None]
        if np.abs((edges * np.roll(edges, 1, axis=0)).sum(axis=1)).max() > 1e-6:
            return False
    return True


def square(*polygons: shapely.Polygon, limit: float = 15):  # type: ignore[no-untyped-def]
    outlines = np.array(polygons, object)
    return squared(outlines, (10, 10), limit)


@pytest.mark.parametrize("angle", [0, 10, 30, 44, 80])
def test_a_house_with_bent_walls_gets_right_angles_along_its_own_direction(angle: float) -> None:
    walls = [(0, 0), (10, 0.4), (20, 0), (20, 8), (12, 8.3), (12, 15), (0, 15)]
    house = affinity.rotate(shapely.Polygon(walls), angle, origin=(0, 0))
    (made,), which = square(house)
    assert which.tolist() == [True]
    assert right_angled(made)
    assert len(made.exterior.coords) == 7  # an L
    assert made.area == pytest.approx(house.area, rel=0.03)
    assert shapely.hausdorff_distance(made, house) < 1


def test_the_holes_of_a_polygon_are_squared_with_it() -> None:
    court = shapely.Polygon(
        [(0, 0), (20, 0.5), (20, 20), (0, 20)], [[(5, 5), (5, 14), (15, 14.4), (15, 5)]]
    )
    (made,), which = square(court)
    assert which[0]
    assert len(made.interiors) == 1
    assert right_angled(made)
    assert made.is_valid


@pytest.mark.parametrize(
    "polygon",
    [
        shapely.Point(0, 0).buffer(20),  # a circle: its edges would move too far
        shapely.Polygon([(0, 0), (10, 0), (0, 10)]),  # a triangle: its area would change
        shapely.Polygon([(0, 0), (3, 1), (0, 1)]),
    ],
)
def test_what_has_no_right_angles_stays_as_it_was(polygon: shapely.Polygon) -> None:
    (made,), which = square(polygon)
    assert which.tolist() == [False]
    assert made is polygon


def test_pixels_that_are_not_square_are_measured_in_metres() -> None:
    # a diamond of 5 x 10 pixels of 20 x 10 m is a square on the ground, turned by 45 degrees
    diamond = shapely.Polygon([(5, 0), (10, 10), (5, 20), (0, 10)])
    outlines = np.array([diamond], object)
    (made,), which = squared(outlines, (20, 10), 15)
    assert which[0]
    assert right_angled(made, (20, 10))
    assert shapely.hausdorff_distance(made, diamond) < 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_polygons_do_not_mix_and_each_is_right_angled_valid_and_as_large_or_as_it_was(
    seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    polygons = []
    for i in range(count):
        angle = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 12)))
        ring = np.stack((np.cos(angle), np.sin(angle)), axis=1) * random.uniform(3, 20)
        polygons.append(affinity.translate(shapely.Polygon(ring), 100 * i))
    polygons = [p for p in polygons if p.is_valid and p.area > 0]
    made, which = square(*polygons)
    for before, after, done in zip(polygons, made, which, strict=True):
        if not done:
            assert after is before
            continue
        assert after.is_valid
        assert right_angled(after)
        assert abs(after.area - before.area) <= LARGEST_CHANGE * before.area
        alone, _ = square(before)
        assert shapely.equals_exact(alone[0], after, 1e-9)


def test_nothing_gives_nothing() -> None:
    made, which = squared(np.zeros(0, object), (10, 10), 15)
    assert len(made) == len(which) == 0
