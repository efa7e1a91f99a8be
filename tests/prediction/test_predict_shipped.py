"""Maps of the model that comes with builtup: no step needs a training run."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import rasterio

from builtup.config.launch import run_script
from builtup.errors import ConfigError, InputError
from builtup.jobs.steps import Summary
from builtup.maps.cities import all_agg_by_city
from builtup.maps.ensemble import ensemble
from builtup.maps.submission import to_submission
from builtup.maps.validate import validate
from builtup.prediction.recipe import SIMULATED_ONLY, load
from builtup.report.lineage import trace
from builtup.report.write import report
from builtup.runs import tracking
from builtup.runs.records import InferenceRecord
from builtup.sensors.radar.merge import generate_3b_images
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.training.checkpoints import load_trained
from helpers import ROOT
from tiny_model import map_scenes, use_store

NAME = "shipped:radar_simulated"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated city, of no seed that the model was trained on, and its map by `predict`."""
    root = tmp_path_factory.mktemp("shipped")
    simulate(output_path=root, cities=0, test_cities=1, dates=1, size=256, num_workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        use_store(root, patch)
        mapped(root, "maps")
    return root


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def city(root: Path) -> str:
    """`<TILE>_<City>` of the one that is mapped."""
    (polygons,) = (root / "test").glob("*/*.shp")
    return polygons.stem


def mapped(root: Path, output: str, **options: Any) -> list[Summary]:
    load.cache_clear()  # its log line is said where it is read
    how = {"window": 64, "overlap": 16, "device": "cpu", "num_workers": 1, **options}
    how = {"input_path": str(root / "test"), "output_path": str(root / output), **how}
    return map_scenes(**how)


def test_without_a_model_it_is_taken_and_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        (scenes, *_) = mapped(root, "again")
    assert scenes.done == 1
    said = load_trained("shipped").description
    assert said is not None
    (line,) = (line for line in caplog.messages if line.startswith("model: "))
    assert line.startswith(f"model: {NAME} (weights sha256 {said.weights[:12]}…), trained on")
    record = InferenceRecord.read(root / "again")
    assert (record.training_run, record.weights) == (NAME, said.weights)
    run = tracking.find_run(record.run_id or "")
    assert run.data.tags["training_run"] == NAME
    assert run.data.tags["weights_sha256"] == said.weights


def test_on_scenes_that_nobody_simulated_the_doubt_is_said(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    shutil.copytree(root / "test", real, ignore=shutil.ignore_patterns(SIMULATED))
    mapped(root, "doubted", input_path=str(real))
    assert InferenceRecord.read(root / "doubted").doubts == (SIMULATED_ONLY,)
    assert InferenceRecord.read(root / "maps").doubts is None


def test_by_its_name_it_is_the_same_model(root: Path) -> None:
    (scenes, *_) = mapped(root, "maps", model="shipped")
    assert (scenes.done, scenes.up_to_date) == (0, 1)
    (scenes, *_) = mapped(root, "maps", model=NAME)
    assert (scenes.done, scenes.up_to_date) == (0, 1)


def test_trace_tells_what_it_was_trained_on(root: Path) -> None:
    said = load_trained("shipped").description
    assert said is not None
    for text in (trace(input_path=str(root / "maps" / "raw" / f"{city(root)}.gpkg")), trace()):
        assert f"model       {NAME}, trained on {said.trained_on}" in text
        assert f"radar_simulated.safetensors sha256 of tensors {said.weights}  (used)" in text
        assert f"s1a_{city(root)[:5]}" in text  # the scene


def test_trace_of_the_model_alone(tmp_path: Path) -> None:
    text = trace(run_id="shipped")
    assert text.startswith("model       shipped, trained on") and "sha256 of tensors" in text
    with pytest.raises(InputError, match="does not exist"):
        trace(run_id=str(tmp_path / "own.safetensors"))


def test_scores_and_report_need_no_training_run(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert city(root) in validate(preds_path=str(root / "maps"), gt_path=root / "test")
    scores = json.loads((root / "maps" / "validation.json").read_text())["scores"]
    assert scores["pooled"]["f1"] > 0.5
    page = report(input_path=str(root / "maps"), gt_path=str(root / "test"))
    text = page.read_text(encoding="utf-8")
    assert (
        NAME in text and "model trained on" in text and "not in the tracking database" not in text
    )
    assert not [line for line in caplog.messages if "cannot be known" in line]


def test_its_maps_go_into_an_ensemble(root: Path) -> None:
    mapped(root, "views", tta="hflip")
    paths = f"{root / 'maps'};{root / 'views'}"
    ensemble(input_paths=paths, output_path=root / "mean", num_workers=1)
    (mean,) = (root / "mean" / "raw").glob("*_prob_*.tif")
    with rasterio.open(mean) as dataset, rasterio.open(root / "maps/raw" / mean.name) as one:
        assert np.abs(dataset.read(1).astype(int) - one.read(1)).mean() < 20
    all_agg_by_city(input_path=str(root / "mean"), num_workers=1)
    assert trace(input_path=str(root / "mean")).count(f"model       {NAME}") == 2
    report(input_path=str(root / "mean"))


def test_an_inference_config_takes_it_by_name(root: Path, tmp_path: Path) -> None:
    generate_3b_images(input_path=root / "test", output_path=tmp_path / "images", num_workers=1)
    generate_tiles(
        input_path=tmp_path / "images",
        output_path=tmp_path / "tiles",
        tile_size=256,
        overlap=32,
        materialize=False,
        num_workers=1,
    )
    how = "run_id=shipped window=64 overlap=16 device=cpu tta=none"
    overrides = f"{how} data_path={tmp_path / 'tiles'}"
    config = ROOT / "configs" / "inference" / "test.py"
    run_script(ROOT / "code" / "scripts" / "inference.py", config, 1, overrides)
    run_id = tracking.last_run_id()
    to_submission(run_id=run_id, num_workers=1)
    assert f"model       {NAME}" in trace(run_id=run_id)
    chain = tracking.run_artifacts(run_id) / "raw" / f"{city(root)}_prob.tif"
    with rasterio.open(chain) as ours, rasterio.open(root / "maps/raw" / chain.name) as theirs:
        assert np.abs(ours.read(1).astype(int) - theirs.read(1)).max() <= 1


def test_eight_bits_need_tiles_that_it_does_not_bring(root: Path) -> None:
    with pytest.raises(ConfigError, match="brings no tiles to make 8 bits from"):
        mapped(root, "int8", backend="openvino-int8")
    assert not (root / "int8").exists()
