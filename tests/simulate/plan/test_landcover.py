"""Land cover is a function of the ground: of points, grids and windows alike."""

from __future__ import annotations

import numpy as np
import pytest

from builtup.simulate.plan.landcover import CODE, NAMES, OTHER_CROPS, draw_country
from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.style import Land


def test_a_grid_says_what_its_points_and_its_windows_say() -> None:
    found: set[int] = set()
    for seed in range(4):
        country, x = draw_country(stream(seed), 3000.0), np.arange(300) * 10.0
        code, parcel = country.classes(x, x)
        found |= set(np.unique(code).tolist())
        part, part_parcel = country.classes(x[40:90], x[200:260])
        assert np.mean(part == code[200:260, 40:90]) > 0.999  # float32 fields at their levels
        np.testing.assert_array_equal(part_parcel, parcel[200:260, 40:90])
        columns, rows = (axis.ravel() for axis in np.meshgrid(x, x))
        water = country.water(columns, rows).reshape(code.shape)
        assert np.mean(water == (code == CODE["water"])) > 0.999
    # roads and gardens come with the town, other crops and belts of trees with a style
    others = {CODE[name] for name in ("road", "garden", "belt", *OTHER_CROPS)}
    assert found == set(range(len(NAMES))) - others


@pytest.mark.parametrize("seed", range(3))
def test_wide_land_is_one_function_of_the_ground_too(seed: int) -> None:
    land = Land(
        crops={"flooded": 0.5, "tallcrop": 0.4}, belts=1.0, parcel=1.6, coast=True, clusters=0.7
    )
    country, x = draw_country(stream(seed), 3000.0, land), np.arange(300) * 10.0
    code, parcel = country.classes(x, x)
    part, part_parcel = country.classes(x[40:90], x[200:260])
    assert np.mean(part == code[200:260, 40:90]) > 0.999
    np.testing.assert_array_equal(part_parcel, parcel[200:260, 40:90])
    for name in ("flooded", "tallcrop", "belt"):
        assert 0.01 < np.mean(code == CODE[name]) < 0.5
    columns, rows = (axis.ravel() for axis in np.meshgrid(x, x))
    water = country.water(columns, rows).reshape(code.shape)
    assert np.mean(water == (code == CODE["water"])) > 0.999
    assert 0.02 < water.mean() < 0.6


def test_crops_cluster_and_districts_turn_as_the_land_says() -> None:
    x = np.arange(500) * 10.0
    apart, near = (
        draw_country(stream(2), 5000.0, Land(clusters=c, turns=0.04)) for c in (0.0, 0.9)
    )
    assert near.turns[0] > 0
    alike = []
    for country in (apart, near):
        rank = country._ranks(country._parcels(x, x)[0], x, x)
        assert abs(rank.mean() - 0.5) < 0.2
        far = rank[:, :-30].ravel(), rank[:, 30:].ravel()  # beyond most parcels
        alike.append(np.corrcoef(*far)[0, 1])
    assert alike[1] > alike[0] + 0.3
