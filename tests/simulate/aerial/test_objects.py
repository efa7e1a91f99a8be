"""Trees, vehicles and clutter: where they may stand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from builtup.simulate.aerial.canvas import Canvas
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import Ground, ground_of, street_pieces
from builtup.simulate.aerial.materials import CODE
from builtup.simulate.aerial.objects import (
    CAR,
    CLUTTER,
    POOL,
    TREE_REACH,
    Boxes,
    boxes_of,
    envelopes,
    trees_of,
)

Parts = tuple[Canvas, Ground, np.ndarray]


@pytest.fixture(scope="module")
def parts(flight: Flight) -> Parts:
    houses = flight.city.buildings
    x, y = flight.corner
    canvas = Canvas(0, 0, 600, 600, 0.5, (x - 130, y - 130))
    near = canvas.near(houses.bounds)
    built = canvas.burn(houses.polygons()[near], near + 1)
    return canvas, ground_of(canvas, flight, built, street_pieces(flight)), built


@pytest.fixture(scope="module")
def boxes(parts: Parts, flight: Flight) -> Boxes:
    return boxes_of(parts[0], parts[1], flight, street_pieces(flight))


def test_trees_stand_in_no_house_street_or_water(parts: Parts, flight: Flight) -> None:
    canvas, ground, built = parts
    trees = trees_of(canvas, ground, built, flight)
    rows, columns, inside = canvas.places(trees.place)
    assert len(trees.place) > 50
    assert inside.all()
    taken = ground.street | ground.water | (built > 0)
    assert not taken[rows, columns].any()
    assert trees.radius.min() > 0
    assert trees.radius.max() <= TREE_REACH
    assert (trees.height > 6).any()
    assert (trees.height < 2).any()  # shrubs


def test_trees_do_not_depend_on_the_canvas(parts: Parts, flight: Flight) -> None:
    canvas, ground, built = parts
    part = Canvas(100, 120, 300, 280, canvas.pixel, canvas.corner)
    index = (slice(120, 400), slice(100, 400))
    of_part = Ground(*(getattr(ground, name)[index] for name in Ground.__dataclass_fields__))
    some, every = trees_of(part, of_part, built[index], flight), trees_of(*parts, flight)
    x0, y0, x1, y1 = part.box
    within = (every.place[:, 0] > x0) & (every.place[:, 0] < x1)
    within &= (every.place[:, 1] > y0) & (every.place[:, 1] < y1)
    assert set(every.objects[within].tolist()) == set(some.objects.tolist())


def test_there_are_cars_clutter_and_pools(boxes: Boxes) -> None:
    assert set(boxes.kind.tolist()) == {POOL, CLUTTER, CAR}
    cars = boxes.kind == CAR
    areas = shapely.area(boxes.polygons[cars])
    assert (areas > 6.5).all()
    assert (areas < 10).all()
    assert (boxes.height[cars] < 2).all()
    assert (boxes.material[boxes.kind == POOL] == CODE["pool"]).all()
    assert len(boxes.glass) == cars.sum()


def test_clutter_and_cars_leave_room_to_houses(boxes: Boxes, flight: Flight) -> None:
    middles = shapely.centroid(boxes.polygons)
    houses = flight.city.buildings.polygons()
    at, _ = shapely.STRtree(houses).query(middles, "within")
    on_streets = boxes.kind == CAR
    assert not len(set(at.tolist()) & set(np.flatnonzero(~on_streets).tolist()))


def test_envelopes_have_the_longer_side_first() -> None:
    middle, along, half = envelopes(np.array([shapely.box(2, 3, 4, 13)]))
    np.testing.assert_allclose(middle, [[3, 8]])
    np.testing.assert_allclose(np.abs(along), [[0, 1]], atol=1e-12)
    np.testing.assert_allclose(half, [[5, 1]])
