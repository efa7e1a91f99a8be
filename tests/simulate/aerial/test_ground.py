"""The ground: streets between lots, water beside them, fences on their borders."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from builtup.simulate.aerial.canvas import Canvas
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.ground import (
    FAR,
    FENCE,
    HEDGE,
    NEAR,
    REACH,
    WIDTH,
    Ground,
    ground_of,
    lanes_between,
    street_pieces,
)
from builtup.simulate.aerial.materials import CODE
from builtup.simulate.plan.buildings import boxes


@pytest.fixture(scope="module")
def canvas(flight: Flight) -> Canvas:
    return Canvas(-20, -20, 260, 240, 0.5, flight.corner)


@pytest.fixture(scope="module")
def built(canvas: Canvas, flight: Flight) -> np.ndarray:
    houses = flight.city.buildings
    near = canvas.near(houses.bounds)
    return canvas.burn(houses.polygons()[near], near + 1)


@pytest.fixture(scope="module")
def ground(canvas: Canvas, flight: Flight, built: np.ndarray) -> Ground:
    return ground_of(canvas, flight, built, street_pieces(flight))


def test_streets_run_between_houses(flight: Flight) -> None:
    lanes, houses = flight.city.lanes, flight.city.buildings
    assert len(lanes) > 500
    assert set(np.round(np.hypot(*(lanes[:, 2:4] - lanes[:, :2]).T), 6)) == {6.0}
    lines = shapely.linestrings(lanes[:, :4].reshape(-1, 2, 2))
    hit = shapely.STRtree(houses.polygons()).query(lines, "intersects")[0]
    assert len(set(hit.tolist())) < 0.1 * len(lanes)


def test_lots_belong_to_the_nearest_house(canvas: Canvas, ground: Ground, flight: Flight) -> None:
    polygons = flight.city.buildings.polygons()
    tree = shapely.STRtree(polygons)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(60, 180, (2, 60))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        point = shapely.points(canvas.x[column], canvas.y[row])
        away = shapely.distance(polygons[tree.nearest(point)], point)
        assert ground.away[row, column] == pytest.approx(away, abs=0.8)
        lot = int(ground.lot[row, column])
        if lot >= 0:
            assert shapely.distance(polygons[lot], point) < away + 1.6
        else:
            assert away > REACH - 11


def test_streets_have_a_street_s_material(ground: Ground, built: np.ndarray) -> None:
    assert 0.02 < ground.street.mean() < 0.5
    paved = {CODE[n] for n in ("asphalt", "bitumen", "concrete", "gravel", "sand")}
    assert set(np.unique(ground.material[ground.street])) <= paved
    assert not (ground.street & (built > 0)).any()
    assert not (ground.street & ground.water).any()


def test_lots_are_divided_where_they_meet(ground: Ground) -> None:
    for what in (FENCE, HEDGE):
        rows, columns = np.nonzero(ground.divide == what)
        assert len(rows) > 10
        around = [ground.lot[rows - dy, columns - dx] for dy, dx in ((0, 0), (1, 0), (0, 1))]
        assert ((around[0] != around[1]) | (around[0] != around[2])).all()
        assert (around[0] >= 0).all()


def test_ponds_are_wider_than_a_window(flight: Flight) -> None:
    wide = Canvas(0, 0, 1000, 1000, 1.0, (500.0, 500.0))
    ground = ground_of(wide, flight, np.zeros(wide.shape, np.int32), np.zeros((0, 5)))
    assert 0.002 < ground.water.mean() < 0.5
    assert (ground.material[ground.water] == CODE["water"]).all()
    assert (ground.lot == -1).all()


# --- streets between footprints -------------------------------------------------------------------


def houses(x: list[float], y: list[float]) -> object:
    centres = np.stack([a.ravel() for a in np.meshgrid(x, y)], 1)
    n = len(centres)
    sides = np.full(n, 12.0)
    return boxes(centres, sides, sides, np.zeros(n), sides, np.ones((n, 2), np.float32))


def test_a_street_runs_in_the_middle_between_two_rows() -> None:
    # houses 20 m apart along two rows that are 40 m apart: 8 m and 28 m between walls
    lanes = lanes_between(houses([0, 20, 40, 60, 80], [0, 40]))
    middle = (lanes[:, :2] + lanes[:, 2:4]) / 2
    along = (middle[:, 0] > 0) & (middle[:, 0] < 80)
    np.testing.assert_allclose(middle[along, 1], 20, atol=1e-6)
    length = np.abs(lanes[along, 2] - lanes[along, 0]).sum()
    assert 70 < length < 100
    assert (lanes[:, 4] == WIDTH).all()


def test_no_street_runs_within_a_block_or_far_from_houses() -> None:
    assert not len(lanes_between(houses([0, 20, 40], [0, 20])))
    assert not len(lanes_between(houses([0, 200, 400], [0, 200])))
    assert not len(lanes_between(houses([0], [0, 40])))


def test_streets_keep_their_distance() -> None:
    rng = np.random.default_rng(0)
    n = 300
    centres, sides = rng.uniform(0, 600, (n, 2)), rng.uniform(6, 20, n)
    some = boxes(centres, sides, sides, rng.uniform(0, 3, n), sides, np.ones((n, 2), np.float32))
    lanes = lanes_between(some)
    assert len(lanes) > 50
    middles = shapely.points((lanes[:, :2] + lanes[:, 2:4]) / 2)
    _, away = shapely.STRtree(some.polygons()).query_nearest(
        middles, return_distance=True, all_matches=False
    )
    assert away.min() > NEAR - 1.5  # between the points of walls that were sampled
    assert away.max() < FAR
