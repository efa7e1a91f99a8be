"""Backscatter of the open country."""

from __future__ import annotations

import numpy as np

from builtup.simulate.plan.landcover import NAMES, draw_country
from builtup.simulate.plan.noise import stream
from builtup.simulate.radar.ground import LEVELS, Weather, ground_power


def test_every_kind_of_ground_has_its_level() -> None:
    assert tuple(LEVELS) == NAMES


def test_land_cover_keeps_to_the_published_ranges() -> None:
    x = np.arange(300) * 10.0
    weather = Weather(0.3, 0.0, 0.0)
    vv_all, ratio = [], []
    for seed in range(4):
        country = draw_country(stream(seed), 3000.0)
        vv, vh = (10 * np.log10(p) for p in ground_power(country, x, x, weather, (1.0, 0.0)))
        vv_all.append(np.median(vv))
        ratio.append(np.median(vv - vh))
    assert all(-16 < value < -7 for value in vv_all)
    assert all(4 < value < 10 for value in ratio)
