"""Windowed prediction is exact: constants, the identity, no-data, small rasters, any batch."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from builtup.errors import BuiltupError
from builtup.geo.blend import BLENDS
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window, blend_weights, tiling
from builtup.prediction.network import predict_array
from builtup.prediction.windows import Stream, predict_stream, windows_of

Float = NDArray[np.float32]


def identity(power: Tensor) -> Tensor:
    """The first band as the building's probability."""
    return power[:, :1].clone()


def constant(k: int) -> object:
    return lambda power: torch.full_like(power[:, :1], k / 254)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Float, dict[str, int]]:
    """A scene (2, H, W) with gaps, and how to cut it."""
    width, height = draw(st.integers(1, 45)), draw(st.integers(1, 45))
    window = draw(st.integers(1, 20))
    overlap = draw(st.integers(0, window - 1))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scene = generator.random((2, height, width), dtype=np.float32)
    share = draw(st.sampled_from([0.0, 0.1, 0.9]))
    scene[:, generator.random((height, width)) < share] = np.nan
    if draw(st.booleans()):  # a wedge without data: whole windows of it
        scene[:, : height // 2, : width // 2] = np.nan
    cut = {"window": window, "overlap": overlap, "batch_size": draw(st.integers(1, 5))}
    return scene, cut


@given(cases(), st.integers(0, 254))
def test_a_constant_comes_out_everywhere_but_on_no_data(
    case: tuple[Float, dict[str, int]], k: int
) -> None:
    scene, cut = case
    result = predict_array(scene, Stream(constant(k), **cut))  # type: ignore[arg-type]
    expected = np.where(np.isnan(scene[:1]), NODATA, k)
    np.testing.assert_array_equal(result, expected)


@given(cases())
def test_the_identity_gives_back_the_rounded_scene(case: tuple[Float, dict[str, int]]) -> None:
    scene, cut = case
    result = predict_array(scene, Stream(identity, **cut))
    gap = np.isnan(scene[:1])
    expected = np.where(gap, NODATA, np.round(np.float32(254) * np.where(gap, 0, scene[:1])))
    np.testing.assert_array_equal(result, expected)


@given(cases(), st.sampled_from(sorted(BLENDS)))
def test_overlaps_are_the_mean_by_weight(case: tuple[Float, dict[str, int]], blend: str) -> None:
    scene, cut = case
    scene = np.nan_to_num(scene, nan=0.25)

    def uneven(power: Tensor) -> Tensor:
        """Depends on the pixel's place in its window."""
        size = power.shape[-1]
        place = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size)
        return power[:, :1].nan_to_num(0) * (place / (size * size))

    result = predict_array(scene, Stream(uneven, blend=blend, **cut))  # type: ignore[arg-type]
    np.testing.assert_allclose(result[0], naive(scene, cut, blend), atol=0.502)


def naive(scene: Float, cut: dict[str, int], blend: str) -> NDArray[np.float64]:
    """254 · the weighted mean over whole-scene accumulators."""
    _, height, width = scene.shape
    size = cut["window"]
    total, weights = np.zeros((height, width)), np.zeros((height, width))
    place = np.arange(size * size).reshape(size, size) / (size * size)
    for w in tiling(width, height, size, cut["overlap"]):
        weight = np.outer(weights_of(w.height, cut, blend), weights_of(w.width, cut, blend))
        total[w.slices] += weight * scene[0][w.slices] * place[: w.height, : w.width]
        weights[w.slices] += weight
    return 254 * total / weights


def weights_of(size: int, cut: dict[str, int], blend: str) -> NDArray[np.float64]:
    if blend == "gaussian":
        place = np.arange(size) - (size - 1) / 2
        bell: NDArray[np.float64] = np.exp(-0.5 * (6 * place / size) ** 2)
        return np.maximum(1, np.round(128 * bell))
    ramp = max(1, cut["overlap"]) if blend == "ramp" else 1
    return blend_weights(size, ramp).astype(np.float64)


def test_windows_without_data_never_reach_the_network() -> None:
    scene = np.full((2, 40, 40), np.nan, np.float32)
    scene[:, 30:, 30:] = 0.5
    seen = []

    def record(power: Tensor) -> Tensor:
        seen.append(power)
        return identity(power)

    predict_array(scene, Stream(record, window=10, overlap=0, batch_size=3))
    assert [len(batch) for batch in seen] == [1]


