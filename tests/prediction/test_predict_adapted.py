"""Networks that are adapted to what `predict` maps, and what is said of ground unlike theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from shapely import box

from builtup.errors import InputError
from builtup.geo.probability import NODATA
from builtup.geo.vectors import layer_metadata
from builtup.maps.validate import validate
from builtup.prediction.recipe import SIMULATED_ONLY
from builtup.runs.manifest import DataManifest
from builtup.runs.results import read_tags
from builtup.sensors.scene_files import SIMULATED
from helpers import TRANSFORM, write_polygons
from predicted_project import rasters, run, write_project
from tiny_model import use_store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("predict"))


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def test_a_network_of_simulated_ground_is_doubted_on_any_other(root: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    shutil.copytree(root / "trained", trained)
    DataManifest(folder="tiles", simulated=True).write(trained)
    run(root, tmp_path / "out", model=str(trained), tta="none")
    place = tmp_path / "out" / "raw"
    assert read_tags(place / "38SLF_Alpha.tif").doubts[0] == SIMULATED_ONLY
    assert layer_metadata(place / "38SLF_Alpha.gpkg")["BUILTUP_DOUBTS"].startswith(SIMULATED_ONLY)
    item = json.loads((place / "38SLF_Alpha.json").read_text())
    assert item["properties"]["builtup:doubts"][0] == SIMULATED_ONLY
    simulated = tmp_path / "simulated"
    shutil.copytree(root / "test", simulated)
    for city in simulated.iterdir():
        (city / SIMULATED).write_text("{}")
    run(root, tmp_path / "own", model=str(trained), input_path=str(simulated))
    assert SIMULATED_ONLY not in read_tags(tmp_path / "own" / "raw" / "38SLF_Alpha.tif").doubts


def mean_of(folder: Path, name: str = "38SLF_Alpha_prob.tif") -> float:
    values = rasters(folder)[name]
    return float(values[values != NODATA].mean())


def test_a_network_is_adapted_to_each_scene_or_to_the_dates_of_a_city(
    root: Path, tmp_path: Path
) -> None:
    how = {"model": str(root / "normalised")}
    made = {mode: run(root, tmp_path / mode, adapt=mode, **how) for mode in ("scene", "city")}
    plain = run(root, tmp_path / "none", adapt="none", **how)
    assert [made[mode][0].line().split(",")[0] for mode in made] == [
        "adapt: 3 scenes",
        "adapt: 2 scenes",
    ]
    assert plain[0].step == "predict"
    assert not (tmp_path / "none" / "adapted").exists()
    of_city = sorted(path.name for path in (tmp_path / "city" / "adapted").glob("*.safetensors"))
    assert of_city == ["38SLF_Alpha.safetensors", "38SMB_Beta.safetensors"]
    tag = read_tags(tmp_path / "city" / "raw" / "38SLF_Alpha.tif").adapted
    assert tag.startswith("city, weight 0.8, ")
    assert len({mean_of(tmp_path / mode) for mode in ("scene", "city", "none")}) == 3
    again = run(root, tmp_path / "scene", adapt="scene", **how)
    assert all("nothing to do" in summary.line() for summary in again)
    item = json.loads((tmp_path / "scene" / "inference.json").read_text())
    assert item["adapt"] == "scene:0.8"
    with pytest.raises(InputError, match="predicted otherwise"):
        run(root, tmp_path / "scene", adapt="scene:0.5", input_path=f"{root}/test/Beta_2015", **how)


def test_a_date_that_joins_a_city_changes_what_all_its_dates_are_adapted_to(
    root: Path, tmp_path: Path
) -> None:
    how = {"model": str(root / "normalised"), "adapt": "city"}
    first = root / "test" / "Alpha_2015"
    dates = sorted(first.rglob("*_vv_*.tif"))
    run(root, tmp_path / "out", input_path=str(dates[0].parent), **how)
    more = run(root, tmp_path / "out", input_path=str(first), **how)
    assert (more[0].done, more[1].done) == (1, 2)
    run(root, tmp_path / "fresh", input_path=str(first), **how)
    for name, values in rasters(tmp_path / "fresh").items():
        np.testing.assert_array_equal(values, rasters(tmp_path / "out")[name])


def test_a_network_without_batch_normalisation_is_left_as_it_is(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        summaries = run(root, tmp_path / "out", adapt="scene")
    assert summaries[0].step == "predict"
    assert "adapt=scene: the network has no layer of batch normalisation" in caplog.text
    assert read_tags(tmp_path / "out" / "raw" / "38SLF_Alpha.tif").adapted == ""


def test_scores_of_ground_that_was_adapted_to_say_so(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "out", model=str(root / "normalised"), adapt="scene")
    write_polygons(
        tmp_path / "truth" / "Alpha_2015" / "38SLF_Alpha.shp",
        [box(*TRANSFORM * (50, 80), *TRANSFORM * (100, 40))],
    )
    table = validate(preds_path=str(tmp_path / "out"), gt_path=tmp_path / "truth")
    assert "was adapted to the scenes of 38SLF_Alpha" in table
    scores = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert scores["cities"]["38SLF_Alpha"]["transductive"] is True
