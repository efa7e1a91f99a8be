"""A batch that does not fit is halved, said so, and gives what it would have given."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from builtup.errors import BuiltupError
from builtup.prediction.memory import Halving, halving, within_memory
from builtup.prediction.network import predict_array
from builtup.prediction.windows import Stream


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
    np.testing.assert_array_equal(predict_array(scene, halving(Stream(Small(1), **cut))), plain)
