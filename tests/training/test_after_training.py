"""What follows the last step: curves and pictures of the best weights, and their temperature."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from affine import Affine

from builtup.config import load as configs
from builtup.errors import ConfigError
from builtup.runs.recorder import Recorder
from builtup.runs.records import Summary
from builtup.sensors.classes import Classes
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.tiles.tile import Tile, read_tile
from builtup.training import after_training
from builtup.training.after_training import _keep_temperature, _metres, check_registration, finish
from builtup.training.build import build_data, build_learner
from builtup.training.checkpoints import (
    BestValidation,
    Progress,
    load_state,
    save_state,
    weights_digest,
)
from helpers import write_raster
from tiny_folds import write_cities, write_config

HISTOGRAM = np.random.default_rng(0).integers(0, 9, (2, 255)).tolist()
BEST = BestValidation(
    scores={"f1": 0.5},
    threshold_f1=0.5,
    confusion={"38SAA_Alpha": [[5, 1], [2, 3]]},
    histogram=HISTOGRAM,
    tiles={"38SAA_Alpha": {"best": 0, "median": 0, "worst": 1}},
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("after")
    return write_config(root, write_cities(root, ("Alpha", "Beta")))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ("register=team/model", "takes no such name"),
        ("register=mine log_model=false", "log_model = False logs no model"),
    ],
)
def test_what_cannot_be_registered_is_refused_before_anything_is_trained(
    config: Path, overrides: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_registration(configs.load(config, overrides))
    check_registration(configs.load(config, "register=mine log_model=true"))


class Recorded(Recorder):
    """Keeps what would be logged."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.logged: dict[str, float] = {}
        self.tagged: dict[str, str] = {}

    def metrics(self, values: Any, step: int) -> None:
        self.logged |= values

    def tags(self, values: Any) -> None:
        self.tagged |= values


def finished(path: Path, folder: Path, best: BestValidation | None) -> Recorded:
    config = configs.load(path, "log_predictions=1")
    data = build_data(config)
    learner = build_learner(config, data)
    save_state(learner.weights.state_dict(), folder / "weights" / "best.pt")
    Summary(threshold=0.5).write(folder)
    recorder = Recorded(folder)
    finish(config, data, learner, Progress(iteration=3, best_iteration=2, best=best), recorder)
    return recorder


def test_the_best_weights_get_curves_pictures_and_a_temperature(
    config: Path, tmp_path: Path
) -> None:
    recorder = finished(config, tmp_path, BEST)
    assert {"val/average_precision", "val/brier", "val/temperature"} <= set(recorder.logged)
    assert (tmp_path / "curves" / "confusion.png").is_file()
    drawn = sorted(p.name.partition("_")[0] for p in (tmp_path / "pictures").rglob("*.png"))
    assert drawn == ["best", "median", "worst"]
    summary = Summary.read(tmp_path)
    assert summary.temperature == recorder.logged["val/temperature"]
    assert summary.temperature_tuned_on == ("38SAA_Alpha",)
    digest = weights_digest(load_state(tmp_path / "weights" / "best.pt"))
    assert recorder.tagged == {"weights_sha256": digest}


