"""Weights of scales: found again where they are known, fitted on levels, used by a fold."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from sklearn.metrics import jaccard_score

from builtup.cli import cli
from builtup.errors import BuiltupError, InputError
from builtup.prediction.cascade_fit import (
    _cross_entropy,
    _softmax,
    _uncovered,
    cascade_fit,
    fit_weights,
)
from builtup.runs.scale_weights import ScaleWeights
from helpers import TRANSFORM, speckle, write_raster, write_scene
from tiny_model import map_scenes, use_store, write_trained

CUT: dict[str, Any] = {"window": 64, "overlap": 16, "batch_size": 3, "device": "cpu"}


def test_weights_map_at_least_as_well_as_those_that_made_the_truth() -> None:
    generator = np.random.default_rng(0)
    logs = np.log(generator.dirichlet((1, 1, 1), (40_000, 2))).astype(np.float32)
    known = np.array([[0.5, 0.0, 1.2], [0.8, 1.0, 0.3]])
    score = (logs * known).sum(axis=1)
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    truth = (p.cumsum(axis=1) < generator.random((len(p), 1))).sum(axis=1).clip(0, 2)
    fit = fit_weights(logs, truth.astype(np.int64), (0, 1, 2))
    assert fit.miou == pytest.approx(miou((logs * fit.weights).sum(axis=1), truth))
    assert fit.plain == pytest.approx(miou(logs[:, 1], truth))
    assert fit.miou > miou(score, truth) > fit.plain


def test_the_factor_of_the_weights_is_that_of_the_likeliest_probabilities() -> None:
    generator = np.random.default_rng(2)
    fine = generator.dirichlet((1, 1), 40_000)
    truth = (generator.random(len(fine)) < fine[:, 1]).astype(np.int64)
    coarse = np.full_like(fine, 0.5)
    # probabilities as they were before they were sharpened threefold
    sharp = fine**3 / (fine**3).sum(axis=1, keepdims=True)
    fit = fit_weights(np.log(np.stack([coarse, sharp], axis=1)).astype(np.float32), truth, (0, 1))
    np.testing.assert_allclose(fit.weights[1], 1 / 3, atol=0.03)


def test_maps_without_an_error_make_no_weight_large() -> None:
    truth = np.tile(np.array([0, 1, 1], np.int64), 1000)
    fine = np.where(np.eye(3)[truth] > 0, 0.8, 0.1)  # the third class does not occur
    fit = fit_weights(np.log(np.stack([fine, fine], axis=1)).astype(np.float32), truth, (0, 1, 2))
    assert fit.miou == fit.plain == 1 and fit.weights.max() < 8


def test_a_scale_that_says_nothing_gets_no_weight() -> None:
    generator = np.random.default_rng(1)
    fine = generator.dirichlet((0.5, 0.5), 20_000)
    truth = (generator.random(len(fine)) < fine[:, 1]).astype(np.int64)
    noise = generator.dirichlet((1, 1), 20_000)
    fit = fit_weights(
        np.log(np.stack([noise, fine], axis=1) + 1e-6).astype(np.float32), truth, (0, 1)
    )
    assert fit.weights.min() >= 0 and fit.weights[0].max() < 0.06
    assert abs(fit.weights[1] - 1).max() < 0.1 and fit.miou >= fit.plain - 0.001


OF_CLASS = np.eye(4)[[0, 1, 1, 2, 0, 2]]  # the last class does not occur


@pytest.mark.parametrize(
    "loss", [partial(_cross_entropy, OF_CLASS), partial(_uncovered, OF_CLASS, [0, 2])]
)
def test_slopes_are_those_of_the_losses(loss: Any) -> None:
    generator = np.random.default_rng(3)
    score = generator.normal(size=(6, 4))
    found = loss(_softmax(score))[1].ravel()

    def value(flat: NDArray[np.float64]) -> float:
        return float(loss(_softmax(flat.reshape(score.shape)))[0])

    np.testing.assert_allclose(found, approx_fprime(score.ravel(), value), atol=1e-6)


def test_what_is_not_covered_by_hand() -> None:
    # of class 0: 1.2 of 2 + 1.4 − 1.2; of class 1: .8 of 1 + 1.6 − .8
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    of_class = np.eye(2)[[0, 0, 1]]
    assert _uncovered(of_class, [0, 1], p)[0] == pytest.approx(1 - (1.2 / 2.2 + 0.8 / 1.8) / 2)
    assert _uncovered(of_class, [1], p)[0] == pytest.approx(1 - 0.8 / 1.8)


def test_classes_that_are_not_scored_do_not_count() -> None:
    generator = np.random.default_rng(4)
    logs = np.log(generator.dirichlet((1, 1, 1), (5_000, 2))).astype(np.float32)
    truth = logs.sum(axis=1).argmax(axis=1).astype(np.int64)
    fit = fit_weights(logs, truth, (0, 1))
    of_scored = jaccard_score(truth, logs[:, 1].argmax(axis=1), average=None)[:2]
    assert fit.plain == pytest.approx(of_scored.mean())
    with pytest.raises(BuiltupError, match="no pixel of a class that is scored"):
        fit_weights(logs, np.full_like(truth, 2), (0, 1))


def miou(score: NDArray[Any], truth: NDArray[Any]) -> float:
    return float(jaccard_score(truth, score.argmax(axis=1), average="macro"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene, its mask, and its levels of two scales."""
    vv, vh = speckle((130, 150), 0.1, 1), speckle((130, 150), 0.02, 2)
    mask = np.zeros((130, 150), np.uint8)
    mask[40:80, 50:100] = 1
    for power in (vv, vh):
        power[40:80, 50:100] *= 8
        power[:10, :30] = np.nan
    mask[:10, :30] = 255
    write_scene(tmp_path / "test", "Alpha_2015", "38SLF", "20150101", vv=vv, vh=vh)
    write_trained(tmp_path / "trained")
    monkeypatch.chdir(tmp_path)
    use_store(tmp_path, monkeypatch)
    predict(tmp_path, fold="soft", scales=(0.5, 1.0))
    with rasterio.open(next((tmp_path / "out" / "raw").glob("s1a*prob*.tif"))) as dataset:
        transform = dataset.transform
        name = Path(dataset.name).name.replace("prob", "mask")
    write_raster(tmp_path / "masks" / "Alpha_2015" / name, mask, transform, nodata=255)
    return tmp_path


