from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builtup.sensors.radar.bands import CHANNEL_SETS
from builtup.tiles import moments as accumulate
from builtup.tiles.moments import CHANNELS, Moments, channel_moments, moments, select, total
from tile_data import power


@pytest.mark.parametrize("channel_set", CHANNEL_SETS)
def test_channel_statistics_are_numpys(channel_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "CHUNK", 500)  # several chunks, the last one short
    image = power((70, 90))
    image[:2, 3, 40] = np.nan, 0.2  # one polarisation is enough to be invalid
    valid = np.isfinite(image[0]) & np.isfinite(image[1])
    channels = CHANNEL_SETS[channel_set].compute(image[0][valid], image[1][valid])
    mean, std = select(channel_moments(image), channel_set)
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
    assert channel_moments(np.full((3, 4, 4), np.nan, np.float32)).count == 0
    assert (Moments.none(2) + Moments.none(2)).count == 0


def test_channels_that_sets_share_are_measured_once() -> None:
    assert len(CHANNELS) == 15
