from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.sensors.radar.bands import CHANNEL_SETS
from builtup.sensors.radar.sentinel1 import SENTINEL1
from builtup.tiles import moments as accumulate
from builtup.tiles.moments import (
    Moments,
    channel_moments,
    measured_channels,
    moments,
    select,
    total,
)
from tile_data import power


@pytest.mark.parametrize("channel_set", CHANNEL_SETS)
def test_channel_statistics_are_numpys(channel_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "CHUNK", 500)  # several chunks, the last one short
    pixels = power((70, 90), gap=0)[:2].reshape(2, -1)
    channels = CHANNEL_SETS[channel_set].compute(*pixels)
    mean, std = select(channel_moments(pixels, SENTINEL1), channel_set, SENTINEL1)
    np.testing.assert_allclose(mean, channels.mean(axis=1, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, channels.std(axis=1, dtype=np.float64), rtol=1e-12)


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), max_size=20), max_size=6))
def test_parts_add_up_to_the_whole(parts: list[list[float]]) -> None:
    arrays = [np.array([part], dtype=np.float32) for part in parts]
    found = total((moments(a) for a in arrays), 1)
    whole = np.concatenate(arrays, axis=1)[0].astype(np.float64) if arrays else np.empty(0)
    assert found.count == whole.size
    if whole.size:
        np.testing.assert_allclose(found.mean[0], whole.mean(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.std[0], whole.std(), rtol=1e-6, atol=1e-5)


def test_a_small_deviation_about_a_large_mean_keeps_its_digits() -> None:
    values = (10_000 + np.tile([0.0, 1.0], 5_000)).astype(np.float32)[None]
    found = total((moments(part) for part in np.array_split(values, 7, axis=1)), 1)
    assert found.std[0] == pytest.approx(0.5, rel=1e-12)


def test_nothing_valid_gives_no_moments() -> None:
    assert channel_moments(np.empty((2, 0), np.float32), SENTINEL1).count == 0
    assert (Moments.none(2) + Moments.none(2)).count == 0


def test_channels_of_one_name_are_one_formula_and_measured_once() -> None:
    pixels = np.random.default_rng(0).gamma(0.5, 1, (2, 64)).astype(np.float32) - np.float32(1e-3)
    of_name: dict[str, set[bytes]] = {}
    for known in CHANNEL_SETS.values():
        for name, channel in zip(known.names, known.compute(*pixels), strict=True):
            of_name.setdefault(name, set()).add(channel.tobytes())
    assert all(len(values) == 1 for values in of_name.values())
    assert len(set().union(*of_name.values())) == len(of_name) == 15
    assert len(measured_channels(SENTINEL1)) == 15
    assert measured_channels(SENTINEL1)[:4] == (*(("linear_3b", i) for i in range(3)), ("db_3b", 0))
