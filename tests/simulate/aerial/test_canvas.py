"""Canvases: places of pixels, polygons on them, noise of places."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from builtup.simulate.aerial.canvas import Canvas, hashed, per_object

CANVAS = Canvas(10, 20, 6, 4, 0.5, (100.0, 200.0))


def test_pixels_lie_where_their_numbers_say() -> None:
    assert CANVAS.x.tolist() == [105.25, 105.75, 106.25, 106.75, 107.25, 107.75]
    assert CANVAS.y.tolist() == [210.25, 210.75, 211.25, 211.75]
    assert CANVAS.box == (105.0, 210.0, 108.0, 212.0)
    rows, columns, inside = CANVAS.places(np.array([[105.1, 211.6], [104.9, 210.0]]))
    assert (rows[0], columns[0]) == (3, 0)
    assert inside.tolist() == [True, False]


def test_the_last_polygon_wins() -> None:
    one, two = shapely.box(105, 210, 107, 212), shapely.box(106, 210, 108, 211)
    np.testing.assert_array_equal(
        CANVAS.burn([one, two], np.array([7, 9])),
        [[7, 7, 9, 9, 9, 9], [7, 7, 9, 9, 9, 9], [7, 7, 7, 7, 0, 0], [7, 7, 7, 7, 0, 0]],
    )
    assert not CANVAS.burn([]).any()


def test_boxes_are_near_within_reach() -> None:
    boxes = np.array([[108.5, 210, 109, 211], [100, 200, 120, 220], [105, 215, 106, 216]])
    assert CANVAS.near(boxes).tolist() == [1]
    assert CANVAS.near(boxes, 1.0).tolist() == [0, 1]


@pytest.mark.parametrize("spacing", [0.7, 4.0, 33.0])
def test_noise_depends_on_the_place_alone(spacing: float) -> None:
    whole = Canvas(0, 0, 90, 80, 0.25, (3.0, 7.0))
    part = Canvas(31, 17, 20, 30, 0.25, (3.0, 7.0))
    np.testing.assert_allclose(
        part.noise(spacing, 5), whole.noise(spacing, 5)[17:47, 31:51], atol=1e-4
    )
    np.testing.assert_array_equal(part.white(5), whole.white(5)[17:47, 31:51])
    assert abs(whole.noise(spacing, 5) - whole.noise(spacing, 6)).max() > 0.1


def test_noise_has_mean_0_and_deviation_1() -> None:
    values = Canvas(0, 0, 600, 600, 0.5, (0.0, 0.0)).noise(2.0, 1)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.05)


def test_objects_have_numbers_of_their_own() -> None:
    objects = hashed(np.arange(20_000), 3)
    values = per_object(objects, 1)
    assert values.mean() == pytest.approx(0, abs=0.03)
    assert values.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(values, per_object(objects, 7))[0, 1]) < 0.03
