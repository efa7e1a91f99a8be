"""Windowed prediction is exact: constants, the identity, no-data, small rasters, any batch."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window, blend_weights, tiling
from builtup.prediction.network import Halving, make_stream, predict_array, within_memory
from builtup.prediction.windows import Stream, predict_stream
from builtup.sensors.classes import Classes

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


@given(cases(), st.sampled_from(["ramp", "mean"]))
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
        ramp = max(1, cut["overlap"]) if blend == "ramp" else 1
        weight = np.outer(blend_weights(w.height, ramp), blend_weights(w.width, ramp))
        total[w.slices] += weight * scene[0][w.slices] * place[: w.height, : w.width]
        weights[w.slices] += weight
    return 254 * total / weights


def test_windows_without_data_never_reach_the_network() -> None:
    scene = np.full((2, 40, 40), np.nan, np.float32)
    scene[:, 30:, 30:] = 0.5
    seen = []

    def record(power: Tensor) -> Tensor:
        seen.append(power)
        return identity(power)

    predict_array(scene, Stream(record, window=10, overlap=0, batch_size=3))
    assert [len(batch) for batch in seen] == [1]


def test_small_rasters_are_padded_with_no_data_to_the_window() -> None:
    def check(power: Tensor) -> Tensor:
        assert power.shape[2:] == (16, 16)
        assert power[:, :, 5:].isnan().all()
        assert power[:, :, :, 7:].isnan().all()
        return identity(power)

    result = predict_array(np.full((2, 5, 7), 0.5, np.float32), Stream(check, window=16, overlap=4))
    assert (result == 127).all()


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


class Pixelwise(nn.Module):
    """Logits from the power of each pixel, on normalised input."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, classes, 1)

    def forward(self, power: Tensor) -> Tensor:
        return self.conv(power.nan_to_num(0))


def test_more_than_two_classes_give_a_band_each_that_sum_to_one() -> None:
    stream = make_stream(Pixelwise(3), window=8, overlap=2, classes=Classes.of("abc"), device="cpu")
    result = predict_array(np.random.default_rng(0).random((2, 20, 9), dtype=np.float32), stream)
    assert result.shape == (3, 20, 9)
    assert np.abs(result.astype(int).sum(axis=0) - 254).max() <= 1


def test_two_classes_are_the_softmax() -> None:
    model = Pixelwise()
    scene = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    stream = make_stream(model, window=8, overlap=0, device="cpu")
    with torch.no_grad():
        expected = model(torch.from_numpy(scene)[None]).softmax(1)[0, 1].mul(254).round().numpy()
    np.testing.assert_array_equal(predict_array(scene, stream)[0], expected)


@pytest.mark.parametrize(
    "setting",
    [
        {"overlap": 512},
        {"window": 0},
        {"batch_size": 0},
        {"tta": "spin"},
        {"device": "quantum"},
        {"blend": "max"},
    ],
)
def test_settings_without_sense_are_named(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        make_stream(Pixelwise(), **setting)  # type: ignore[arg-type]


# --- memory of the device -----------------------------------------------------------------------


class Small:
    """A device that holds so many windows at once."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.tried: list[int] = []

    def __call__(self, power: Tensor) -> Tensor:
        self.tried.append(len(power))
        if len(power) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return power[:, :1].clone()


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 8])
def test_batches_are_halved_until_they_fit(fits: int, caplog: pytest.LogCaptureFixture) -> None:
    power = torch.rand(8, 2, 4, 4)
    device = Small(fits)
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(Halving(device)(power), power[:, :1])
    assert ("out of memory" in caplog.text) == (fits < 8)


def test_it_is_learnt_once() -> None:
    device = Small(2)
    whole = Halving(device)
    for _ in range(3):
        whole(torch.rand(4, 2, 4, 4))
    assert device.tried == [4, 2, 2, 2, 2, 2, 2]


def test_one_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BuiltupError, match="one window of 4 x 4 does not fit; use a smaller"):
        Halving(Small(0))(torch.rand(4, 2, 4, 4))


def test_other_errors_pass() -> None:
    def broken(power: Tensor) -> Tensor:
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        Halving(broken)(torch.rand(4, 2, 4, 4))


def test_memory_that_lacks_beside_the_network_is_one_line() -> None:
    def copied() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB")

    with pytest.raises(
        BuiltupError, match=r"^x: out of memory .* 9 GiB\); use a smaller window"
    ) as e:
        within_memory("x", copied)
    assert e.value.__context__ is None  # whose frames would hold on to what is there
    assert within_memory("x", lambda: 3) == 3


def test_a_stream_predicts_the_same() -> None:
    scene = np.random.default_rng(0).random((2, 40, 50), dtype=np.float32)
    cut = {"window": 16, "overlap": 4, "batch_size": 4}
    plain = predict_array(scene, Stream(Small(4), **cut))
    np.testing.assert_array_equal(predict_array(scene, Stream(Halving(Small(1)), **cut)), plain)
