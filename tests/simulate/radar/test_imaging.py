"""Scenes are made block by block, and a block is that of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.geo.windows import Window
from builtup.simulate.plan.city import City, CitySpec, draw_city
from builtup.simulate.radar import imaging as scene
from builtup.simulate.radar.acquisition import draw_acquisition
from builtup.simulate.radar.speckle import SpeckleRows


@pytest.fixture(scope="module")
def city() -> City:
    return draw_city(CitySpec(0, "train", 0, 96))


def test_a_window_does_not_depend_on_the_blocks_around_it(city: City) -> None:
    date, box = draw_acquisition(city, 1), city.buildings.bounds
    whole = scene.mean_power(city, date, Window(0, 0, 90, 90), box)
    part = scene.mean_power(city, date, Window(31, 22, 40, 50), box)
    for all_of_it, some in zip(whole, part, strict=True):
        np.testing.assert_allclose(some, all_of_it[31:71, 22:72], rtol=2e-3)


def test_small_negative_powers_occur_over_water(city: City) -> None:
    noise = draw_acquisition(city, 0).noise
    speckle = SpeckleRows((9,), 200).next(200)
    power = (10**-2.85 + noise) * speckle - noise
    assert 0 < (power < 0).mean() < 0.4
    assert power.mean() == pytest.approx(10**-2.85, rel=0.1)
