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
    land = Land(crops={"flooded": 0.5, "tallcrop": 0.4}, belts=1.0, parcel=1.6, coast=True)
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
