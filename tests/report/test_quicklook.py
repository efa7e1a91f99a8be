"""The radar images of scenes that are stored as VV and VH."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import rasterio

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.report import quicklook as stored
from builtup.report.counts import shrunk
from builtup.report.image_source import find_images
from builtup.report.pictures import read_power
from builtup.runs.results import Results
from helpers import CRS, TRANSFORM, write_scene
from report_data import SHAPE, Maps, add_city

GRID = Grid(rasterio.CRS.from_user_input(CRS), TRANSFORM, *SHAPE[::-1])


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    """Predictions, and their scenes as VV and VH below `scenes` too."""
    made = add_city(tmp_path)
    for path in sorted(made.images.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            vh, vv = dataset.read([1, 2])
        write_scene(tmp_path / "scenes", date=path.stem.split("_")[-1], vv=vv, vh=vh)
    return made


def test_vv_and_vh_give_the_image_of_the_3_band_scenes(maps: Maps, tmp_path: Path) -> None:
    merged = find_images(Results(maps.folder), str(maps.images))["38SLF_Alpha"]
    found = find_images(Results(maps.folder), str(tmp_path / "scenes"))["38SLF_Alpha"]
    assert [(s.scene, s.date) for s in found] == [(s.scene, s.date) for s in merged]
    np.testing.assert_allclose(read_power(found, GRID), read_power(merged, GRID), rtol=1e-5)
    small = shrunk(GRID, 24)
    np.testing.assert_allclose(read_power(found, small), read_power(merged, small), rtol=1e-4)


def test_a_scene_is_read_in_parts_that_fit_together(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_images(Results(maps.folder), str(tmp_path / "scenes"))["38SLF_Alpha"]
    whole = read_power(found, GRID)
    monkeypatch.setattr(stored, "_PART", (16, 50))
    np.testing.assert_array_equal(read_power(found, GRID), whole)
    corner = GRID.window(70, 60, 20, 20)
    np.testing.assert_allclose(read_power(found, corner), whole[:, 60:80, 70:90], rtol=1e-6)
    (survey,) = {s.stored for s in found[:1]}
    assert survey is not None
    assert len(list(stored.read_parts(survey, corner))) < 10


def test_the_scenes_of_predict_are_those_that_its_run_names(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("Inferences", str(tmp_path / "mlruns")))
    client.log_param(run.info.run_id, "cfg/input_path", str(tmp_path / "scenes"))
    client.log_param(run.info.run_id, "cfg/units", "power")
    record = maps.folder / "inference.json"
    record.write_text(json.dumps({"run_id": run.info.run_id}))
    assert len(find_images(Results(maps.folder))["38SLF_Alpha"]) == 2
    assert len(find_images(Results(maps.folder, run.info.run_id))["38SLF_Alpha"]) == 2

    record.write_text(json.dumps({"run_id": "another"}))
    assert find_images(Results(maps.folder)) == {}
    assert "no radar images: run_id=another: no such run" in caplog.text


def test_a_scene_that_cannot_be_used_is_named(maps: Maps, tmp_path: Path) -> None:
    next((tmp_path / "scenes").rglob("*_vh_*")).unlink()
    with pytest.raises(InputError, match=r"no tile_stats.csv; as scenes of VV and VH: .*VH"):
        find_images(Results(maps.folder), str(tmp_path / "scenes"))
