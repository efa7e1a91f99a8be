"""Self-training: a network maps scenes that nobody labelled, and learns from its maps of them.

predict → pseudo_labels → generate_tiles_stats → training, each a step that is not done again: a
call that was stopped goes on where it was, the training from its last checkpoint.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builtup.config import load as configs
from builtup.config.overrides import split_overrides
from builtup.errors import BuiltupError
from builtup.jobs.digests import sha256_of
from builtup.maps.cell_shares import cell_shares
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.prediction.adapt import ADAPTED
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs import tracking
from builtup.runs.lineage import find_artifacts
from builtup.runs.model_file import SHIPPED_FILE, find_model_file, model_file_name
from builtup.runs.recorder import unset
from builtup.sensors.radar.merge import generate_3b_images
from builtup.sensors.scene_files import require_folder
from builtup.studies.launch_runs import FoldTask, data_digest, train_fold, training_key
from builtup.tiles.cut import generate_tiles
from builtup.tiles.prepare import TRAIN_TILING
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.training.pseudo_record import PseudoRecord
from builtup.training.tagged import SharesRecord

__all__ = ["self_train", "weight_of_cells"]

log = logging.getLogger(__name__)

#: Folders below the output: the teacher's maps, scenes of three bands, tiles, and their labels.
TEACHER, IMAGES, TILES, PSEUDO = "teacher", "images_3b", "tiles", "pseudo"
#: Up to so many pixels a side of its cells the lesson of shares counts as much as the labels.
FULL_WEIGHT = 32
#: Overrides that are made here.
_OURS = ("teacher", "adapted", "data_path")


def self_train(
    *,
    model: str,
    input_path: str,
    output_path: Path,
    student: str = "configs/selftrain/radar.py",
    overrides: str = "",
    tta: str = "d4",
    source: str = "city",
    max_std: float | None = None,
    shares_path: str = "",
    shares_full: float = 1.0,
    num_workers: int = 2,
    tell: Callable[..., None] = lambda *summaries: None,
) -> list[str]:
    """Train a student of `model` on the scenes of a split; return the lines to print at the end.

    `model` is what `predict` takes, `student` a config that has the settings teacher, adapted and
    data_path; `tta`, `source` and `max_std` are those of the teacher's maps (see `predict` and
    `pseudo_labels`). `shares_path` is a coarse raster of built-up shares, `shares_full` its value
    of a cell that is built-up all over. Below `output_path` stand the teacher's maps, tiles and
    labels; the student is a run of Trainings. `tell` gets the summaries as steps end. Raises
    BuiltupError, in one line, for what one of the steps refuses.
    """
    for name in split_overrides(overrides):
        if name[0] in _OURS:
            raise BuiltupError(f"overrides: {name[0]} is set by self_train itself; leave it out")
    split, teacher = require_folder(Path(input_path)), _teacher(model)
    maps, tiles, pseudo = (output_path / name for name in (TEACHER, TILES, PSEUDO))
    with unset("MLFLOW_RUN_ID"):  # the maps and the training are runs of their own
        tell(
            *predict(
                Recipe(model, tta=tta),
                PredictOptions(
                    input_path, str(maps), run_name=f"teacher of {output_path}",
                    num_workers=num_workers,
                ),
            )
        )  # fmt: skip
    size, overlap = TRAIN_TILING
    how: dict[str, Any] = {"num_workers": num_workers}
    tell(generate_3b_images(input_path=split, output_path=output_path / IMAGES, **how))
    tell(
        generate_tiles(
            input_path=output_path / IMAGES, output_path=tiles / "images",
            tile_size=size, overlap=overlap, materialize=False, **how,
        )
    )  # fmt: skip
    tell(
        pseudo_labels(
            input_path=str(maps), tiles_path=tiles, output_path=pseudo,
            source=source, max_std=max_std, **how,
        )
    )  # fmt: skip
    own = [f"teacher={teacher}", f"adapted={maps / ADAPTED}", f"data_path={pseudo}"]
    if shares_path:
        layer = Path(shares_path)
        tell(cell_shares(shares_path=layer, tiles_path=pseudo, full=shares_full, **how))
        if "shares_weight" not in dict(split_overrides(overrides)):
            cell = SharesRecord.read(pseudo).cell
            own.append(f"shares_weight={weight_of_cells(cell):.4g}")
    tell(generate_tiles_stats(input_path=pseudo, output_path=pseudo, **how))
    text = " ".join([overrides, *map(shlex.quote, own)]).strip()
    task = _task(Path(student), text, pseudo)
    with unset("MLFLOW_RUN_ID"):
        run = train_fold(task, "", 1)
    tracking.link(training_run=run.run_id)
    return [
        f"student:  run {run.run_id}, of {task.city}",
        f"weights:  {run.folder / 'weights' / 'best.pt'}",
        f"map with: builtup predict --model {run.run_id} --input_path {shlex.quote(input_path)}",
    ]


def weight_of_cells(cell: int) -> float:
    """What the lesson of shares of cells of so many pixels a side counts beside the labels.

    A large cell has one figure for many pixels, so that it counts by its area: F1 on San Francisco
    went from .80 to .92 by cells of 32 pixels, and to .73 by cells of 100 that counted as much.
    """
    return min(1.0, (FULL_WEIGHT / cell) ** 2)


def _teacher(model: str) -> str:
    """The teacher by a name that means the same later: files as they are, else the run's id."""
    file = find_model_file(model)
    if file is not None:
        return model_file_name(file) if file == SHIPPED_FILE else str(file.absolute())
    folder, run_id = find_artifacts(model)
    return str(Path(model).absolute()) if Path(model).exists() else run_id or str(folder)


def _task(student: Path, overrides: str, pseudo: Path) -> FoldTask:
    """The training, known by its settings, its data and its labels."""
    config = configs.load(student, overrides)
    config.require("data_path", "seed", "num_epochs", "num_classes", "teacher")
    labels: list[Any] = [PseudoRecord.read(pseudo).to_json()]
    labels += [sha256_of(path) for path in sorted((pseudo / "shares").glob("*/*.tif"))]
    data = json.dumps([data_digest(pseudo), labels], default=str)
    cities = sorted({t.tile.city for t in read_tile_stats(pseudo / TILE_STATS_CSV)})
    key = training_key(config, data)
    return FoldTask("", ", ".join(cities), config.seed, student, overrides, config, key)
