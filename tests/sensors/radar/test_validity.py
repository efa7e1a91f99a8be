"""Validity read by two threads is that of the rule, also where files declare a no-data value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.geo.windows import aligned
from builtup.sensors.radar.bands import invalid
from builtup.sensors.radar.names import discover_pairs
from builtup.sensors.radar.pairs import open_pair
from builtup.sensors.radar.validity import invalid_ahead
from helpers import write_scene


def scene(folder: Path, size: int = 70) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    values = np.array([np.nan, np.inf, -np.inf, 0, -9999, -0.01, 0.2, 3], np.float32)
    vv, vh = (generator.choice(values, (size, size)) for _ in range(2))
    write_scene(folder, vv=vv, vh=vh)
    return vv, vh


@pytest.mark.parametrize("nodata", [None, 0.0, 3.0])
def test_it_is_the_rule(tmp_path: Path, nodata: float | None) -> None:
    vv, vh = scene(tmp_path)
    (pair,) = discover_pairs(tmp_path).pairs
    if nodata is not None:
        with rasterio.open(pair.vv, "r+") as dataset:
            dataset.nodata = nodata
    found = np.zeros(vv.shape, bool)
    with open_pair(pair) as opened:
        windows = list(aligned(70, 70, (16, 32)))
        with invalid_ahead(opened, windows) as parts:
            for window, bad in parts:
                found[window.slices] = bad
    np.testing.assert_array_equal(found, invalid(vh, vv, None, nodata))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    power = generator.random((400, 400), dtype=np.float32)
    write_scene(tmp_path, vv=power, vh=power)
    (pair,) = discover_pairs(tmp_path).pairs
    pair.vh.write_bytes(pair.vh.read_bytes()[:200_000])
    with (
        open_pair(pair) as opened,
        pytest.raises(InputError, match="_vh_"),
        invalid_ahead(opened, list(aligned(400, 400, (64, 400)))) as parts,
    ):
        list(parts)
