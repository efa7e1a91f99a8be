"""OpenVINO gives PyTorch's probabilities, from a network that is converted once, or is refused."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, ConfigError
from builtup.models.channels import Channels, channel_sets
from builtup.models.norms import with_norm
from builtup.models.radar_channels import RADAR_FORMULAS
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends import openvino as backend
from builtup.prediction.backends.openvino import Compiled, convert, network_digest
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.network import predict_array
from builtup.sensors.classes import Classes
from helpers import ROOT, speckle
from small_networks import WINDOW, scene, segmenter, stream


class AllChannels(nn.Module):
    """Logits of every channel set, one network for them all: each conversion takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList()
        for name, bands in ((name, len(channel_sets()[name])) for name in RADAR_FORMULAS):
            channels = Channels(name, (0.1,) * bands, (5.0 if "db" in name else 0.5,) * bands)
            self.parts.append(Segmenter(channels, nn.Conv2d(len(channels.names), 1, 3, padding=1)))

    def forward(self, power: Tensor) -> Tensor:
        return torch.cat([part(power) for part in self.parts], dim=1)


def test_openvino_gives_the_probabilities_of_torch_for_every_channel_set(
    openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "Segmenter", AllChannels)  # the only kind that is taken
    model = AllChannels().eval()
    power = torch.from_numpy(scene(WINDOW * 2, WINDOW * 2)).unfold(1, WINDOW, WINDOW)
    # a view that is not contiguous: its copy was once freed before it was read
    power = power.unfold(2, WINDOW, WINDOW).reshape(2, 4, WINDOW, WINDOW).transpose(0, 1)
    with torch.inference_mode():
        wanted = stream(model, "torch", classes=Classes.of("abcdefgh")).probabilities(power)
        found = stream(model, "openvino", classes=Classes.of("abcdefgh")).probabilities(power)
    assert wanted.shape[1] == len(RADAR_FORMULAS)
    assert (wanted.std(dim=(0, 2, 3)) > 1e-3).all()
    assert (found - wanted).abs().max() < 2e-5


