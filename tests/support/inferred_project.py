"""Two cities, their tiles and folds, a trained run, and the configs of inferences."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import rasterio
import torch

from builtup.config import load as configs
from builtup.config.launch import run_script
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
from helpers import ROOT, TRANSFORM, speckle, write_raster

SCRIPT = ROOT / "code" / "scripts" / "inference.py"
SIZE = 60
TRAINING = """
import torch
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 2, 1
data_path, val_fold = "{data}", "38SLF_Alpha"


def model():
    return Segmenter(Channels("linear_3b", (0.1,) * 3, (0.1,) * 3), torch.nn.Conv2d(3, 2, 1))
"""
INFERENCE = """
run_id, data_path, has_targets = "{run}", "{data}", {targets}
window, overlap, batch_size = 16, 4, 3
tta, save_overlays, device = "hflip", 2, "cpu"
"""


def write_project(root: Path) -> Path:
    """Two cities of two dates, their tiles and folds, a trained run and the configs."""
    for number, (city, tile) in enumerate((("Alpha", "38SLF"), ("Beta", "38RPV"))):
        shift = TRANSFORM.translation(200_000 * number, 0) @ TRANSFORM
        for date in ("20150101", "20150113"):
            write_city(root, city, tile, date, shift)
    for kind in ("images", "masks"):
        generate_tiles(
            input_path=root / kind,
            output_path=root / "tiles" / kind,
            tile_size=32,
            overlap=8,
            materialize=True,
            num_workers=1,
        )
    tiles = root / "tiles"
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds="city", blocks="2x2", gap=4, num_workers=1
    )
    (root / "train.py").write_text(TRAINING.format(data=tiles))
    write_run(root)
    write_config(root, "validate_x", tiles, True)
    write_config(root, "test_x", tiles / "images", False)
    return root


def write_city(root: Path, city: str, tile: str, date: str, transform: object) -> None:
    vh, vv = speckle((SIZE, SIZE), 0.1, int(date)), speckle((SIZE, SIZE), 0.2, int(date) + 1)
    vh[20:40, 20:50] += 0.5
    power = np.stack([vh, vv, (vh + vv) / 2])
    power[:, :10, :15] = np.nan
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:40, 20:50] = 1
    mask[:10, :15] = 255
    folder = f"{city}_2015"
    image = root / "images" / folder / f"s1a_{tile}_3b_ASC_{date}.tif"
    write_raster(image, power.astype(np.float32), transform, nodata=float("nan"))  # type: ignore
    name = f"s1a_{tile}_mask_ASC_{date}.tif"
    write_raster(root / "masks" / folder / name, mask, transform, nodata=255)  # type: ignore


def write_run(root: Path) -> None:
    """What a training leaves: its config, weights and summary."""
    from builtup.runs.manifest import write_config as log_config

    config = configs.load(root / "train.py")
    log_config(config, root / "trained" / "config")
    model = config.build("model")
    with torch.no_grad():  # built-up where VH is far above its mean
        model.network.weight.zero_()
        model.network.weight[1, 0] = 1.0
        model.network.bias.copy_(torch.tensor([0.0, -2.5]))
    (root / "trained" / "weights").mkdir(parents=True)
    torch.save(model.state_dict(), root / "trained" / "weights" / "best.pt")
    (root / "trained" / "summary.json").write_text(json.dumps({"threshold": 0.4}))


def write_config(root: Path, name: str, data: Path, targets: bool) -> Path:
    path = root / f"{name}.py"
    path.write_text(INFERENCE.format(run=root / "trained", data=data, targets=targets))
    return path


def infer(root: Path, name: str, overrides: str = "", processes: int = 1) -> mlflow.entities.Run:
    run_script(SCRIPT, root / f"{name}.py", processes, overrides)
    experiment = mlflow.get_experiment_by_name("Inferences")
    return mlflow.MlflowClient().search_runs([experiment.experiment_id], max_results=1)[0]


def tiles_of(run: mlflow.entities.Run) -> dict[str, np.ndarray]:
    found = {}
    folder = Path(run.info.artifact_uri) / "raw"
    for path in sorted(folder.rglob("tile_*.tif")):
        with rasterio.open(path) as dataset:
            found[str(path.relative_to(folder))] = dataset.read()
    return found
