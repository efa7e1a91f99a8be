"""Inference configs by whole scenes: the pixels of the scene, scored by tiles, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from builtup.config import load as configs
from builtup.config.launch import run_script
from builtup.data.pixels import PixelSizes
from builtup.errors import ConfigError
from builtup.geo.probability import NODATA
from builtup.geo.windows import Window
from builtup.maps.submission import to_submission
from builtup.prediction.whole_scenes import _HeldOut, require_whole_scenes
from builtup.prediction.zoom import Zoom
from builtup.runs.results import read_tags
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.tile import open_tile_grid, read_tiles
from helpers import ROOT, TRANSFORM, speckle, write_raster
from tiny_model import use_store

SCRIPT = ROOT / "code" / "scripts" / "inference.py"
SIZE = 70
DATES = ("20150101", "20150113")
TRAINING = """
import torch
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 2, 1
data_path, val_fold = "{data}", "38SLF_Alpha"


def model():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 2, 3, padding=1)
    return Segmenter(Channels("linear_3b", (0.1,) * 3, (0.1,) * 3), network)
"""
INFERENCE = """
run_id, data_path, has_targets = "{run}", "{data}", {targets}
window, overlap, batch_size = 16, 4, 3
save_overlays, device, by = 1, "cpu", "scenes"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities of two dates, tiles that point into their scenes, a network, the configs."""
    from builtup.runs.manifest import write_config

    root = tmp_path_factory.mktemp("scenes")
    for number, (city, tile) in enumerate((("Alpha", "38SLF"), ("Beta", "38RPV"))):
        shift = TRANSFORM.translation(200_000 * number, 0) @ TRANSFORM
        for date in DATES:
            vh, vv = speckle((SIZE, SIZE), 0.1, int(date)), speckle((SIZE, SIZE), 0.2, 3)
            vh[20:40, 20:50] += 0.5
            power = np.stack([vh, vv, (vh + vv) / 2])
            power[:, :10, :15] = np.nan
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[20:40, 20:50] = 1
            mask[:10, :15] = 255
            for kind, values, nodata in (("3b", power, np.nan), ("mask", mask, 255)):
                folder = root / ("images" if kind == "3b" else "masks") / f"{city}_2015"
                path = folder / f"s1a_{tile}_{kind}_ASC_{date}.tif"
                array = values.astype(np.float32) if kind == "3b" else values
                write_raster(path, array, shift, nodata=nodata)  # type: ignore[arg-type]
    for kind in ("images", "masks"):
        for name, materialize in (("tiles", False), ("cut", True)):
            generate_tiles(
                input_path=root / kind, output_path=root / name / kind, tile_size=32, overlap=8,
                materialize=materialize, num_workers=1,
            )  # fmt: skip
    tiles = root / "tiles"
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds="city", blocks="2x2", gap=4, num_workers=1
    )
    (root / "train.py").write_text(TRAINING.format(data=tiles))
    config = configs.load(root / "train.py")
    write_config(config, root / "trained" / "config")
    (root / "trained" / "weights").mkdir(parents=True)
    model = config.build("model")
    torch.save(model.state_dict(), root / "trained" / "weights" / "best.pt")
    (root / "trained" / "summary.json").write_text(json.dumps({"threshold": 0.5}))
    for name, data, targets in (
        ("test_x", tiles / "images", False),
        ("validate_x", tiles, True),
        ("test_cut", root / "cut" / "images", False),
    ):
        text = INFERENCE.format(run=root / "trained", data=data, targets=targets)
        (root / f"{name}.py").write_text(text)
    return root


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def infer(root: Path, name: str, overrides: str = "") -> mlflow.entities.Run:
    run_script(SCRIPT, root / f"{name}.py", 1, overrides)
    experiment = mlflow.get_experiment_by_name("Inferences")
    return mlflow.MlflowClient().search_runs([experiment.experiment_id], max_results=1)[0]


def raw_of(run: mlflow.entities.Run) -> Path:
    return Path(run.info.artifact_uri) / "raw"


def scene_of(run: mlflow.entities.Run, date: str = DATES[0]) -> NDArray[np.uint8]:
    with rasterio.open(raw_of(run) / f"s1a_38SLF_prob_ASC_{date}.tif") as dataset:
        values: NDArray[np.uint8] = dataset.read(1)
        return values


def test_scenes_are_predicted_whole_and_become_maps_without_merging(root: Path) -> None:
    run = infer(root, "test_x", "fold=vote")
    names = sorted(path.name for path in raw_of(run).glob("*.tif"))
    assert names == [
        f"s1a_{tile}_prob_ASC_{date}.tif" for tile in ("38RPV", "38SLF") for date in DATES
    ]
    tags = read_tags(raw_of(run) / names[0])
    assert (tags.run_id, tags.width, tags.city) == (run.info.run_id, SIZE, "38RPV_Beta")
    levels = sorted(p.parent.name for p in raw_of(run).parent.glob("levels/*/s1a_38SLF*0101.tif"))
    assert levels == ["0.125", "0.25", "0.5", "1"]
    to_submission(run_id=run.info.run_id, num_workers=1)
    assert (raw_of(run) / "38SLF_Alpha.shp").exists()
    assert len(list((raw_of(run).parent / "overlays").iterdir())) == 1


def test_without_alpha_scenes_are_those_of_one_scale(root: Path) -> None:
    one, several = infer(root, "test_x"), infer(root, "test_x", "fold=soft alpha=0")
    np.testing.assert_array_equal(scene_of(one), scene_of(several))
    assert (scene_of(one) == NODATA).sum() == 150


def test_what_is_scored_are_the_pixels_of_the_scenes_each_once(root: Path) -> None:
    run = infer(root, "validate_x", "fold=soft")
    assert not list(raw_of(run).glob("s1a_38RPV*"))
    hit = predicted = true = 0
    for date in DATES:
        values = scene_of(run, date)
        mask = np.zeros((SIZE, SIZE), bool)
        mask[20:40, 20:50] = True
        built = (values >= 127) & (values != NODATA)
        hit, true = hit + int((built & mask).sum()), true + int(mask.sum())
        predicted += int(built.sum())
    assert run.data.metrics["val/f1"] == pytest.approx(2 * hit / (predicted + true), abs=1e-12)


def test_a_resumed_run_predicts_what_is_missing(root: Path) -> None:
    before = infer(root, "test_x", "fold=mean scales=0.5,1")
    path = raw_of(before) / f"s1a_38SLF_prob_ASC_{DATES[1]}.tif"
    path.unlink()
    after = infer(root, "test_x", f"fold=mean scales=0.5,1 resume_from={before.info.run_id}")
    assert after.data.metrics["tiles_predicted"] == 9 and after.data.metrics["tiles"] == 36
    np.testing.assert_array_equal(scene_of(before), scene_of(after))
    for raster in raw_of(after).glob("*.tif"):
        assert read_tags(raster).run_id == after.info.run_id


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("test_cut", "fold=vote", r"lists files of tiles, and by='scenes' .* materialize=false"),
        ("test_x", "by=tiles fold=vote", r"fold=vote: several scales need whole scenes.*by='sce"),
        ("test_x", "by=cities", "by=cities: unknown; use tiles or scenes"),
        ("test_x", "save_raw_predictions=False", "by='scenes' writes what it scores"),
    ],
)
def test_a_config_that_cannot_work_starts_no_run(
    root: Path, name: str, overrides: str, message: str
) -> None:
    before = len(mlflow.search_runs(experiment_names=["Inferences"]))
    with pytest.raises(ConfigError, match=message):
        run_script(SCRIPT, root / f"{name}.py", 1, overrides)
    assert len(mlflow.search_runs(experiment_names=["Inferences"])) == before


def test_scenes_of_other_pixels_than_those_of_training_are_refused(root: Path) -> None:
    tiles = read_tiles(root / "tiles" / "images" / "tiles.csv")  # of 10 m
    require_whole_scenes(root, tiles, PixelSizes(tiles, 12.0))
    with pytest.raises(ConfigError, match=r"learnt from pixels of 20 m, and .* by='tiles'"):
        require_whole_scenes(root, tiles, PixelSizes(tiles, 20.0))


def test_ground_that_is_held_out_is_the_same_at_every_scale(root: Path) -> None:
    grid = open_tile_grid(read_tiles(root / "cut" / "images" / "tiles.csv")[0])
    held = _HeldOut(grid, Window(0, 16, 8, 16))
    whole = held.on(grid).holds(Window(0, 0, 32, 32))
    assert whole.sum() == 8 * 16 and whole[:8, 16:].all()
    half = held.on(Zoom(grid, 0.5).grid)
    assert half.holds(Window(0, 8, 8, 8)).sum() == 4 * 8
    assert half.meets(Window(0, 8, 1, 1)) and not half.meets(Window(0, 0, 8, 8))
