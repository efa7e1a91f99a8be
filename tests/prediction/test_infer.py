"""The inference script: from a training run to tiles, scores and pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import rasterio
import torch

from builtup.config import load as configs
from builtup.data.transforms import resize_power
from builtup.errors import ConfigError, InputError, RunError
from builtup.geo.probability import NODATA
from builtup.maps.mosaic import merge_tiles
from builtup.prediction import adapt
from builtup.prediction.infer import _log_headline, _newest_training, plan, run_name
from builtup.runs import tracking
from builtup.runs.recorder import Recorder
from builtup.runs.results import read_tags
from builtup.sensors.classes import Classes
from builtup.tiles.stats import generate_tiles_stats
from helpers import ROOT
from inferred_project import (
    SIZE,
    infer,
    tiles_of,
    write_project,
)
from tiny_model import SMALL_UNET, use_store, write_trained


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A tracking database of the module's own."""
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def test_test_tiles_are_mapped_and_merge_into_their_scenes(root: Path) -> None:
    run = infer(root, "test_x")
    assert run.info.status == "FINISHED"
    assert run.data.tags["training_run"]
    assert run.data.params["cfg/tta"] == "hflip"
    assert run.data.metrics["tiles"] == 36
    assert len(list((Path(run.info.artifact_uri) / "overlays").glob("*.png"))) == 2
    merged = merge_tiles(input_path="", run_id=run.info.run_id, num_workers=1)
    assert merged.done == 4
    path = Path(run.info.artifact_uri) / "raw" / "s1a_38SLF_prob_ASC_20150101.tif"
    tags = read_tags(path)
    assert (tags.run_id, tags.threshold, tags.city) == (run.info.run_id, 0.4, "38SLF_Alpha")
    assert tags.classes == ("background", "building")
    with rasterio.open(path) as dataset:
        values = dataset.read(1)
    # a network that looks at single pixels: the mosaic is its map of the scene, to the last unit
    with rasterio.open(root / "images" / "Alpha_2015" / "s1a_38SLF_3b_ASC_20150101.tif") as scene:
        vh = scene.read(1)
    expected = np.round(254 / (1 + np.exp(2.5 - (vh - 0.1) / 0.1)))
    gap = np.isnan(vh)
    assert (values[gap] == NODATA).all()
    assert np.abs(values[~gap] - expected[~gap]).max() <= 1


def test_validation_maps_the_held_out_city_and_scores_each_pixel_once(root: Path) -> None:
    run = infer(root, "validate_x")
    assert {name.split("/")[0] for name in tiles_of(run)} == {
        "s1a_38SLF_3b_ASC_20150101_tiles",
        "s1a_38SLF_3b_ASC_20150113_tiles",
    }
    assert run.data.tags["fold"] == "38SLF_Alpha"
    merge_tiles(run_id=run.info.run_id, num_workers=1)
    hit = predicted = true = 0
    for date in ("20150101", "20150113"):
        raw = Path(run.info.artifact_uri) / "raw"
        with rasterio.open(raw / f"s1a_38SLF_prob_ASC_{date}.tif") as dataset:
            values = dataset.read(1)
        with rasterio.open(
            root / "masks" / "Alpha_2015" / f"s1a_38SLF_mask_ASC_{date}.tif"
        ) as dataset:
            mask = dataset.read(1)
        built = (values >= 102) & (values != NODATA)  # 254 · 0.4 = 101.6
        hit += int((built & (mask == 1)).sum())
        predicted += int((built & (mask < 2)).sum())
        true += int((mask == 1).sum())
    assert run.data.metrics["val/f1"] == pytest.approx(2 * hit / (predicted + true), abs=1e-12)
    assert run.data.metrics["val/38SLF_Alpha/iou"] == pytest.approx(
        hit / (predicted + true - hit), abs=1e-12
    )


