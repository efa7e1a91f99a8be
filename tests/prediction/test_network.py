"""A model as a stream: classes to bands, settings that make sense, batches that fit."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError
from builtup.prediction.network import Halving, make_stream, predict_array, within_memory
from builtup.prediction.windows import Stream
from builtup.sensors.classes import Classes


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


def test_of_two_classes_the_mapped_one_is_the_band() -> None:
    scene = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    cut = {"window": 8, "overlap": 0, "device": "cpu"}
    second = make_stream(Pixelwise(), classes=Classes.of(("other", "building")), **cut)
    first = make_stream(Pixelwise(), classes=Classes.of(("building", "other")), **cut)
    both = predict_array(scene, first)[0].astype(int) + predict_array(scene, second)[0]
    assert np.abs(both - 254).max() <= 1


@pytest.mark.parametrize("shape", [(100, 40), (40, 100), (9, 200)])
def test_scenes_smaller_than_a_window_may_be_oblong_and_turned(shape: tuple[int, int]) -> None:
    scene = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    scene[:, :5, :7] = np.nan
    plain, turned = (
        predict_array(scene, make_stream(Pixelwise(), window=256, device="cpu", tta=tta))
        for tta in ("none", "d4")
    )
    assert np.abs(plain.astype(int) - turned).max() <= 1
    assert ((plain[0] == 255) == np.isnan(scene[0])).all()


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
