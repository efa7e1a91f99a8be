"""Toy chains of three classes: from tiles to maps by the project's own scripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import rasterio
from numpy.typing import NDArray

from builtup.config.launch import run_script
from helpers import ROOT

INFERENCE = """
run_id, data_path, has_targets = "{run}", "{tiles}", {targets}
window, overlap, tta, save_overlays, device = 32, 8, "hflip", 1, "cpu"
"""


@dataclass(frozen=True)
class Chain:
    """The folder of a chain, its truth by city or site, and the artifacts of its runs."""

    root: Path
    truth: dict[str, NDArray[np.uint8]]
    trained: Path
    predicted: Path

    @property
    def tiles(self) -> Path:
        return self.root / "tiles"


def run_of(experiment: str) -> mlflow.entities.Run:
    """The newest run of an experiment."""
    client = mlflow.MlflowClient()
    known = client.get_experiment_by_name(experiment)
    return client.search_runs([known.experiment_id], max_results=1)[0]


def train(path: Path, config: str) -> Path:
    """The artifacts of a training by a config that is written to `path`."""
    path.write_text(config)
    run_script(ROOT / "code" / "scripts" / "training.py", path, 1, "")
    return Path(run_of("Trainings").info.artifact_uri)


def infer(path: Path, run: Path, tiles: Path, *, targets: bool, extra: str = "") -> Path:
    """The artifacts of an inference of tiles with a training's network."""
    path.write_text(INFERENCE.format(run=run, tiles=tiles, targets=targets) + extra)
    run_script(ROOT / "code" / "scripts" / "inference.py", path, 1, "")
    return Path(run_of("Inferences").info.artifact_uri)


def read(path: Path) -> NDArray[np.uint8]:
    """All bands of a raster."""
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
    return values
