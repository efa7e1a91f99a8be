"""What lies on top: houses above the ground, crowns above houses."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.simulate.aerial.canvas import Canvas
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import LARGE, ground_of, street_pieces
from builtup.simulate.aerial.materials import CODE
from builtup.simulate.aerial.objects import boxes_of, trees_of
from builtup.simulate.aerial.surface import (
    BUILDING,
    CAR_CLASS,
    CLASSES,
    GROUND,
    VEGETATION,
    WATER,
    Surface,
)

Parts = tuple[Canvas, Surface, np.ndarray]


@pytest.fixture(scope="module")
def parts(flight: Flight) -> Parts:
    houses = flight.city.buildings
    canvas = Canvas(-40, -40, 400, 400, 0.5, flight.corner)
    near = canvas.near(houses.bounds)
    built = canvas.burn(houses.polygons()[near], near + 1)
    pieces = street_pieces(flight)
    ground = ground_of(canvas, flight, built, pieces)
    things = trees_of(canvas, ground, built, flight), boxes_of(canvas, ground, flight, pieces)
    return canvas, Surface.of(canvas, flight, ground, built, things), built


def above(parts: Parts, flight: Flight) -> np.ndarray:
    canvas, surface, _ = parts
    return surface.top - flight.terrain(canvas.x, canvas.y)


def test_buildings_are_where_they_were_burnt_but_under_crowns(parts: Parts) -> None:
    _, surface, built = parts
    assert set(np.unique(surface.kind[built > 0]).tolist()) <= {BUILDING, VEGETATION}
    assert not (surface.kind[built == 0] == BUILDING).any()
    assert ((surface.kind == VEGETATION) & (built > 0)).any()


def test_roofs_are_as_high_as_their_buildings(parts: Parts, flight: Flight) -> None:
    _, surface, built = parts
    houses = flight.city.buildings
    for number in np.unique(built[built > 0])[:40].tolist():
        here = (built == number) & (surface.kind == BUILDING)
        if here.sum() < 40 or here[[0, -1]].any() or here[:, [0, -1]].any():
            continue
        middle = houses.take(np.array([number - 1])).bounds.reshape(2, 2).mean(0)
        foot = flight.terrain_at(middle[:1], middle[1:])[0]
        height = float(houses.heights[number - 1])
        assert np.median(surface.top[here]) - foot == pytest.approx(height, abs=2.0)


def test_large_roofs_are_flat_in_absolute_height(parts: Parts, flight: Flight) -> None:
    _, surface, built = parts
    houses = flight.city.buildings
    large = np.flatnonzero(houses.areas() > LARGE) + 1
    seen = [n for n in np.unique(built[built > 0]).tolist() if n in large]
    for number in seen:
        tops = surface.top[(built == number) & (surface.kind == BUILDING)]
        low = np.quantile(tops, 0.02)
        assert (tops < low + 0.01).mean() > 0.5  # the rest are boxes on it
    gabled = [
        np.ptp(surface.top[(built == n) & (surface.kind == BUILDING)])
        for n in np.unique(built[built > 0]).tolist()
        if n not in large
    ]
    assert sum(g > 1 for g in gabled) > 0.4 * len(gabled)


def test_height_tells_classes_apart_but_not_alone(parts: Parts, flight: Flight) -> None:
    surface, height = parts[1], above(parts, flight)
    assert abs(np.median(height[surface.kind == GROUND])) < 0.1
    assert np.quantile(height[surface.kind == BUILDING], 0.05) > 2
    trees = height[surface.kind == VEGETATION]
    houses = height[surface.kind == BUILDING]
    assert (trees > np.quantile(houses, 0.3)).mean() > 0.1  # trees are as high as houses
    assert np.median(height[surface.kind == CAR_CLASS]) == pytest.approx(1.5, abs=0.3)
    assert (height[surface.kind == WATER] < 0.5).all()


def test_every_class_is_there_and_has_materials(parts: Parts) -> None:
    surface = parts[1]
    assert len(CLASSES) == 6
    kinds = set(np.unique(surface.kind).tolist())
    assert {BUILDING, VEGETATION, GROUND, CAR_CLASS} <= kinds
    assert (surface.material[surface.kind == VEGETATION] == CODE["leaf"]).all()
    assert (surface.number[surface.kind != CAR_CLASS] == 0).all()
