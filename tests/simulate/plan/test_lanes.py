"""Streets between footprints."""

from __future__ import annotations

import numpy as np
import shapely

from builtup.simulate.plan.buildings import boxes
from builtup.simulate.plan.lanes import FAR, NEAR, WIDTH, lanes_between


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
