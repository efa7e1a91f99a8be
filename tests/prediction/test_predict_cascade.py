"""`predict` at several scales: the levels, the maps, what is done again and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from builtup.errors import ConfigError
from builtup.jobs.steps import Summary
from helpers import speckle, write_scene
from tiny_model import SMALL_UNET, map_scenes, use_store, write_trained

SIZE = (150, 180)
NAME = "s1a_38SLF_prob_20150101.tif"
CUT: dict[str, Any] = {"window": 64, "overlap": 16, "batch_size": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cascade")
    vv, vh = speckle(SIZE, 0.1, 1), speckle(SIZE, 0.02, 2)
    for power in (vv, vh):
        power[40:80, 50:100] *= 8
        power[:10, :30] = np.nan
    write_scene(root / "test", "Alpha_2015", "38SLF", "20150101", vv=vv, vh=vh)
    write_trained(root / "trained")
    write_trained(root / "normalised", SMALL_UNET)
    return root


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def run(root: Path, output: Path, **options: Any) -> list[Summary]:
    settings = {"model": str(root / "trained"), "input_path": str(root / "test"), **CUT}
    return map_scenes(**{**settings, "output_path": str(output), "num_workers": 1, **options})


def raster(folder: Path) -> NDArray[np.uint8]:
    (path,) = (folder / "raw").glob("s1a_*prob*.tif")
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
        return values


@pytest.mark.parametrize(("model", "adapt"), [("trained", "none"), ("normalised", "scene")])
def test_without_alpha_a_cascade_is_plain_prediction(
    root: Path, tmp_path: Path, model: str, adapt: str
) -> None:
    """Of the network as it is, and of one that is adapted to the scene."""
    how = {"model": str(root / model), "adapt": adapt}
    run(root, tmp_path / "plain", **how)
    run(root, tmp_path / "vote", fold="vote", alpha=0.0, **how)
    run(root, tmp_path / "third", fold="vote", **how)
    plain = raster(tmp_path / "plain")
    np.testing.assert_array_equal(plain, raster(tmp_path / "vote"))
    third = raster(tmp_path / "third")
    np.testing.assert_array_equal(plain == 255, third == 255)
    assert not np.array_equal(plain, third)


def test_a_cascade_leaves_levels_and_the_maps_of_any_prediction(root: Path, tmp_path: Path) -> None:
    predicted, *maps = run(root, tmp_path, fold="soft", stride=2, blend="gaussian")
    assert predicted.done == 1 and [summary.done for summary in maps] == [1, 1, 1]
    levels = sorted(path.parent.name for path in (tmp_path / "levels").rglob("*.tif"))
    assert levels == ["0.25", "0.5", "1"]
    names = {path.name for path in (tmp_path / "raw").iterdir()}
    assert {"38SLF_Alpha.tif", "38SLF_Alpha_prob.tif", "38SLF_Alpha.gpkg"} <= names
    said = json.loads((tmp_path / "inference.json").read_text())
    assert said["fold"] == "soft, alpha 0.3333, scales by 2"
    assert (said["overlap"], said["blend"]) == (32, "gaussian")

    before = raster(tmp_path)
    again, *_ = run(root, tmp_path, fold="soft", stride=2, blend="gaussian")
    assert (again.done, again.up_to_date) == (0, 1)
    other, *_ = run(root, tmp_path, fold="mean", stride=2, blend="gaussian")
    assert other.done == 1 and other.counts == {"windows": 0}  # folded anew, not predicted
    assert not np.array_equal(before, raster(tmp_path))


def test_scales_are_those_that_are_named(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path, fold="mean", scales=(0.3, 1.0, 1.5))
    levels = sorted(path.parent.name for path in (tmp_path / "levels").rglob("*.tif"))
    assert levels == ["0.3", "1", "1.5"]
    assert json.loads((tmp_path / "inference.json").read_text())["fold"] == "mean, scales 0.3;1;1.5"


def test_a_plain_prediction_s_record_knows_no_fold(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path)
    assert "fold" not in (tmp_path / "inference.json").read_text()
    assert not (tmp_path / "levels").exists()


def test_scales_alone_are_refused_where_no_weights_are_fitted(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"say fold=soft, mean or vote, or run cascade_fit on"):
        run(root, tmp_path / "out", scales=(0.5, 1.0))
    assert not (tmp_path / "out" / "raw").exists()


def test_scales_that_make_no_sense_are_refused_before_anything_is_written(
    root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="fold=soft goes from coarse to 1, never above"):
        run(root, tmp_path / "out", fold="soft", scales=(0.5, 2.0))
    assert not (tmp_path / "out").exists()