def predict(root: Path, **options: Any) -> None:
    own = {"model": str(root / "trained"), "output_path": str(root / "out"), **options}
    map_scenes(input_path=str(root / "test"), num_workers=1, **CUT, **own)


def test_weights_are_fitted_on_levels_and_used_without_predicting_again(root: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["cascade_fit", "--input_path", "out", "--gt_path", "masks"],
        catch_exceptions=False,
    )
    assert "use fold=logits:out and threshold=0.5" in result.output
    found = ScaleWeights.read(root / "out")
    assert found.scales == (0.5, 1.0) and found.classes == ("background", "building")
    beside = 41  # pixels of the gap's edge, of which the coarse level knows a part
    assert found.tuned_on == ("38SLF_Alpha",) and found.pixels == 130 * 150 - 300 - beside
    assert found.miou is not None and found.plain_miou is not None
    assert found.miou >= found.plain_miou
    before = [path.stat().st_mtime_ns for path in (root / "out" / "levels").rglob("*.tif")]
    predict(root, fold="logits:out")
    assert [p.stat().st_mtime_ns for p in (root / "out" / "levels").rglob("*.tif")] == before
    said = (root / "out" / "inference.json").read_text()
    assert f"logits {found.digest}" in said and '"fold_tuned_on"' in said


def test_the_run_of_the_network_keeps_its_weights(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = mlflow.MlflowClient()
    run = store.create_run("0", tags={"config": "tiny"})
    folder = Path(unquote(urlparse(run.info.artifact_uri).path))
    write_trained(folder)
    predict(root, model=run.info.run_id, fold="soft", scales=(0.5, 1.0))
    assert "use fold=logits" in (said := cascade_fit(input_path="out", gt_path=root / "masks"))
    assert "logits:" not in said
    assert ScaleWeights.read(folder) == (found := ScaleWeights.read(root / "out"))
    predict(root, model=run.info.run_id, fold="logits")  # wherever it predicts
    assert f"logits {found.digest}" in (root / "out" / "inference.json").read_text()
    assert "another network" not in caplog.text
    write_trained(root / "other", "torch.nn.Conv2d(3, 2, 1)")
    predict(root, model=str(root / "other"), output_path=str(root / "own"), fold=f"logits:{folder}")
    assert "its weights were fitted to another network; run cascade_fit again" in caplog.text


def test_what_cannot_be_fitted_is_named(root: Path) -> None:
    (root / "none").mkdir()
    with pytest.raises(InputError, match="none"):
        cascade_fit(input_path="out", gt_path=root / "none")
    for level in (root / "out" / "levels" / "0.5").glob("*.tif"):
        level.unlink()
    with pytest.raises(InputError, match="no levels of several scales"):
        cascade_fit(input_path="out", gt_path=root / "masks")
    path = next((root / "masks").rglob("*.tif"))
    write_raster(path, np.zeros((20, 20), np.uint8), TRANSFORM, nodata=255)
    with pytest.raises(InputError, match="not on the grid of"):
        cascade_fit(input_path="out", gt_path=root / "masks")
