"""Land cover is a function of the ground: of points, grids and windows alike."""

from __future__ import annotations

import numpy as np

from builtup.simulate.plan.landcover import CODE, NAMES, draw_country
from builtup.simulate.plan.noise import stream


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
    # roads and gardens come with the town
    assert found == set(range(len(NAMES))) - {CODE["road"], CODE["garden"]}
