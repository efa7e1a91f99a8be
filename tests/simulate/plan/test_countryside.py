"""What stands outside towns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builtup.simulate.plan import countryside
from builtup.simulate.plan.noise import stream


@pytest.mark.parametrize("draw", [countryside.farms, countryside.scattered, countryside.halls])
def test_as_many_stand_there_as_the_rate_says(draw: object) -> None:
    few, many = (len(draw(stream(4), 10_000.0, rate)) for rate in (0.5, 4.0))  # type: ignore[operator]
    assert 3 < many / few < 20
    assert draw(stream(4), 10_000.0, 0.0).shape == (0, countryside.COLUMNS)  # type: ignore[operator]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(20, 900), st.floats(0, 3.14), st.floats(0, 1))
def test_a_row_village_lies_along_its_road(seed: int, radius: float, turn: float, trees: float):
    table = countryside.row_village(stream(seed), (500.0, -200.0), radius, turn, trees)
    assert table.shape[1] == countryside.COLUMNS
    offset = table[:, :2] - (500.0, -200.0)
    along = offset @ (np.cos(turn), np.sin(turn))
    assert (np.abs(along) < 2.4 * radius + 20).all()
    assert (table[:, 2:6] > -10).all() and (table[:, [2, 3, 5]] > 2).all()
    assert ((table[:, 7] >= 1 - trees - 1e-9) & (table[:, 7] <= 1)).all()


def test_halls_are_large_and_most_strips_are_bright() -> None:
    table = countryside.halls(stream(1), 20_000.0, 0.5)
    assert (table[:, 2] * table[:, 3] > 2000).all()
    assert 0.4 < (table[:, 6] > 3).mean() < 0.8
