"""PyTorch's compiler gives PyTorch's probabilities, or is refused; on a GPU `auto` races it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends import choose
from builtup.prediction.backends.choose import Task, choose_backend
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.backends.torch_compile import ByTorch, compiled_by_torch
from builtup.prediction.network import make_stream, predict_array
from helpers import speckle

Network = Callable[[Tensor], Tensor]


def small() -> Segmenter:
    torch.manual_seed(0)
    channels = Channels("db_3b", (-15.0,) * 3, (5.0,) * 3)
    return Segmenter(channels, nn.Conv2d(3, 2, 3, padding=1)).eval()


def compiling(monkeypatch: pytest.MonkeyPatch, compiler: Callable[[Network], Network]) -> None:
    monkeypatch.setattr(torch, "compile", compiler)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs a C++ compiler")
def test_a_scene_with_rows_of_all_lengths_is_the_same_within_one_unit() -> None:
    power = np.stack([speckle((70, 90), 0.02, 1), speckle((70, 90), 0.1, 2)])
    power[:, :30, 20:] = np.nan  # the first row of windows has one that is predicted
    power[0, 40] = np.nan
    cut = {"window": 32, "overlap": 8, "batch_size": 3, "device": "cpu"}
    made = make_stream(small(), backend="torch-compile", **cut)  # type: ignore[arg-type]
    assert made.backend == "torch-compile"
    plain = make_stream(small(), **cut)  # type: ignore[arg-type]
    found, wanted = predict_array(power, made), predict_array(power, plain)
    np.testing.assert_array_equal(found == 255, wanted == 255)
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_what_does_not_agree_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    compiling(monkeypatch, lambda network: lambda power: network(power) * 0.9 + 0.01)
    with pytest.raises(BuiltupError, match=r"torch-compile: probabilities differ .* by 0\.\d+"):
        make_stream(small(), backend="torch-compile", window=32, overlap=8, device="cpu")


@pytest.mark.parametrize(("further", "refused"), [(1.5, False), (3.0, True)])
def test_half_precision_may_cost_twice_what_it_costs_anyway(
    monkeypatch: pytest.MonkeyPatch, further: float, refused: bool
) -> None:
    """Here 1 in 100; a network that does not see whether it runs in half precision stands in."""

    def network(power: Tensor) -> Tensor:
        half = torch.is_autocast_enabled("cpu")
        return torch.full_like(power[:, :1], 0.51 if half else 0.5)

    compiling(monkeypatch, lambda given: lambda power: 0.5 + further * (given(power) - 0.5))
    plain = ByTorch(network, torch.device("cpu"), half=True)
    if not refused:
        compiled_by_torch(plain, 32, 2)
        return
    with pytest.raises(BuiltupError, match=r"by 0\.03 \(at most 0\.02\)"):
        compiled_by_torch(plain, 32, 2)


def test_what_cannot_be_compiled_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(network: Network) -> Network:
        def call(power: Tensor) -> Tensor:
            raise RuntimeError("no\ncompiler")

        return call

    compiling(monkeypatch, failing)
    with pytest.raises(ConfigError, match=r"cannot be compiled here \(no compiler\)"):
        make_stream(small(), backend="torch-compile", window=32, overlap=8, device="cpu")


def test_a_batch_that_does_not_fit_is_not_called_a_compiler_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(network: Network) -> Network:
        def call(power: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    compiling(monkeypatch, full)
    with pytest.raises(torch.OutOfMemoryError):
        make_stream(small(), backend="torch-compile", window=32, overlap=8, device="cpu")


def test_on_a_gpu_auto_races_the_compiler_and_remembers_by_device_and_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a fast one")
    monkeypatch.setattr(choose, "_runner", lambda backend, task: lambda power: power)
    raced = []

    def race(task: Task, name: str, run: Network) -> tuple[str, str]:
        raced.append(task.batch_size)
        return name, "measured"

    monkeypatch.setattr(choose, "_race", race)
    network = Probabilities(small())

    def task(batch_size: int) -> Task:
        return Task(network, 32, batch_size, torch.device("cuda"), half=True)

    with caplog.at_level(logging.INFO):
        assert [choose_backend("auto", task(n))[0] for n in (4, 4, 8)] == ["torch-compile"] * 3
    assert raced == [4, 8]
    assert "backend=auto: torch-compile (measured)" in caplog.text


def test_auto_is_torch_where_the_compiler_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a fast one")

    def refuse(plain: ByTorch, window: int, batch_size: int) -> ByTorch:
        raise ConfigError("cannot be compiled here")

    monkeypatch.setattr(choose, "compiled_by_torch", refuse)
    task = Task(Probabilities(small()), 32, 4, torch.device("cuda"))
    assert choose_backend("auto", task)[0] == "torch"


def test_the_race_takes_the_faster() -> None:
    task = Task(Probabilities(small()), 64, 2, torch.device("cpu"))

    def slow(power: Tensor) -> Tensor:
        for _ in range(7):
            task.by_torch(power)
        return task.by_torch(power)

    winner, why = choose._race(task, "other", slow)
    assert winner == "torch"
    assert "times as fast as other on one window" in why