def test_scores_of_ground_that_chose_the_threshold_are_marked(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = root / "trained" / "summary.json"
    text = summary.read_text()
    tuned = {"threshold": 0.4, "val_cities": ["38SLF_Alpha"], "val_fold": "38SLF_Alpha"}
    try:
        summary.write_text(json.dumps(tuned))
        with caplog.at_level("INFO"):
            marked = infer(root, "validate_x")
    finally:
        summary.write_text(text)
    assert marked.data.tags["tuned_on"] == "38SLF_Alpha"
    assert "at the threshold (tuned on 38SLF_Alpha)" in caplog.text
    try:
        summary.write_text(json.dumps({"threshold": 0.4, "transductive": ["38SLF_Alpha"]}))
        with caplog.at_level("INFO"):
            assert infer(root, "validate_x").data.tags["tuned_on"] == "nothing"
    finally:
        summary.write_text(text)
    assert "at the threshold (transductive 38SLF_Alpha)" in caplog.text
    assert infer(root, "validate_x").data.tags["tuned_on"] == "nothing"


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (("ground", "building"), "at the threshold"),
        (("ground", "building", "car"), "by the largest probability"),
    ],
)
def test_the_headline_says_how_pixels_were_decided(
    names: tuple[str, ...], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    selection = SimpleNamespace(cities=("Alpha",))
    work = SimpleNamespace(folder=None, selection=selection, classes=Classes.of(names))
    figures = {"val/f1": 0.5, "val/iou": 0.333}
    with caplog.at_level("INFO"):
        _log_headline(work, figures, Recorder(), ())
    assert f"building F1 0.500, IoU 0.333 {how}" in caplog.text


def test_scores_of_scenes_that_were_adapted_to_are_transductive(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = f"run_id={write_trained(root / 'normalised', SMALL_UNET)} val_fold=38SLF_Alpha"
    with caplog.at_level("INFO"):
        left = infer(root, "validate_x", f"{how} adapt=scene")
    assert "valid pixels are too few" in caplog.text  # and asked for: a warning
    assert {r.levelname for r in caplog.records if "not adapted to" in r.message} == {"WARNING"}
    assert "transductive" not in caplog.text
    assert left.data.metrics["val/threshold"] == 0.4
    monkeypatch.setattr(adapt, "LEAST_PIXELS", 100)
    caplog.clear()
    with caplog.at_level("INFO"):
        fitted = infer(root, "validate_x", f"{how} adapt=scene")
    assert "adapted to s1a_38SLF_ASC_20150101, mapped from probability 0.500 on" in caplog.text
    assert "at the threshold (transductive 38SLF_Alpha)" in caplog.text
    assert "val/threshold" not in fitted.data.metrics
    tags = {
        read_tags(path).threshold for path in Path(fitted.info.artifact_uri).rglob("tile_*.tif")
    }
    assert tags == {0.5}


def test_outside_a_held_out_block_nothing_is_predicted(root: Path) -> None:
    tiles = root / "blocks"
    shutil.copytree(root / "tiles", tiles)
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds="blocks", blocks="1x2", gap=4, num_workers=1
    )
    fold = json.loads((tiles / "folds.json").read_text())["names"][0]
    run = infer(root, "validate_x", f"data_path={tiles} val_fold={fold}")
    merge_tiles(run_id=run.info.run_id, num_workers=1)
    path = Path(run.info.artifact_uri) / "raw" / f"s1a_{fold[:5]}_prob_ASC_20150101.tif"
    with rasterio.open(path) as dataset:
        values = dataset.read(1)
    assert (values[:, SIZE // 2 :] == NODATA).all()
    assert (values[10:, : SIZE // 2] != NODATA).all()


def test_a_temperature_divides_the_logits_and_moves_the_run_s_threshold(root: Path) -> None:
    summary = root / "trained" / "summary.json"
    text = summary.read_text()
    try:
        summary.write_text(json.dumps({"threshold": 0.4, "temperature": 2.0}))
        plain, run = infer(root, "test_x"), infer(root, "test_x", "temperature=run")
    finally:
        summary.write_text(text)
    folder = Path(run.info.artifact_uri)
    assert json.loads((folder / "inference.json").read_text())["temperature"] == 2.0
    before, after = tiles_of(plain), tiles_of(run)
    name = next(iter(after))
    threshold = read_tags(folder / "raw" / name).threshold
    assert threshold == pytest.approx(1 / (1 + (0.6 / 0.4) ** 0.5))
    p, q = (np.concatenate([v.ravel() for v in found.values()]) for found in (before, after))
    middle = (p > 20) & (p < 234)
    expected = 254 / (1 + np.sqrt(254 / p[middle] - 1))
    assert np.abs(q[middle] - expected).max() <= 2
    assert ((p >= 0.4 * 254) == (q >= threshold * 254)).mean() > 0.998  # but for rounding


@pytest.mark.parametrize(
    ("temperature", "message"), [("run", "has none; take one with"), ("-1", "a number above 0")]
)
def test_a_temperature_that_makes_no_sense_is_refused(
    root: Path, temperature: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        infer(root, "test_x", f"temperature={temperature}")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ("run_id=0123456789abcdef0123456789abcdef", RunError, "no such run"),
        ("run_id=''", RunError, "experiment Trainings: no finished run"),
        ("resume_from=0123456789abcdef", RunError, "no such run"),
        ("backend=abacus", ConfigError, "backend = 'abacus'"),
        ("tta=spin", ConfigError, "unknown set of views"),
        ("threshold=2", ConfigError, "threshold"),
        ("overlap=16", ConfigError, "overlap must be below"),
        ("data_path=nowhere", InputError, "nowhere"),
        ("val_fold=Gamma", InputError, "known: 0: 38"),
    ],
)
def test_a_config_that_cannot_work_starts_no_run(
    root: Path, store: mlflow.MlflowClient, overrides: str, error: type[Exception], message: str
) -> None:
    experiment = store.get_experiment_by_name("Inferences")
    before = len(store.search_runs([experiment.experiment_id]))
    with pytest.raises(error, match=message):
        infer(root, "validate_x", overrides)
    assert len(store.search_runs([experiment.experiment_id])) == before


def test_an_inference_that_names_no_training_takes_the_newest_and_says_so(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, ids = tracking.client(), []
    for tags in ({"config": "x"}, {"config": "y"}, {"config": "y", "fold_key": "of a fold"}):
        run_id = own.create_run("1", tags=tags).info.run_id
        own.set_terminated(run_id)
        ids.append(run_id)
    path = ROOT / "configs" / "inference" / "test.py"
    assert _newest_training(configs.load(path)) == ids[1]
    assert f"the newest finished training is {ids[1]}, y" in caplog.text
    assert _newest_training(configs.load(path, "of=x")) == ids[0]


def test_a_run_is_named_by_what_is_mapped(root: Path) -> None:
    config = configs.load(root / "validate_x.py", f"run_id={root / 'trained'}")
    assert run_name(config, plan(config)).startswith("validate ")
    config = configs.load(root / "test_x.py", f"run_id={root / 'trained'}")
    assert run_name(config, plan(config)) == "test Alpha 2015, Beta 2015"


def test_ground_that_was_learnt_from_is_not_scored_as_held_out(root: Path) -> None:
    summary, config = (root / "trained" / n for n in ("summary.json", "config/settings.json"))
    texts = summary.read_text(), config.read_text()
    known = {"threshold": 0.4, "val_fold": "38RPV_Beta", "trained_on": ["38SLF_Alpha"]}
    message = "val_fold = 38SLF_Alpha: .* learnt from 38SLF_Alpha and held out 38RPV_Beta; leave"
    try:
        summary.write_text(json.dumps(known))
        with pytest.raises(ConfigError, match=message):
            infer(root, "validate_x", "val_fold=Alpha")
        # a number that means another city now: the name counts
        index = json.loads((root / "tiles" / "folds.json").read_text())["names"].index(
            "38SLF_Alpha"
        )
        config.write_text(texts[1].replace('"38SLF_Alpha"', str(index)))
        assert infer(root, "validate_x").data.tags["fold"] == "38RPV_Beta"
        summary.write_text(json.dumps(known | {"trained_on": ["38SLF_Alpha/r0c1"]}))
        with pytest.raises(ConfigError, match="learnt from 38SLF_Alpha/r0c1"):
            infer(root, "validate_x", "val_fold=Alpha")
        summary.write_text(json.dumps(known | {"trained_on": ["38SLF_[Alpha]"]}))
        with pytest.raises(ConfigError, match=r"learnt from 38SLF_\[Alpha\]"):
            infer(root, "validate_x", "val_fold=Alpha")
    finally:
        summary.write_text(texts[0])
        config.write_text(texts[1])


def test_a_network_trained_on_everything_has_nothing_to_be_scored_on(root: Path) -> None:
    config = root / "trained" / "config" / "settings.json"
    text = config.read_text()
    try:
        config.write_text(text.replace('"38SLF_Alpha"', "null"))
        with pytest.raises(ConfigError, match="nothing is held out; use a test_ config"):
            infer(root, "validate_x")
    finally:
        config.write_text(text)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "inference").glob("[a-z]*.py")))
def test_shipped_configs_load(path: Path) -> None:
    config = configs.load(path)
    config.require("run_id", "data_path", "has_targets")


def write_trained_on(root: Path, reference: float) -> Path:
    """The trained run, as if its samples had been seen in pixels of so many metres."""
    folder = root / f"trained_{reference:g}"
    if not folder.exists():
        shutil.copytree(root / "trained", folder)
        logged = folder / "config" / "settings.json"
        said = json.loads(logged.read_text())
        said["settings"]["reference_pixel"] = reference
        logged.write_text(json.dumps(said))
    return folder


def test_tiles_are_mapped_in_the_pixels_of_training(root: Path) -> None:
    trained = write_trained_on(root, 20.0)
    run = infer(root, "validate_x", f"run_id={trained} save_overlays=0 tta=none")
    folder = Path(run.info.artifact_uri)
    assert json.loads((folder / "inference.json").read_text())["reference_pixel"] == 20
    for name, values in tiles_of(run).items():
        scene, tile = name.split("/")
        with rasterio.open(root / "tiles" / "images" / scene / tile) as dataset:
            image = dataset.read([1, 2])
        seen = resize_power(torch.from_numpy(image), (16, 16))[0].numpy()
        known = np.isfinite(seen)
        expected = np.where(known, np.round(254 / (1 + np.exp(2.5 - (seen - 0.1) / 0.1))), NODATA)
        expected = expected.repeat(2, 0).repeat(2, 1)
        assert (np.abs(values[0] - expected) <= 1).all()
    own = infer(root, "validate_x", "save_overlays=0 tta=none")
    assert "reference_pixel" not in (Path(own.info.artifact_uri) / "inference.json").read_text()
    near = infer(root, "validate_x", f"run_id={write_trained_on(root, 12.0)} tta=none")
    for name, values in tiles_of(near).items():  # near enough: as they are
        assert np.array_equal(values, tiles_of(own)[name])
