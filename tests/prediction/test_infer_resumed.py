"""Inferences that go on with an earlier one, in one process or two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from shapely import box

from builtup.errors import ConfigError
from builtup.maps.cities import all_agg_by_city
from builtup.maps.mosaic import merge_tiles
from builtup.maps.validate import validate
from builtup.runs import tracking
from builtup.runs.results import read_tags
from forks import launching_forks
from helpers import city_polygons, write_polygons
from inferred_project import (
    infer,
    tiles_of,
    write_project,
)
from tiny_model import use_store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A tracking database of the module's own."""
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def test_two_processes_write_the_tiles_and_scores_of_one(root: Path) -> None:
    one = infer(root, "validate_x")
    with launching_forks("builtup.prediction.infer"):
        two = infer(root, "validate_x", processes=2)
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
