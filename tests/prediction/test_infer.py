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
from shapely import box

from builtup.config import load as configs
from builtup.config.launch import run_script
from builtup.errors import ConfigError, InputError, RunError
from builtup.geo.probability import NODATA
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.validate import validate
from builtup.prediction import adapt
from builtup.prediction.infer import _log_headline, _newest_training, plan, run_name
from builtup.runs import tracking
from builtup.runs.recorder import Recorder
from builtup.runs.results import read_tags
from builtup.sensors.classes import Classes
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from helpers import ROOT, TRANSFORM, city_polygons, speckle, write_polygons, write_raster
from tiny_model import SMALL_UNET, write_trained

SCRIPT = ROOT / "code" / "scripts" / "inference.py"
SIZE = 60
TRAINING = """
import torch
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 2, 1
data_path, val_fold = "{data}", "38SLF_Alpha"


def model():
    return Segmenter(Channels("linear_3b", (0.1,) * 3, (0.1,) * 3), torch.nn.Conv2d(3, 2, 1))
"""
INFERENCE = """
run_id, data_path, has_targets = "{run}", "{data}", {targets}
window, overlap, batch_size = 16, 4, 3
tta, save_overlays, device = "hflip", 2, "cpu"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities of two dates, their tiles and folds, a trained run and the configs."""
    root = tmp_path_factory.mktemp("project")
    for number, (city, tile) in enumerate((("Alpha", "38SLF"), ("Beta", "38RPV"))):
        shift = TRANSFORM.translation(200_000 * number, 0) @ TRANSFORM
        for date in ("20150101", "20150113"):
            write_city(root, city, tile, date, shift)
    for kind in ("images", "masks"):
        generate_tiles(
            input_path=root / kind,
            output_path=root / "tiles" / kind,
            tile_size=32,
            overlap=8,
            materialize=True,
            num_workers=1,
        )
    tiles = root / "tiles"
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds="city", blocks="2x2", gap=4, num_workers=1
    )
    (root / "train.py").write_text(TRAINING.format(data=tiles))
    write_run(root)
    write_config(root, "validate_x", tiles, True)
    write_config(root, "test_x", tiles / "images", False)
    return root


def write_city(root: Path, city: str, tile: str, date: str, transform: object) -> None:
    vh, vv = speckle((SIZE, SIZE), 0.1, int(date)), speckle((SIZE, SIZE), 0.2, int(date) + 1)
    vh[20:40, 20:50] += 0.5
    power = np.stack([vh, vv, (vh + vv) / 2])
    power[:, :10, :15] = np.nan
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:40, 20:50] = 1
    mask[:10, :15] = 255
    folder = f"{city}_2015"
    image = root / "images" / folder / f"s1a_{tile}_3b_ASC_{date}.tif"
    write_raster(image, power.astype(np.float32), transform, nodata=float("nan"))  # type: ignore
    name = f"s1a_{tile}_mask_ASC_{date}.tif"
    write_raster(root / "masks" / folder / name, mask, transform, nodata=255)  # type: ignore


def write_run(root: Path) -> None:
    """What a training leaves: its config, weights and summary."""
    from builtup.runs.manifest import write_config as log_config

    config = configs.load(root / "train.py")
    log_config(config, root / "trained" / "config")
    model = config.build("model")
    with torch.no_grad():  # built-up where VH is far above its mean
        model.network.weight.zero_()
        model.network.weight[1, 0] = 1.0
        model.network.bias.copy_(torch.tensor([0.0, -2.5]))
    (root / "trained" / "weights").mkdir(parents=True)
    torch.save(model.state_dict(), root / "trained" / "weights" / "best.pt")
    (root / "trained" / "summary.json").write_text(json.dumps({"threshold": 0.4}))


def write_config(root: Path, name: str, data: Path, targets: bool) -> Path:
    path = root / f"{name}.py"
    path.write_text(INFERENCE.format(run=root / "trained", data=data, targets=targets))
    return path


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A tracking database of the module's own."""
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    uri = f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name("Inferences") is None:
        client.create_experiment("Inferences", artifact_location=str(root / "mlruns"))
    return client


