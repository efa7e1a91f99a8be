"""Scenes smaller than a window: what the network is given, and what jobs say of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from builtup.prediction.beyond import BEYOND, beyond, mirrored
from builtup.prediction.network import predict_array
from builtup.prediction.windows import Stream


def identity(power: Tensor) -> Tensor:
    return power[:, :1].nan_to_num(0)


def test_an_image_is_mirrored_as_often_as_need_be() -> None:
    image = torch.arange(6.0).reshape(1, 2, 3)
    expected = np.pad(image.numpy(), ((0, 0), (0, 7), (0, 6)), mode="symmetric")
    np.testing.assert_array_equal(mirrored(image, 9).numpy(), expected)
    square = torch.ones(1, 9, 9)
    assert mirrored(square, 9) is square


def test_only_maps_of_small_scenes_depend_on_it() -> None:
    """What was mapped before stays, but for these."""
    assert beyond((512, 512), 512) == {}
    assert beyond((2000, 511), 512) == BEYOND


def test_small_rasters_go_on_as_in_a_mirror() -> None:
    scene = np.arange(24, dtype=np.float32).reshape(1, 4, 6).repeat(2, 0) / 24

    def check(power: Tensor) -> Tensor:
        expected = np.pad(scene, ((0, 0), (0, 12), (0, 10)), mode="symmetric")
        np.testing.assert_array_equal(power[0].numpy(), expected)
        return identity(power)

    result = predict_array(scene, Stream(check, window=16, overlap=4))
    np.testing.assert_array_equal(result[0], np.round(254 * scene[0]))


@pytest.mark.parametrize(
    ("backend", "shape", "given"),
    [
        ("torch", (100, 70), 128),
        ("torch", (20, 256), 256),
        ("torch", (20, 30), 64),
        ("torch", (300, 300), 256),
        ("openvino", (100, 70), 256),
    ],
)
def test_pytorch_is_given_a_square_of_no_more_than_there_is(
    backend: str, shape: tuple[int, int], given: int
) -> None:
    def check(power: Tensor) -> Tensor:
        assert power.shape[2:] == (given, given)
        return identity(power)

    scene = np.full((2, *shape), 0.5, np.float32)
    result = predict_array(scene, Stream(check, window=256, overlap=32, backend=backend))
    assert (result == 127).all()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_network_that_looks_at_the_whole_sees_no_padding(backend: str) -> None:
    """EfficientFPN's context block took the mean of an image of 256² and of three times as much
    nothing: two such maps had .148 and .380 (Jaccard), in windows of 256 .338 and .414."""

    def mean(power: Tensor) -> Tensor:
        return power[:, :1].nan_to_num(0).mean((2, 3), keepdim=True).expand_as(power[:, :1])

    scene = np.random.default_rng(0).random((2, 64, 32)).astype(np.float32)
    found = predict_array(scene, Stream(mean, window=128, overlap=16, backend=backend))
    assert (found == round(254 * float(scene[0].mean()))).all()
