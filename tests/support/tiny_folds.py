"""Tiny cities with folds, and a config that learns from them in seconds."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from builtup.errors import BuiltupError
from builtup.tiles.stats import generate_tiles_stats
from helpers import speckle
from tile_data import add_scene, moved, tile_all

CONFIG = """
import torch
from torch import nn

from builtup.data import loaders
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter

seed, num_classes, num_epochs = 0, 2, 2
data_path = "{data}"
val_fold = 0
batch_size, num_workers, lr, hidden = 4, 0, 0.02, 6
ema_decay = 0.8
log_predictions = 0
device = "cpu"


class Net(nn.Sequential):
    stride = 4


def model():
    layers = [nn.Conv2d(3, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 2, 1)]
    return Segmenter(Channels("db_3b", (-15.0,) * 3, (6.0,) * 3), Net(*layers))


def train_loader():
    return loaders.train_loader(
        data_path, val_fold=val_fold, batch_size=batch_size, crop=32, seed=seed,
        drop_common=folds_drop, threshold_fold=threshold_fold,
    )


def val_loader():
    return loaders.val_loader(data_path, val_fold=val_fold, batch_size=batch_size)


def criterion():
    return CrossEntropy(1.0, 1.0)


def optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=lr)
"""


def town(shape: tuple[int, int], seed: int, buildings: int = 6) -> tuple[NDArray, NDArray]:
    """Power (3, H, W) with bright squares, and its mask (H, W)."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for _ in range(buildings):
        y, x = (int(generator.integers(0, n - 12)) for n in shape)
        mask[y : y + 12, x : x + 12] = 1
    vh, vv = speckle(shape, 0.02, seed), speckle(shape, 0.1, seed + 1)
    vh, vv = vh * (1 + 8 * mask), vv * (1 + 8 * mask)
    power = np.stack([vh, vv, (vh + vv) / 2]).astype(np.float32)
    power[:, :, :3] = np.nan
    mask[:, :3] = 255
    return power, mask


def write_cities(
    root: Path,
    cities: tuple[str, ...] = ("Alpha", "Beta", "Gamma"),
    *,
    shape: tuple[int, int] = (96, 96),
    dates: tuple[str, ...] = ("20150101",),
    folds: str = "city",
    empty: str = "",
) -> Path:
    """Scenes, masks, tiles and folds of cities far from one another; give the tiles' folder."""
    for number, city in enumerate(cities):
        for date in dates:
            buildings = 0 if city == empty else 6
            image, mask = town(shape, 10 * number + int(date) % 7, buildings)
            add_scene(
                root,
                f"{city}_2015",
                f"38S{chr(ord('A') + number)}{chr(ord('A') + number)}",
                date,
                transform=moved(2000 * number, 0),
                image=image,
                mask=mask,
            )
    tiles = tile_all(root, size=48, overlap=8)
    generate_tiles_stats(
        input_path=tiles, output_path=tiles, folds=folds, blocks="2x2", gap=4, num_workers=1
    )
    return tiles


def write_config(root: Path, tiles: Path, name: str = "tiny") -> Path:
    path = root / f"{name}.py"
    path.write_text(CONFIG.replace("{data}", str(tiles)))
    return path


def enter(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a project's folder and database the current ones."""
    from builtup.runs import tracking

    patch.chdir(root)
    patch.delenv("MLFLOW_RUN_ID", raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", tracking.database_uri(root))
    tracking.client()


def newest_parent(name: str = "tiny") -> Any:
    """The newest finished cross-validation of a config."""
    from builtup.runs import tracking

    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings")
    return own.search_runs(
        [experiment.experiment_id],
        filter_string=f"tags.cross_validation_of = '{name}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )[0]


def children(parent: Any) -> list[Any]:
    """The runs of its folds."""
    from builtup.runs import tracking

    return tracking.client().search_runs(
        [parent.info.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
    )


def train_in_threads(patch: pytest.MonkeyPatch) -> list[str]:
    """Train each fold in a thread: a process of its own takes ten seconds to start."""
    from builtup.studies import launch_runs as runs

    started: list[str] = []

    def run(arguments: list[str], run_id: str, watched: Any = None) -> int:
        options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
        started.append(options["--overrides"])
        failed: list[BaseException] = []
        thread = threading.Thread(target=_train, args=(options, run_id, failed))
        thread.start()  # MLflow's active run is the thread's own
        thread.join()
        for error in failed:
            if not isinstance(error, BuiltupError):
                raise error
        return 1 if failed else 0

    patch.setattr(runs, "_run", run)
    return started


def _train(options: dict[str, str], run_id: str, failed: list[BaseException]) -> None:
    from builtup.config.launch import run_script

    assert shlex.split(options["--overrides"])
    before = os.environ.get("MLFLOW_RUN_ID")
    os.environ["MLFLOW_RUN_ID"] = run_id
    try:
        script, path = Path(options["--script_path"]), Path(options["--config_path"])
        run_script(script, path, int(options["--num_gpus"]), options["--overrides"])
    except BaseException as e:  # noqa: BLE001 (carried to the test's thread)
        failed.append(e)
    finally:
        os.environ.pop("MLFLOW_RUN_ID", None)
        if before is not None:
            os.environ["MLFLOW_RUN_ID"] = before