def infer(root: Path, name: str, overrides: str = "", processes: int = 1) -> mlflow.entities.Run:
    run_script(SCRIPT, root / f"{name}.py", processes, overrides)
    experiment = mlflow.get_experiment_by_name("Inferences")
    return mlflow.MlflowClient().search_runs([experiment.experiment_id], max_results=1)[0]


def tiles_of(run: mlflow.entities.Run) -> dict[str, np.ndarray]:
    found = {}
    folder = Path(run.info.artifact_uri) / "raw"
    for path in sorted(folder.rglob("tile_*.tif")):
        with rasterio.open(path) as dataset:
            found[str(path.relative_to(folder))] = dataset.read()
    return found


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


def test_two_processes_write_the_tiles_and_scores_of_one(root: Path) -> None:
    one, two = infer(root, "validate_x"), infer(root, "validate_x", processes=2)
    first, second = tiles_of(one), tiles_of(two)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    names = [name for name in one.data.metrics if name.startswith("val/")]
    assert names
    assert [one.data.metrics[n] for n in names] == [two.data.metrics[n] for n in names]
    assert two.data.metrics["tiles"] == one.data.metrics["tiles"]


def test_a_resumed_run_predicts_what_is_missing(root: Path) -> None:
    before = infer(root, "test_x")
    folder = Path(before.info.artifact_uri) / "raw"
    paths = sorted(folder.rglob("tile_*.tif"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:300])  # torn by another program
    # read by other processes this time
    after = infer(root, "test_x", f"resume_from={before.info.run_id} decoders=2")
    assert after.data.metrics["tiles"] == 36
    assert after.data.metrics["tiles_predicted"] == 2
    fresh = tiles_of(infer(root, "test_x"))
    for name, values in tiles_of(after).items():
        np.testing.assert_array_equal(values, fresh[name])
        assert read_tags(Path(after.info.artifact_uri) / "raw" / name).run_id == after.info.run_id


def test_a_run_that_predicted_otherwise_is_not_resumed(root: Path) -> None:
    before = infer(root, "test_x", "save_overlays=0")
    with pytest.raises(ConfigError, match=r"was predicted with tta='hflip', not 'none'"):
        infer(root, "test_x", f"resume_from={before.info.run_id} tta=none")


def test_a_run_that_read_other_contents_is_not_resumed(root: Path) -> None:
    before = infer(root, "test_x", "save_overlays=0")
    record = Path(before.info.artifact_uri) / "data_manifest.json"
    manifest = json.loads(record.read_text())
    moved = json.loads(record.read_text())
    for entry in moved["images_and_masks"]:
        entry["path"] = f"elsewhere/{Path(entry['path']).name}"
    record.write_text(json.dumps(moved))
    infer(root, "test_x", f"save_overlays=0 resume_from={before.info.run_id}")
    manifest["images_and_masks"][1]["inputs"][0]["sha256"] = "0" * 64
    record.write_text(json.dumps(manifest))
    message = r"predicted from other contents of s1a_\S+_tiles \(1 changed in"
    with pytest.raises(ConfigError, match=message):
        infer(root, "test_x", f"save_overlays=0 resume_from={before.info.run_id}")


def test_of_a_remote_store_all_comes_back_when_the_local_copy_is_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "artifact_folder", lambda run: None)
    summary = root / "trained" / "summary.json"
    text = summary.read_text()
    before = infer(root, "test_x")
    run_id = before.info.run_id
    copy = root / "output" / "predictions" / run_id
    assert len(list((Path(before.info.artifact_uri) / "overlays").glob("*.png"))) == 2
    shutil.rmtree(copy)
    after = infer(root, "test_x", f"resume_from={run_id}")
    assert after.data.metrics["tiles_predicted"] == 0
    shutil.rmtree(copy)
    merge_tiles(run_id=run_id, num_workers=1)
    all_agg_by_city(run_id=run_id, num_workers=1)
    shutil.rmtree(copy)
    gt = root / "gt"
    write_polygons(city_polygons(gt), [box(300_200, 3_999_600, 300_500, 3_999_800)])
    try:
        summary.write_text(json.dumps({"threshold": 0.4, "trained_on": ["38SLF_Alpha"]}))
        assert "38SLF_Alpha (tuned on)" in validate(gt_path=gt, run_id=run_id)
    finally:
        summary.write_text(text)


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
