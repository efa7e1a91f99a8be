"""An 8-bit network is calibrated on training ground and judged on held-out ground, or refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import rasterio
import torch

from builtup.config import load as configs
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.prediction.backends import int8 as quantised
from builtup.prediction.backends.int8 import Quantisation, quantised_network, require_nncf
from builtup.prediction.infer import plan
from builtup.prediction.tiles import TileWork, predict_tiles
from builtup.runs.manifest import write_config
from builtup.sensors.classes import Classes
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.training.checkpoints import load_trained
from helpers import TRANSFORM, speckle, write_raster, write_scene
from tiny_model import map_scenes

SIZE, WINDOW = 60, 32
TRAINING = """
import torch
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

seed, num_classes, num_epochs = 0, 2, 1
data_path, val_fold = "{data}", "38SLF_Alpha"


def model():
    channels = Channels("db_3b", (-10.0,) * 3, (5.0,) * 3)
    return Segmenter(channels, torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1)
    ))
"""
INFERENCE = """
run_id, data_path, has_targets = "{run}", "{data}", True
window, overlap, batch_size, device = 32, 8, 3, "cpu"
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None,
    reason="OpenVINO or NNCF is not installed (the extra openvino)",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities, their tiles and folds, and a trained run that held one of them out."""
    root = tmp_path_factory.mktemp("project")
    for number, (city, tile) in enumerate((("Alpha", "38SLF"), ("Beta", "38RPV"))):
        write_city(root, city, tile, TRANSFORM.translation(200_000 * number, 0) @ TRANSFORM)
    tiles = root / "tiles"
    cut = {"tile_size": 40, "overlap": 8, "materialize": True, "num_workers": 1}
    for kind in ("images", "masks"):
        generate_tiles(input_path=root / kind, output_path=tiles / kind, **cut)
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds="city", blocks="2x2", gap=4, num_workers=1
    )
    (root / "train.py").write_text(TRAINING.format(data=tiles))
    (root / "validate_x.py").write_text(INFERENCE.format(run=root / "trained", data=tiles))
    write_run(root)
    return root


def write_city(root: Path, city: str, tile: str, transform: object) -> None:
    vh, vv = speckle((SIZE, SIZE), 0.02, len(city)), speckle((SIZE, SIZE), 0.1, len(city) + 9)
    vh[20:40, 20:50] *= 12
    vv[20:40, 20:50] *= 12
    power = np.stack([vh, vv, (vh + vv) / 2]).astype(np.float32)
    power[:, :10, :15] = np.nan
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:40, 20:50] = 1
    mask[:10, :15] = 255
    for kind, values in (("3b", power), ("mask", mask)):
        folder = root / ("images" if kind == "3b" else "masks") / f"{city}_2015"
        nodata = float("nan") if kind == "3b" else 255
        path = folder / f"s1a_{tile}_{kind}_ASC_20150101.tif"
        write_raster(path, values, transform, nodata=nodata)  # type: ignore[arg-type]


def write_run(root: Path) -> None:
    """A network that maps what is bright in the mean of 5 x 5 pixels."""
    config = configs.load(root / "train.py")
    write_config(config, root / "trained" / "config")
    model = config.build("model")
    first, last = model.network[0], model.network[2]
    with torch.no_grad():
        for values in (first.weight, first.bias, last.weight, last.bias):
            values.zero_()
        first.weight[:] = torch.linspace(0.2, 1, 8)[:, None, None, None] / 75
        first.bias[:] = 1.0
        last.weight[1] = 1.0
        last.bias[1] = -8.0
    (root / "trained" / "weights").mkdir(parents=True)
    torch.save(model.state_dict(), root / "trained" / "weights" / "best.pt")
    (root / "trained" / "summary.json").write_text(json.dumps({"threshold": 0.5}))


@pytest.fixture(scope="module")
def made(root: Path) -> Quantisation:
    trained = load_trained(root / "trained")
    return Quantisation.of(trained, window=WINDOW, overlap=8)


@pytest.fixture(autouse=True)
def cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    return root / "cache"


def test_an_8_bit_network_is_judged_once_and_then_predicts_the_same_buildings(
    root: Path, made: Quantisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quantised_network(made)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["fold"] == "38SLF_Alpha"
    assert verdict["f1_float32"] > 0.8
    assert verdict["f1"] == pytest.approx(verdict["f1_float32"], abs=0.005)
    assert "FakeQuantize" in (folder / "model.xml").read_text()
    monkeypatch.setattr(quantised, "quantise", None)  # what is known is not made again
    assert quantised_network(made) == folder

    config = configs.load(root / "validate_x.py")
    levels = {}
    for backend in ("torch", "openvino-int8"):
        config = configs.load(root / "validate_x.py", f"backend={backend}")
        prepared = plan(config)
        stream = prepared.loaded.stream
        assert prepared.record().backend == stream.backend == backend
        work = TileWork(prepared.selection, stream, 0.5, Classes.of("ab"), scored=True)
        levels[backend] = predict_tiles(work, work.selection.tiles, quiet=True).matrix
    apart = np.abs(levels["torch"] - levels["openvino-int8"]).sum() / levels["torch"].sum()
    assert 0 <= apart < 0.02


def test_the_channel_transform_and_the_softmax_stay_in_float32(made: Quantisation) -> None:
    from builtup.prediction.backends.int8 import kept_exact
    from builtup.prediction.backends.openvino import openvino_model
    from builtup.prediction.backends.probabilities import Probabilities

    network = openvino_model(Probabilities(made.trained.model).eval(), WINDOW)
    kept = set(kept_exact(network))
    kinds = {True: set(), False: set()}
    for o in network.get_ordered_ops():
        kinds[o.get_friendly_name() in kept].add(o.get_type_name())
    assert {"Log", "Sigmoid", "Select"} <= kinds[True]
    assert {"Convolution", "Relu"} <= kinds[False]
    assert not {"Log", "Sigmoid", "Select"} & kinds[False]


def test_a_loss_of_f1_is_refused_with_both_figures_and_remembered(
    made: Quantisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised_network(made)
    monkeypatch.setattr(quantised, "LARGEST_LOSS", -1.0)
    monkeypatch.setattr(quantised, "quantise", None)
    figure = r"0\.\d{4}"
    with pytest.raises(BuiltupError, match=f"is {figure} in 8 bits, {figure} in float32") as caught:
        quantised_network(made)
    assert "\n" not in str(caught.value)
    assert "use backend=openvino" in str(caught.value)


def test_what_cannot_be_judged_is_refused(made: Quantisation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="held out no fold"):
        quantised_network(replace(made, val_fold=None))
    with pytest.raises(InputError, match="calibration_path"):
        quantised_network(replace(made, data_path=tmp_path))


def test_nncf_silences_itself_and_nobody_else() -> None:
    ours = logging.StreamHandler()
    logging.getLogger().addHandler(ours)
    try:
        require_nncf()
    finally:
        logging.getLogger().removeHandler(ours)
    assert ours.level == logging.NOTSET
    assert logging.getLogger("nncf").level == logging.ERROR


def test_nncf_that_is_not_installed_is_one_clear_line(
    made: Quantisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match="NNCF is not installed; pip install"):
        quantised_network(made)


def test_a_folder_without_a_network_is_named(made: Quantisation, tmp_path: Path) -> None:
    from builtup.prediction.network import make_stream

    with pytest.raises(ConfigError, match="holds no network for window=32"):
        make_stream(
            made.trained.model,
            window=WINDOW,
            overlap=8,
            device="cpu",
            backend="openvino-int8",
            quantised=tmp_path,
        )


def test_a_run_goes_on_with_the_backend_that_auto_chose(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.prediction.backends import choose

    folder = root / "earlier"
    folder.mkdir()
    monkeypatch.setattr(choose, "_race", lambda *sides: ("openvino", "measured"))
    first = plan(configs.load(root / "validate_x.py", "backend=auto"))
    assert first.record().backend == "openvino"
    first.record().write(folder)
    monkeypatch.setattr(choose, "_fastest", lambda *sides: "torch")
    on = f"resume_from={folder}"
    assert plan(configs.load(root / "validate_x.py", f"backend=auto {on}")).previous == folder
    with pytest.raises(ConfigError, match="predicted with backend='openvino', not 'torch'"):
        plan(configs.load(root / "validate_x.py", f"backend=torch {on}"))


def test_predict_maps_the_same_buildings_in_8_bits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    monkeypatch.chdir(tmp_path)
    image = root / "images" / "Alpha_2015" / "s1a_38SLF_3b_ASC_20150101.tif"
    with rasterio.open(image) as dataset:
        vh, vv = dataset.read([1, 2])
    write_scene(tmp_path / "scenes", "Alpha_2015", "38SLF", "20150101", vv=vv, vh=vh)
    masks = []
    for backend in ("torch", "openvino-int8"):
        map_scenes(
            model=str(root / "trained"),
            input_path=str(tmp_path / "scenes"),
            output_path=str(tmp_path / backend),
            window=WINDOW,
            overlap=8,
            device="cpu",
            backend=backend,
            num_workers=1,
        )
        record = json.loads((tmp_path / backend / "inference.json").read_text())
        assert record["backend"] == backend
        with rasterio.open(tmp_path / backend / "raw" / "38SLF_Alpha.tif") as dataset:
            masks.append(dataset.read(1))
    assert 0 < (masks[0] == 1).mean() < 1
    assert (masks[0] != masks[1]).mean() < 0.01
