"""The trained network as an MLflow model: read back without this package, registered, predicted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from builtup.config.launch import run_script
from builtup.errors import RunError
from builtup.runs import registry, tracking
from builtup.runs.lineage import find_artifacts
from builtup.runs.registry import Score
from builtup.training.checkpoints import load_trained
from builtup.training.export import ProbabilityMap, example_bands
from tiny_training import write_tiny

SCRIPT = Path(__file__).parents[2] / "code" / "scripts" / "training.py"


def train(folder: Path, overrides: str, extra: str = "") -> Any:
    run_script(SCRIPT, write_tiny(folder, extra), 1, f"log_model=true {overrides}")
    return tracking.newest_run("Trainings")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of its own: here the versions of models and their champions are counted."""
    root = tmp_path_factory.mktemp("registry")
    tracking.setup(root)
    return root


@pytest.fixture(scope="module")
def trained(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training whose model is logged, shared by the tests that read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(database))
        tracking.client()
        return train(tmp_path_factory.mktemp("trained"), "num_epochs=2 log_predictions=1")


def test_the_registered_model_gives_the_run_s_probabilities(trained: Any, project: Path) -> None:
    model = mlflow.pyfunc.load_model("models:/tiny@champion")
    own = load_trained(trained.info.run_id).model
    power = example_bands(3, 3, 64, 96).numpy()
    power[:, :, 5] = np.nan
    wanted = ProbabilityMap(own)(torch.from_numpy(power)).detach().numpy()
    np.testing.assert_allclose(model.predict(power), wanted, atol=1e-5)
    assert np.isnan(wanted[:, :, 5]).all()


def test_the_model_says_what_a_user_must_know(trained: Any, project: Path) -> None:
    info = mlflow.models.get_model_info("models:/tiny@champion")
    card = info.metadata
    summary = json.loads((tracking.run_artifacts(trained.info.run_id) / "summary.json").read_text())
    assert card["threshold"] == summary["threshold"]
    assert card["class_names"] == ["background", "building"]
    assert card["channels"]["set"] == "db_3b" and card["channels"]["std"] == [6.0] * 3
    assert card["training_run"] == trained.info.run_id
    assert card["input"].startswith("(N, 2 or 3, H, W) float32 linear power: VH, VV;")
    assert card["no_data"].startswith("NaN, infinite, at or below -9999")
    assert card["rule"] == "building where the probability of class 1 is at or above the threshold"
    assert [spec.shape for spec in info.signature.inputs] == [(-1, -1, -1, -1)]
    assert [spec.shape for spec in info.signature.outputs] == [(-1, 2, -1, -1)]
    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny@champion"))
    example = json.loads((folder / "input_example.json").read_text())
    assert np.shape(example) == (1, 2, 32, 32)
    held = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not held & {".pkl", ".pth", ".py", ".pt"}


def test_a_model_of_the_registry_stands_for_its_run(trained: Any, project: Path) -> None:
    folder, run_id = find_artifacts("models:/tiny@champion")
    assert run_id == trained.info.run_id
    assert (folder / "weights" / "best.pt").is_file()
    assert load_trained("models:/tiny/1").run_id == run_id
    with pytest.raises(RunError, match="models:/tiny@nobody: no such model"):
        load_trained("models:/tiny@nobody")


def test_mlflow_models_predict_works_without_this_package(
    trained: Any, project: Path, tmp_path: Path
) -> None:
    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny@champion"))
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(folder)]
    command += ["-i", str(folder / "serving_input_example.json"), "-o", str(found)]
    hidden = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MLFLOW_RUN_ID"}}
    done = subprocess.run(
        [*command, "--env-manager", "local"],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
        env=hidden,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    values = np.array(json.loads(found.read_text())["predictions"], np.float64)
    assert values.shape == (1, 2, 32, 32)
    own = load_trained(trained.info.run_id).model
    wanted = ProbabilityMap(own)(example_bands()).detach().numpy()
    np.testing.assert_allclose(values, wanted, atol=1e-5)


def test_mlflow_has_no_public_way_to_save_an_example() -> None:
    """Where this fails, `model_log` can take it in place of the private `_save_example`."""
    names = [*dir(mlflow.models), *dir(mlflow.models.utils)]
    assert [name for name in names if name.endswith("save_example")] == ["_save_example"]


def test_a_training_leaves_curves_and_pictures_of_the_extremes(trained: Any, project: Path) -> None:
    folder = tracking.run_artifacts(trained.info.run_id)
    names = {path.name for path in (folder / "curves").iterdir()}
    assert names == {
        f"{name}.{kind}"
        for name in ("precision_recall", "calibration", "confusion")
        for kind in ("png", "json")
    }
    for city in ("City0", "City1"):
        pictures = {path.name.partition("_")[0] for path in (folder / "pictures" / city).iterdir()}
        assert pictures == {"best", "median", "worst"}
    metrics = trained.data.metrics
    assert {"val/worst_city_f1", "val/average_precision", "val/calibration_error"} <= set(metrics)
    assert metrics["val/worst_city_f1"] == min(
        metrics[f"val/{city}/f1"] for city in ("City0", "City1")
    )
    assert len(trained.data.tags["weights_sha256"]) == 64


def test_what_torch_cannot_export_is_logged_with_its_config(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = """

class Capricious(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) > -1e9 else -x[:, :2]


def model():
    return Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), Capricious(3, 2, 1))
"""
    with caplog.at_level(logging.WARNING):
        run = train(tmp_path, "num_epochs=1 log_predictions=0 register=odd", extra)
    assert run.info.status == "FINISHED"
    assert sum("Capricious cannot be exported" in record.message for record in caplog.records) == 1
    model = mlflow.pyfunc.load_model("models:/odd@champion")
    power = example_bands(1, 2, 32, 32)
    own = load_trained(run.info.run_id).model
    wanted = ProbabilityMap(own)(power).detach().numpy()
    np.testing.assert_allclose(model.predict(power.numpy()), wanted, atol=1e-6)


def test_the_alias_moves_only_with_a_line_that_says_so(
    trained: Any, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tracking.client()
    model_id = mlflow.models.get_model_info("models:/tiny@champion").model_id

    def champion() -> str:
        return str(own.get_registered_model("contest").aliases.get("champion"))

    with caplog.at_level(logging.INFO):
        registry.register(model_id, "contest", Score(0.5, "A", "x"))
        registry.register(model_id, "contest", Score(0.4, "A", "x"))
        assert champion() == "1"
        registry.register(model_id, "contest", Score(0.7, "A", "x"))
        assert champion() == "3"
        registry.register(model_id, "contest", Score(0.1, "B", "y"), champion=True)
        assert champion() == "4"
    lines = [r.message for r in caplog.records if r.message.startswith("contest version")]
    assert [("is @champion" in line) for line in lines] == [True, False, True, True]
    assert "in place of version 3: as asked for" in lines[-1]