def test_a_group_normalised_network_is_mapped_alike(openvino: None) -> None:
    model = segmenter()
    with_norm(model.network, "group")
    power = scene()
    maps = [predict_array(power, stream(model, kind)) for kind in ("torch", "openvino")]
    assert len(np.unique(maps[0])) > 20
    assert np.abs(maps[0].astype(int) - maps[1]).max() <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 3, "tta": "rotations"},
        {"classes": Classes.of("abc"), "temperatures": (1.0, 2.5)},
    ],
    ids=str,
)
def test_a_scene_is_the_same_within_one_unit(openvino: None, settings: dict) -> None:
    settings = dict(settings)
    model = segmenter(classes=len(settings.get("classes", "ab")))
    wanted = predict_array(scene(), stream(model, "torch", **settings))
    found = predict_array(scene(), stream(model, "openvino", **settings))
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found == 255, wanted == 255)
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_network_is_converted_once(
    openvino: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predict_array(scene(), stream(segmenter(), "openvino"))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(backend, "convert", None)
    np.testing.assert_array_equal(predict_array(scene(), stream(segmenter(), "openvino")), first)


def test_a_broken_file_of_the_cache_is_made_again(openvino: None, cache: Path) -> None:
    first = predict_array(scene(), stream(segmenter(), "openvino"))
    (file,) = cache.rglob("model.xml")
    file.write_text("<net")
    np.testing.assert_array_equal(predict_array(scene(), stream(segmenter(), "openvino")), first)
    assert file.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_is_only_a_warning(
    openvino: None, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder should be")
    predict_array(scene(), stream(segmenter(), "openvino"))
    assert "not kept for the next time" in caplog.text


def test_the_digest_knows_weights_modules_window_and_temperature() -> None:
    plain = network_digest(Probabilities(segmenter()), WINDOW)
    assert plain == network_digest(Probabilities(segmenter()), WINDOW)
    other = segmenter()
    with torch.no_grad():
        other.network.get_parameter(next(n for n, _ in other.network.named_parameters())).add_(1)
    widened = segmenter(widths=(8, 8))
    assert (
        len(
            {
                plain,
                network_digest(Probabilities(segmenter()), 64),
                network_digest(Probabilities(segmenter(), (2.0,)), WINDOW),
                network_digest(Probabilities(other), WINDOW),
                network_digest(Probabilities(widened), WINDOW),
            }
        )
        == 5
    )


def test_windows_side_by_side_keep_their_order(openvino: None) -> None:
    network = Probabilities(segmenter()).eval()
    parallel = Compiled(convert(network, WINDOW), threads=8)
    assert parallel.streams == 2
    power = torch.from_numpy(speckle((7 * 2 * WINDOW, WINDOW))).reshape(7, 2, WINDOW, WINDOW)
    with torch.inference_mode():
        assert (parallel(power) - network(power)).abs().max() < 2e-5


def test_a_network_that_does_not_agree_is_refused_and_auto_takes_torch(
    openvino: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = backend.Compiled.__call__
    monkeypatch.setattr(
        backend.Compiled, "__call__", lambda self, power: call(self, power) * 0.9 + 0.01
    )
    with pytest.raises(BuiltupError, match=r"differ from PyTorch's by 0\.0"):
        stream(segmenter(), "openvino")
    with caplog.at_level(logging.INFO):
        assert stream(segmenter(), "auto").backend == "torch"
    assert "differ from PyTorch's" in caplog.text


class Pixelwise(nn.Module):
    def forward(self, power: Tensor) -> Tensor:
        return power


class Stubborn(nn.Module):
    """Asks for values while it computes, which no exporter can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] if float(x.sum()) > 0 else x[:, 1:3]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Pixelwise(), "Pixelwise is no Segmenter"),
        (Segmenter(Channels("db_3b"), Stubborn()), "Stubborn cannot be converted"),
    ],
)
def test_what_cannot_be_converted_is_named(openvino: None, model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(model, "openvino")
    assert stream(model, "auto").backend == "torch"


def test_nothing_is_reported_over_the_network(openvino: None) -> None:
    """OpenVINO and NNCF tell their makers of each conversion, unless openvino_telemetry is out."""
    code = """
import sys
from builtup.prediction.backends.openvino import require_openvino
require_openvino()
assert sys.modules["openvino_telemetry"] is None
from openvino.tools.ovc.telemetry_utils import tm
assert tm.__name__ == "openvino.tools.ovc.telemetry_stub", tm
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, cwd=ROOT / "code")


def test_without_our_hook_it_would_be(openvino: None) -> None:
    """Where this fails, OpenVINO asks no more: the hook in `require_openvino` can go."""
    code = """
from openvino.tools.ovc.telemetry_utils import tm
assert tm.__name__ == "openvino_telemetry", tm
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, cwd=ROOT / "code")


TWO_NETWORKS = """
import faulthandler, signal, subprocess, torch
from torch import nn
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.prediction.backends.openvino import Compiled, convert
from builtup.prediction.backends.probabilities import Probabilities

faulthandler.enable()
signal.signal(signal.SIGCHLD, lambda *_: None)
model = Segmenter(Channels("db_3b", (0.1,) * 3, (5.0,) * 3), nn.Conv2d(3, 2, 3, padding=1))
network = convert(Probabilities(model.eval()).eval(), 32)
first, second = Compiled(network), Compiled(network)
for one in (first, second):
    one(torch.ones(1, 2, 32, 32))
del first, second, one
subprocess.run(["true"], check=True)
print("alive")
"""


def test_signals_are_heard_when_two_networks_are_gone(openvino: None) -> None:
    # on a CPU with AMX a segmentation fault, where each had a core of its own
    done = subprocess.run(
        [sys.executable, "-c", TWO_NETWORKS], cwd=ROOT / "code", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-500:]


def test_whoever_asks_for_a_core_meanwhile_gets_the_one(openvino: None) -> None:
    import openvino as ov

    kind = ov.Core
    with backend.one_core() as core:
        assert ov.Core() is core
    assert ov.Core is kind
    with backend.one_core() as again:
        assert again is core
