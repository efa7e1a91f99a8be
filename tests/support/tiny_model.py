"""A network of one convolution, as a training leaves it, and a tracking database of its own."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from builtup.config import load as configs
from builtup.jobs.steps import Summary
from builtup.options import PolygonOptions

TRAINING = """
import torch
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet

seed, num_classes, num_epochs = 0, 2, 1
data_path, val_fold = "nowhere", None


def model():
    torch.manual_seed(0)
    return Segmenter(Channels("{channels}", (-15.0,) * 3, (5.0,) * 3), {network})
"""
WITH_CONTEXT = "torch.nn.Conv2d(3, 2, 5, padding=2)"
SINGLE_PIXELS = "torch.nn.Conv2d(3, 2, 1)"
SMALL_UNET = "SmallUNet(3, 2, (4, 8))"


def write_trained(folder: Path, network: str = WITH_CONTEXT, channels: str = "db_3b") -> Path:
    """A training's artifacts: config, weights, summary."""
    from builtup.runs.manifest import write_config

    folder.mkdir(parents=True)
    path = folder / "train.py"
    path.write_text(TRAINING.format(network=network, channels=channels))
    config = configs.load(path)
    write_config(config, folder / "config")
    (folder / "weights").mkdir()
    torch.save(config.build("model").state_dict(), folder / "weights" / "best.pt")
    (folder / "summary.json").write_text(json.dumps({"threshold": 0.4}))
    return folder


def map_scenes(**options: Any) -> list[Summary]:
    """`predict` by the names that the command line has for its options."""
    from builtup.prediction.predict import PredictOptions, predict
    from builtup.prediction.recipe import Recipe

    polygons = set(PolygonOptions._fields) & options.keys()
    recipe = {of.name for of in fields(Recipe)} & options.keys()
    return predict(
        Recipe(**{name: options.pop(name) for name in recipe}),
        PredictOptions(
            polygons=PolygonOptions(**{name: options.pop(name) for name in polygons}), **options
        ),
    )


def use_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """Track into a database below `root`."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    uri = f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name("Inferences") is None:
        client.create_experiment("Inferences", artifact_location=str(root / "mlruns"))
    return client
