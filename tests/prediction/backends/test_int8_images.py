"""An 8-bit network of images: calibrated on tiles of a camera, judged on the site held out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from aerial_data import add_site, measured
from builtup.config import load as configs
from builtup.prediction.backends.int8 import Quantisation, quantised_network
from builtup.runs.manifest import write_config
from builtup.runs.results import read_tags
from builtup.training.checkpoints import load_trained
from tiny_model import map_scenes, use_store

NAMES = ("ground", "building", "tree")
TRAINING = """
from torch import nn
from builtup.models.channels import Channels
from builtup.models.heads import SampleHeads
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 3, 1
class_names = ("ground", "building", "tree")
data_path, val_fold = "{data}", "beta"


class WithPresence(nn.Sequential):
    def forward(self, x):
        first, relu, last, of_sample = self
        features = relu(first(x))
        return dict(classes=last(features), **of_sample(features))


def model():
    channels = Channels("rgb", (120.0,) * 3, (60.0,) * 3)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1)]
    return Segmenter(channels, WithPresence(*layers, SampleHeads(8, ["presence"])))
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None,
    reason="OpenVINO or NNCF is not installed (the extra openvino)",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sites without a CRS, tiled and measured, and a network that tells colours apart."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    use_store(tmp_path, monkeypatch)
    for number, site in enumerate(("alpha", "beta", "gamma")):
        add_site(tmp_path, site, seed=number, height=False)
    measured(tmp_path)
    (tmp_path / "train.py").write_text(TRAINING.format(data=tmp_path / "tiles"))
    config = configs.load(tmp_path / "train.py")
    write_config(config, tmp_path / "trained" / "config")
    model = config.build("model")
    first, last = model.network[0], model.network[2]
    with torch.no_grad():
        for values in (first.weight, first.bias, last.weight, last.bias):
            values.zero_()
        for channel in range(3):  # means of 3 x 3 pixels of each colour, and of its negative
            first.weight[channel, channel] = 1 / 9
            first.weight[channel + 3, channel] = -1 / 9
        red, green, blue = (torch.eye(8)[c] - torch.eye(8)[c + 3] for c in range(3))
        last.weight[1, :, 0, 0] = 4 * red - 2 * green - 2 * blue
        last.weight[2, :, 0, 0] = 4 * green - 2 * red - 2 * blue
        last.bias[0] = 2.5
        presence = model.network[3].further["presence"]
        presence.weight[:] = 2 * (torch.eye(8)[0] + torch.eye(8)[4])  # bright red, little green
        presence.bias.zero_()
    (tmp_path / "trained" / "weights").mkdir()
    torch.save(model.state_dict(), tmp_path / "trained" / "weights" / "best.pt")
    (tmp_path / "trained" / "summary.json").write_text(
        json.dumps({"threshold": 0.5, "metres": 0.25})
    )
    return tmp_path


def test_images_of_three_classes_and_their_presence_are_in_8_bits_as_in_32(root: Path) -> None:
    folder = quantised_network(
        Quantisation.of(load_trained(root / "trained"), window=32, overlap=8)
    )
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["f1"] == pytest.approx(verdict["f1_float32"], abs=0.02) and verdict["f1"] > 0.5
    maps, presence = [], []
    for backend in ("torch", "openvino", "openvino-int8"):
        map_scenes(
            model=str(root / "trained"), input_path=str(root / "images" / "beta"),
            output_path=str(root / backend), backend=backend, window=32, overlap=8, device="cpu",
            num_workers=1, adapt="none",
        )  # fmt: skip
        (path,) = (root / backend / "raw").glob("beta_scene.tif")
        with rasterio.open(path) as found:
            maps.append(found.read(1))
            presence.append(read_tags(found).presence)
    exact, by_openvino, in_8_bits = presence
    assert 0.5 < exact < 0.99 and by_openvino == pytest.approx(exact, abs=1e-3)
    assert in_8_bits == pytest.approx(exact, abs=0.05)
    assert np.array_equal(maps[0], maps[1])
    assert (maps[0] == 255).any() and set(np.unique(maps[0])) >= {0, 1, 2}
    assert (maps[0] == maps[2]).mean() > 0.98