def test_nan_of_the_network_on_valid_pixels_is_refused() -> None:
    stream = Stream(lambda power: power[:, :1] * torch.nan, window=8, overlap=0)
    with pytest.raises(BuiltupError, match="NaN or infinite"):
        predict_array(np.ones((2, 8, 8), np.float32), stream)


def test_infinite_power_is_no_data() -> None:
    scene = np.full((2, 8, 8), 0.5, np.float32)
    scene[0, 3, 4] = np.inf
    result = predict_array(scene, Stream(identity, window=8, overlap=0))
    assert result[0, 3, 4] == NODATA
    assert (result == NODATA).sum() == 1


def test_writing_goes_on_while_the_next_windows_are_predicted() -> None:
    second = threading.Event()
    batches: list[Tensor] = []
    calls: list[Window] = []

    def network(power: Tensor) -> Tensor:
        batches.append(power)
        if len(batches) == 2:
            second.set()
        return identity(power)

    def write(window: Window, values: NDArray[np.uint8]) -> None:
        assert second.wait(30)  # it would never come, were writing to hold up the network
        calls.append(window)

    scene = np.full((2, 8, 24), 0.5, np.float32)
    stream = Stream(network, window=8, overlap=0, batch_size=1)
    done = predict_stream(lambda w: scene[:, w.slices[0], w.slices[1]], write, 24, 8, stream)
    assert done == 3
    assert [w.x for w in calls] == [0, 8, 16]


@pytest.mark.parametrize("failing", [0, 2])
def test_a_write_that_fails_ends_the_prediction(failing: int) -> None:
    def write(window: Window, values: NDArray[np.uint8]) -> None:
        if window.x == 8 * failing:
            raise OSError("disk full")

    scene = np.full((2, 8, 24), 0.5, np.float32)
    stream = Stream(identity, window=8, overlap=0, batch_size=1)
    with pytest.raises(OSError, match="disk full"):
        predict_stream(lambda w: scene[:, w.slices[0], w.slices[1]], write, 24, 8, stream)


@given(cases())
def test_what_is_read_is_known_beforehand_and_never_more_than_said(
    case: tuple[Float, dict[str, int]],
) -> None:
    scene, cut = case
    _, height, width = scene.shape
    stream, seen = Stream(identity, **cut), []

    def read(window: Window) -> Float:
        seen.append(window)
        return np.ascontiguousarray(scene[:, window.slices[0], window.slices[1]])

    predict_stream(read, lambda window, values: None, width, height, stream)
    assert seen == windows_of(width, height, stream)
    assert max(2 * w.height * w.width for w in seen) <= stream.values


@given(cases(), st.integers(2, 3))
def test_bands_are_blended_each_for_itself(case: tuple[Float, dict[str, int]], bands: int) -> None:
    scene, cut = case

    def shifted(power: Tensor) -> Tensor:
        return torch.cat([power[:, :1] / (band + 1) for band in range(bands)], dim=1)

    together = predict_array(scene, Stream(shifted, bands=bands, **cut))
    for band in range(bands):
        alone = Stream(lambda power, band=band: power[:, :1] / (band + 1), **cut)
        np.testing.assert_array_equal(together[band], predict_array(scene, alone)[0])


def test_the_largest_presence_of_the_windows_is_told_and_is_no_band() -> None:
    """A window's presence is the last band of what its network gives, the same everywhere."""

    def network(power: torch.Tensor) -> torch.Tensor:
        present = power.nan_to_num(0).amax((1, 2, 3), keepdim=True).expand(-1, 1, 4, 4)
        return torch.cat([torch.full_like(present, 0.5), present], 1)

    scene = np.zeros((2, 4, 12), np.float32)
    scene[:, 1, 9], scene[:, :, :4] = 0.75, np.nan
    found: list[torch.Tensor] = []
    out = np.empty((1, 4, 12), np.uint8)

    def write(window: Window, values: np.ndarray) -> None:
        out[:, window.slices[0], window.slices[1]] = values

    stream = Stream(network, window=4, overlap=0, batch_size=2)
    predict_stream(
        lambda w: scene[:, w.slices[0], w.slices[1]], write, 12, 4, stream, presence=found.append
    )
    assert max(map(float, found)) == 0.75
    assert (out[0, :, :4] == 255).all() and (out[0, :, 4:] == 127).all()
