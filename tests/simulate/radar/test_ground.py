"""Backscatter of the open country."""

from __future__ import annotations

import numpy as np

from builtup.simulate.plan.landcover import CODE, CROPS, NAMES, draw_country
from builtup.simulate.plan.noise import stream
from builtup.simulate.radar.ground import LEVELS, Surface, Weather, ground_power


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


def test_frost_darkens_fields_more_than_woods_and_leaves_water() -> None:
    country, x = draw_country(stream(0), 3000.0), np.arange(300) * 10.0
    code, _ = country.classes(x, x)
    usual, cold = (
        ground_power(country, x, x, Weather(0.3, 0.0, 0.0, change), (1.0, 0.0))
        for change in ((0.0, 0.0), (-4.0, -5.0))
    )
    for band, drop in ((0, -4.0), (1, -5.0)):
        change = 10 * np.log10(cold[band] / usual[band])
        np.testing.assert_allclose(change[code == CODE["grass"]], drop, atol=1e-3)
        np.testing.assert_allclose(change[code == CODE["forest"]], 0.7 * drop, atol=1e-3)
        np.testing.assert_allclose(change[code == CODE["water"]], 0, atol=1e-3)


def test_crops_stand_high_where_grass_does_not() -> None:
    country, x = draw_country(stream(0), 3000.0), np.arange(300) * 10.0
    code, _ = country.classes(x, x)
    usual, high = (
        ground_power(country, x, x, Weather(0.3, 0.0, 0.0, high=more), (1.0, 0.0))[0]
        for more in (0.0, 3.0)
    )
    change = 10 * np.log10(high / usual)
    np.testing.assert_allclose(change[code == CODE["cereal"]], 3, atol=1e-3)
    np.testing.assert_allclose(change[code == CODE["grass"]], 0, atol=1e-3)


def test_relief_makes_slopes_stronger_and_jitter_moves_a_kind() -> None:
    country, x = draw_country(stream(1), 3000.0), np.arange(300) * 10.0
    code, _ = country.classes(x, x)
    jitter = np.zeros((len(NAMES), 2), np.float32)
    jitter[CODE["grass"]] = 2.0, -1.0
    weather, look = Weather(0.3, 0.0, 0.0), (1.0, 0.0)
    flat, steep, moved = (
        [10 * np.log10(p) for p in ground_power(country, x, x, weather, look, 38.0, surface)]
        for surface in (Surface(relief=0.0), Surface(relief=8.0), Surface(jitter, relief=0.0))
    )
    here = code == CODE["grass"]
    assert (steep[0] - flat[0])[here].std() > 0.5
    np.testing.assert_allclose((moved[0] - flat[0])[here], 2, atol=1e-3)
    np.testing.assert_allclose((moved[1] - flat[1])[here], -1, atol=1e-3)
    np.testing.assert_allclose((moved[0] - flat[0])[code == CODE["cereal"]], 0, atol=1e-3)


def test_crops_of_little_contrast_lie_between_and_terraces_follow_rivers() -> None:
    crops = [CODE[name] for name in CROPS]
    usual, soft = (Surface(contrast=c).levels[crops] for c in (1.0, 0.25))
    np.testing.assert_allclose(soft.mean(axis=0), usual.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(soft.std(axis=0), usual.std(axis=0) / 4, rtol=1e-4)
    country, x = draw_country(stream(1), 6000.0), np.arange(600) * 10.0
    weather, look = Weather(0.3, 0.0, 0.0), (1.0, 0.0)
    flat, stepped = (
        ground_power(country, x, x, weather, look, 38.0, Surface(terraces=t))[0] for t in (0, 0.5)
    )
    changed = np.abs(10 * np.log10(stepped / flat)) > 0.5
    valley = np.abs(country.rivers.grid(x, x))
    assert changed.any()
    assert (np.abs(valley[changed] - 0.16) < 0.12).all()
