"""`auto` takes what is there, agrees and is fastest, and remembers it."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import Tensor

from builtup.errors import ConfigError
from builtup.prediction.backends import choose
from builtup.prediction.backends.choose import Task
from builtup.prediction.backends.probabilities import Probabilities
from small_networks import segmenter, stream


def test_openvino_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match="pip install") as caught:
        stream(segmenter(), "openvino")
    assert "\n" not in str(caught.value)


def test_auto_without_openvino_is_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.INFO):
        made = stream(segmenter(), "auto")
    assert made.backend == "torch"
    assert "OpenVINO is not installed" in caplog.text


@pytest.mark.parametrize("slow", ["torch", "openvino"])
def test_auto_takes_the_faster_and_remembers(
    openvino: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slow: str
) -> None:
    model = segmenter()

    def race(task: object, name: str, run: object) -> tuple[str, str]:
        best = {"torch": 1.0, "openvino": 1.0} | {slow: 2.0}
        return min(best, key=lambda name: best[name]), "measured"

    monkeypatch.setattr(choose, "_race", race)
    fast = {"torch": "openvino", "openvino": "torch"}[slow]
    assert stream(model, "auto").backend == fast
    monkeypatch.setattr(choose, "_race", None)
    with caplog.at_level(logging.INFO):
        assert stream(model, "auto").backend == fast
    assert f"backend=auto: {fast} (measured)" in caplog.text


def test_auto_races_both_sides_on_this_machine(openvino: None) -> None:
    assert stream(segmenter(), "auto").backend in {"torch", "openvino"}


def test_the_race_takes_the_faster() -> None:
    task = Task(Probabilities(segmenter()), 64, torch.device("cpu"))

    def slow(power: Tensor) -> Tensor:
        for _ in range(7):
            task.by_torch(power)
        return task.by_torch(power)

    winner, why = choose._race(task, "other", slow)
    assert winner == "torch"
    assert "times as fast as other on one window" in why


def test_on_another_device_auto_is_torch(caplog: pytest.LogCaptureFixture) -> None:
    task = Task(Probabilities(segmenter()), 64, torch.device("cuda"), half=True)
    with caplog.at_level(logging.INFO):
        assert choose.choose_backend("auto", task)[0] == "torch"
    assert "backend=auto: torch (the device is cuda)" in caplog.text


@pytest.mark.parametrize(
    ("backend", "device", "message"),
    [
        ("abacus", "cpu", "use torch, openvino, openvino-int8, auto"),
        ("torch-compile", "cpu", "'torch-compile': unknown; use torch, openvino"),
        ("openvino", "meta", "set device=cpu"),
        ("openvino-int8", "cpu", "no 8-bit network is given"),
    ],
)
def test_backends_without_sense_are_named(
    openvino: None, backend: str, device: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(segmenter(), backend, device=device)