def test_the_last_lines_say_what_came_of_it_and_what_comes_next(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    recorder = Recorded(tmp_path)
    recorder.run_id = "12ab"
    loaded = configs.load(config)
    data = build_data(loaded)
    Summary(threshold=0.41).write(tmp_path)
    after_training._say_outcome(loaded, data, Progress(9, best_iteration=6, best=BEST), recorder)
    best, weights, following = (record.getMessage() for record in caplog.records[-3:])
    assert best == "best: iteration 6 of 9, threshold 0.410 with F1 0.500 on 38SAA_Alpha"
    assert weights == f"weights: {tmp_path / 'weights' / 'best.pt'}"
    assert following == (
        "next: builtup infer --config_path configs/inference/validate.py "
        f'--overrides "run_id=12ab data_path={loaded.data_path}"'
    )
    of_three = replace(data, classes=Classes.of(("ground", "building", "water")))
    progress = Progress(9, best_iteration=6, best_score=0.75, best=BEST)
    after_training._say_outcome(loaded, of_three, progress, recorder)
    assert caplog.records[-3].getMessage() == "best: iteration 6 of 9 with f1 0.750 on 38SAA_Alpha"
    everything = configs.load(config, "val_fold=none validate=false")
    after_training._say_outcome(everything, build_data(everything), Progress(9), recorder)
    last, _, following = (record.getMessage() for record in caplog.records[-3:])
    assert last == "without validation: the last weights, iteration 9, threshold 0.410"
    assert "configs/inference/test.py" in following


def test_the_share_of_the_mapped_class_is_that_of_the_ground_learnt_from(
    config: Path, tmp_path: Path
) -> None:
    finished(config, tmp_path, None)
    loaded = configs.load(config)
    rows = read_tile_stats(Path(loaded.data_path) / TILE_STATS_CSV)
    scene = np.full((256, 256), 255, np.uint8)
    for row in (row for row in rows if row.fold_index == 1):  # the first is held out
        scene[row.tile.window.slices] = read_tile(row.mask, 1)  # tiles overlap, pixels count once
    labelled = scene[scene != 255]
    assert 0 < labelled.mean() < 1
    assert Summary.read(tmp_path).share == pytest.approx(labelled.mean())


def test_the_share_of_soft_labels_is_their_mean_probability(config: Path) -> None:
    """Levels were counted as classes, so that maps by students followed a share that was none."""
    loaded = configs.load(config)
    data, model = build_data(loaded), loaded.build("model")
    share = after_training._share(model, data)
    assert share is not None
    dataset = cast("Any", data.train).dataset
    dataset.soft = True  # level 1 is a probability of 1/254
    assert after_training._share(model, data) == pytest.approx(share / 254)
    dataset.mask_bands = 3
    assert after_training._share(model, data) is None


def test_without_a_validation_there_is_nothing_to_draw(config: Path, tmp_path: Path) -> None:
    recorder = finished(config, tmp_path, None)
    assert recorder.logged == {} and not (tmp_path / "curves").exists()
    assert Summary.read(tmp_path).temperature is None


def test_a_validated_training_says_its_temperature_and_what_it_was_tuned_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"threshold": 0.4}))
    logged: dict[str, float] = {}
    data = SimpleNamespace(val_cities=["38SMA_Ardena"])
    recorder = SimpleNamespace(folder=tmp_path, metrics=lambda found, _: logged.update(found))
    progress = SimpleNamespace(best_iteration=7)
    _keep_temperature(3.0, *cast("Any", (data, progress, recorder)))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["temperature"] == 3.0
    assert logged == {"val/temperature": summary["temperature"]}
    assert summary["temperature_tuned_on"] == ["38SMA_Ardena"]
    assert summary["threshold"] == 0.4


def test_where_no_temperature_can_be_fitted_the_summary_stays(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"threshold": 0.4}')
    _keep_temperature(None, *cast("Any", (None, None, SimpleNamespace(folder=tmp_path))))
    assert (tmp_path / "summary.json").read_text() == '{"threshold": 0.4}'


def test_the_pixel_that_was_learnt_from_is_that_of_most_tiles_not_of_most_scenes(
    tmp_path: Path,
) -> None:
    tiles = []
    for name, metres, count in (("a", 0.2, 1), ("b", 0.2, 1), ("c", 0.1, 6)):
        path = tmp_path / f"{name}.tif"
        transform = Affine(metres, 0, 870_000, 0, -metres, 6_617_000)
        write_raster(path, np.ones((3, 8, 8), np.uint8), transform, "EPSG:2154")
        for i in range(count):
            tiles.append(Tile(f"{name}_{i}", name, f"{name}_{{}}", "", 0, 0, 8, 8, path))
    assert _metres(tiles) == pytest.approx(0.1, rel=0.01)
    assert _metres(tiles[:3]) == pytest.approx(0.2, rel=0.01)
