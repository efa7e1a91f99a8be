"""Walls, roofs, layover and shadow, held to theory."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.simulate.radar.backscatter import Canvas, Echo, View, building_returns, wall_sections
from houses import house

EAST = View((1.0, 0.0), 45.0, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.floats(30, 370), st.floats(30, 370), st.floats(0.1, 1e5))
def test_a_scatterer_keeps_its_energy_and_place(n: int, x: float, y: float, power: float) -> None:
    canvas = Canvas(-50.0, 20.0, 42, 45)
    points = np.repeat([[x, y + 20]], n, axis=0)
    (total,) = canvas.splat(points, np.full(n, power))
    assert total.shape == (42, 45)
    assert total.sum() == pytest.approx(n * power, rel=1e-4)
    if n:
        rows, columns = np.indices(total.shape)
        assert (total * (columns + 0.5)).sum() / total.sum() * 10 - 50 == pytest.approx(x, abs=0.1)
        assert (total * (rows + 0.5)).sum() / total.sum() * 10 == pytest.approx(y, abs=0.1)


def test_walls_that_face_the_sensor_return_most_vv_and_turned_ones_most_vh() -> None:
    turn = np.radians([0.0, 10, 20, 45])
    ones = np.ones(4)
    vv, vh = wall_sections(np.cos(turn), 10 * ones, 6 * ones)
    assert (np.diff(vv) < 0).all()
    assert vv[0] > 4 * vv[3]
    assert (vh / vv)[3] > 2 * (vh / vv)[0]
    taller, _ = wall_sections(np.cos(turn), 10 * ones, 12 * ones)
    assert (taller > vv).all()


@pytest.mark.parametrize("look", [(1.0, 0.0), (-1.0, 0.0), (0.6, 0.8)])
def test_layover_falls_to_the_sensor_and_shadow_behind(look: tuple[float, float]) -> None:
    canvas, tall = Canvas(0.0, 0.0, 80, 80), house(height=40)
    returns = building_returns(canvas, tall, View(look, 40.0, 0))
    place = np.array([400.0, 400.0])

    def middle(points: np.ndarray, weight: np.ndarray) -> float:
        return float((points * weight[:, None]).sum(0) / weight.sum() @ look - place @ look)

    for group in returns.scatterers:
        assert middle(group.points, group.vv) < -5
    rows, columns = np.indices(returns.shaded.shape)
    points = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1) * 10
    assert middle(points, returns.shaded.ravel().astype(float)) > 15
    # a box of 20 m by 12 m throws a shadow of width times height times tan θ
    width = 20 * abs(look[1]) + 12 * abs(look[0])
    expected = width * 40 * math.tan(math.radians(40))
    assert returns.shaded.sum() * 100 == pytest.approx(expected, rel=0.02)


def test_both_orbits_see_other_walls() -> None:
    canvas, block = Canvas(0.0, 0.0, 80, 80), house(height=10)
    west = building_returns(canvas, block, EAST).scatterers[1]
    east = building_returns(canvas, block, View((-1.0, 0.0), 45.0, 1)).scatterers[1]
    assert west.points[:, 0].max() < 400 < east.points[:, 0].min()
    assert west.vv.sum() == pytest.approx(east.vv.sum())


def test_another_echo_changes_walls_and_bright_roofs_shine() -> None:
    turn, ones = np.radians([0.0, 20]), np.ones(2)
    vv, _ = wall_sections(np.cos(turn), 10 * ones, 6 * ones)
    broad, _ = wall_sections(np.cos(turn), 10 * ones, 6 * ones, Echo(fall=25.0))
    assert broad[0] == pytest.approx(vv[0])
    assert broad[1] > 1.5 * vv[1]
    canvas, block = Canvas(0.0, 0.0, 80, 80), house(height=10)
    bright = replace(block, roofs=np.full(1, 10, np.float32))
    roof, shining = (building_returns(canvas, one, EAST).scatterers[0] for one in (block, bright))
    np.testing.assert_allclose(shining.vv, 10 * roof.vv)
    weak = building_returns(canvas, block, EAST, Echo(gain=0.5)).scatterers[1]
    np.testing.assert_allclose(weak.vv * 2, building_returns(canvas, block, EAST).scatterers[1].vv)
