"""Scenes are made block by block, and a block is that of the whole."""

from __future__ import annotations

from dataclasses import replace

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


@pytest.mark.parametrize(
    ("variety", "shift"), [("plain", ""), ("wide", ""), ("wide", "sensor"), ("wide", "style")]
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_window_does_not_depend_on_the_blocks_around_it(
    variety: str, shift: str, number: int
) -> None:
    city = draw_city(CitySpec(0, "train", number, 96, (), variety, shift))
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


def test_the_plain_world_stays_as_it_was(city: City) -> None:
    # computed before other worlds were added: what is drawn for them leaves this one alone
    date = draw_acquisition(city, 0)
    vv, vh = scene.mean_power(city, date, Window(0, 0, 90, 90), city.buildings.bounds)
    found = [len(city.buildings), vv.mean(), vh.mean(), vv[17, 60], vh[80, 5]]
    assert found == pytest.approx([32, 0.146981, 0.0278781, 0.11311, 0.0125482], rel=1e-4)


def test_gain_of_the_sensor_is_on_all_of_a_band(city: City) -> None:
    date, box = draw_acquisition(city, 0), city.buildings.bounds
    sensor = replace(date.conditions.sensor, gain=(3.0, -2.0))
    loud = replace(date, conditions=replace(date.conditions, sensor=sensor))
    window = Window(20, 20, 40, 40)
    usual, moved = (scene.mean_power(city, one, window, box) for one in (date, loud))
    for band, gain in ((0, 3.0), (1, -2.0)):
        np.testing.assert_allclose(moved[band], usual[band] * 10 ** (gain / 10), rtol=1e-5)
