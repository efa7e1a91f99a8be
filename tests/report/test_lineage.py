"""From a polygon back to its scenes and weights, over a whole chain of simulated towns."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pyogrio
import pytest
import rasterio

from builtup.config.launch import run_script
from builtup.errors import InputError, RunError
from builtup.maps.submission import to_submission
from builtup.options import PolygonOptions
from builtup.report.lineage import result_of, trace
from builtup.runs import tracking
from builtup.runs.results import PredictionTags, resolve_results, write_tags
from builtup.simulate.dataset import simulate
from builtup.tiles.prepare import prepare
from builtup.training.checkpoints import load_state, weights_digest
from helpers import ROOT

TRAINING = """
import torch
from builtup.data import loaders
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs, val_fold = 0, 2, 1, 0
data_path, log_model, log_predictions = "{data}", False, 0


def model():
    return Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), torch.nn.Conv2d(3, 2, 1))


def train_loader():
    return loaders.train_loader(data_path, val_fold=val_fold, batch_size=2, crop=64)


def val_loader():
    return loaders.val_loader(data_path, val_fold=val_fold, batch_size=2)


def criterion():
    return CrossEntropy(1.0, 1.0)


def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)
"""
INFERENCE = 'run_id, data_path, has_targets, device = "{run}", "{data}", False, "cpu"\n'


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which two towns were learnt from (one validated on) and a third was mapped."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        tracking.setup(root)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(root))
        tracking.client()
        simulate(
            output_path=Path("data"), cities=2, test_cities=1, dates=1, size=128, num_workers=1
        )
        prepare(
            input_path=Path("data"), output_path=Path("out"), tiles_path=Path("out"), num_workers=1
        )
        Path("tiny.py").write_text(TRAINING.format(data="out/train_tiles"))
        run_script(ROOT / "code/scripts/training.py", Path("tiny.py"))
        run = tracking.newest_run("Trainings").info.run_id
        Path("map.py").write_text(INFERENCE.format(run=run, data="out/test_tiles/images"))
        run_script(ROOT / "code/scripts/inference.py", Path("map.py"))
        to_submission(threshold="0.3", polygons=PolygonOptions(min_area=0), num_workers=1)
        yield root


@pytest.fixture
def project(chain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(chain)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(chain))
    tracking.client()
    return chain


def polygons() -> Path:
    return next(resolve_results().raw.glob("*.gpkg"))


def test_polygons_lead_to_the_radar_scenes_and_the_weights(project: Path) -> None:
    training = tracking.newest_run("Trainings").info.run_id
    inference = tracking.newest_run("Inferences").info.run_id
    text = trace(input_path=str(polygons()))
    assert text.index(inference) < text.index(training)
    weights = tracking.run_artifacts(training) / "weights" / "best.pt"
    assert f"{weights_digest(load_state(weights))}  (used)" in text
    mapped, learnt = text.split("training    ")
    for part, split in ((mapped, "test"), (learnt, "train")):
        files = (project / "data" / split).rglob("s1*.tif")
        scenes = [path for path in files if not path.stem.endswith("_BorderMask")]
        assert scenes
        for scene in scenes:
            assert f"{scene.name} sha256 {hashlib.sha256(scene.read_bytes()).hexdigest()}" in part
    assert "training: " in learnt and "validation: " in learnt and "tiny.py sha256" in learnt


def test_what_a_training_held_out_is_told_from_what_it_learnt(project: Path) -> None:
    training = tracking.newest_run("Trainings").info.run_id
    summary = json.loads((tracking.run_artifacts(training) / "summary.json").read_text())
    tile = summary["val_fold"].partition("_")[0]
    scenes = [line for line in trace(run_id=training).splitlines() if line.startswith("  scene ")]
    held_out = [line for line in scenes if line.endswith("  (held out)")]
    assert held_out == [line for line in scenes if f"_{tile}_" in line]
    assert len(held_out) == len(scenes) / 2 == 2  # an image and a mask of one town, and of another


def test_an_inference_shows_its_threshold(project: Path) -> None:
    run = tracking.newest_run("Inferences")
    assert f", threshold {run.data.params['cfg/threshold']}\n" in trace(run_id=run.info.run_id)


def test_a_geopackage_taken_elsewhere_still_knows_its_run(project: Path, tmp_path: Path) -> None:
    copy = shutil.copy(polygons(), tmp_path / "map.gpkg")
    assert tracking.newest_run("Inferences").info.run_id in trace(input_path=str(copy))
    layer = str(pyogrio.list_layers(copy)[0][0])
    assert pyogrio.read_info(copy, layer=layer)["layer_metadata"]["BUILTUP_CITY"] == layer


def test_rasters_folders_and_runs_are_traced_too(project: Path) -> None:
    path = polygons()
    inference = tracking.newest_run("Inferences").info.run_id
    for given in (path.with_suffix(".tif"), path.with_suffix(".shp"), path.parent):
        assert inference in trace(input_path=str(given))
    assert trace().startswith(f"inference   run {inference}")
    training = tracking.newest_run("Trainings").info.run_id
    assert trace(run_id=training).startswith(f"training    run {training}")


def copied_run(run_id: str) -> str:
    """Another finished run with the tags and artifacts of one."""
    own = tracking.client()
    run = own.get_run(run_id)
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    other = str(own.create_run(run.info.experiment_id, tags=tags).info.run_id)
    own.log_artifacts(other, run.info.artifact_uri.removeprefix("file://"))
    own.set_terminated(other)
    return other


def test_an_ensemble_leads_to_each_of_its_runs(project: Path, tmp_path: Path) -> None:
    inference = tracking.newest_run("Inferences").info.run_id
    shutil.copytree(polygons().parent, tmp_path / "mean" / "raw")
    other = copied_run(inference)
    members = [{"run_id": run} for run in (inference, other, inference)]  # each is named once
    (tmp_path / "mean" / "ensemble.json").write_text(json.dumps({"members": members}))
    text = trace(input_path=str(tmp_path / "mean"))
    tracking.client().delete_run(other)  # the newest of the project is another test's
    assert f"mean of 2 runs: {inference}, {other}" in text
    assert text.count("inference   run") == 2


def test_runs_show_what_they_read_as_datasets(project: Path) -> None:
    found = {}
    for name in ("Trainings", "Inferences"):
        for entry in tracking.newest_run(name).inputs.dataset_inputs:
            found[entry.tags[0].value] = entry.dataset
    assert set(found) == {"training", "validation", "inference"}
    assert len({entry.digest for entry in found.values()}) == 3
    profile = json.loads(found["training"].profile)
    assert profile["tiles"] == len(profile["scenes"]) == 1  # one town of one date is left
    assert found["training"].name in json.loads(found["training"].profile)["cities"]


def test_a_step_within_mlflow_run_is_linked_to_the_run_that_it_worked_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tracking.client()
    step = own.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", step)
    tracking.log_steps(
        to_submission(threshold="0.3", polygons=PolygonOptions(min_area=0), num_workers=1)
    )
    inference = tracking.newest_run("Inferences").info.run_id
    tags = own.get_run(step).data.tags
    assert tags["inference_run"] == inference
    assert tags["training_run"] == tracking.newest_run("Trainings").info.run_id
    assert "sha256 of their inputs" in tags["merge_tiles/manifests"]
    assert f"inference   run {inference}" in trace(run_id=step)


def test_what_leads_nowhere_is_one_line(project: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        trace(input_path=str(tmp_path / "absent.gpkg"))
    (tmp_path / "a.shp").write_bytes(b"")
    with pytest.raises(InputError, match="no mask of its name"):
        trace(input_path=str(tmp_path / "a.shp"))
    (tmp_path / "a.gpkg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        trace(input_path=str(tmp_path / "a.gpkg"))
    other = mlflow.MlflowClient().create_run("0").info.run_id
    with pytest.raises(RunError, match="neither an inference nor a training"):
        trace(run_id=other)


# --- files of results -----------------------------------------------------------------------------


def test_a_raster_and_its_folder_name_the_run_and_what_names_none_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "38SLF_Alpha.tif"
    for run_id in ("", "abc"):
        profile = {"width": 3, "height": 2, "count": 1, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **profile) as dataset:
            dataset.write(np.zeros((1, 2, 3), np.uint8))
            write_tags(dataset, PredictionTags("", "38SLF_Alpha", 3, 2, run_id, 0.37))
        if not run_id:
            with pytest.raises(InputError, match="names no run"):
                result_of(path)
    result = result_of(path)
    assert (result.runs, result.city, result.threshold) == (("abc",), "38SLF_Alpha", "0.37")
    folder = result_of(tmp_path)
    assert (folder.runs, folder.city, folder.sha256) == (("abc",), "", "")
    with pytest.raises(InputError, match="does not exist"):
        result_of(tmp_path / "nothing")
