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
from builtup.errors import BuiltupError, InputError
from builtup.jobs.digests import sha256_of
from builtup.jobs.files import write_text_atomically
from builtup.maps.cell_shares import cell_shares
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.models.channels import channels_of, sensor_of_model
from builtup.prediction.adapt import ADAPTED
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe, load
from builtup.runs import tracking
from builtup.runs.lineage import find_artifacts
from builtup.runs.model_file import SHIPPED_FILE, find_model_file, model_file_name
from builtup.runs.recorder import unset
from builtup.sensors.catalogue import DEFAULT, layers_of
from builtup.sensors.classes import Classes
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.sensors.optical.label_colours import classes_table
from builtup.sensors.radar.merge import generate_3b_images
from builtup.sensors.scene_files import require_folder
from builtup.studies.launch_runs import FoldTask, data_digest, train_fold, training_key
from builtup.tiles.cut import generate_tiles
from builtup.tiles.prepare import TRAIN_TILING
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TILE_STATS_CSV, read_tile_stats
from builtup.training.checkpoints import Trained
from builtup.training.pseudo_record import PseudoRecord
from builtup.training.tagged import SharesRecord

__all__ = ["self_train", "weight_of_cells"]

log = logging.getLogger(__name__)

#: Folders below the output: the teacher's maps, scenes of three bands, tiles, and their labels;
#: of pictures that were not imported before, those that were.
TEACHER, IMAGES, TILES, PSEUDO, SCENES = "teacher", "images_3b", "tiles", "pseudo", "scenes"
#: Up to so many pixels a side of its cells the lesson of shares counts as much as the labels.
FULL_WEIGHT = 32
#: Settings of a student's config that are made here, where it has them: `soft_path` is where one
#: that learns from labels of its own data reads soft labels, beside `data_path`.
_OURS = ("teacher", "adapted", "data_path", "soft_path")
#: The students of configs/selftrain, by whether scenes are images.
STUDENTS = {False: "configs/selftrain/radar.py", True: "configs/selftrain/aerial.py"}


def self_train(
    *,
    model: str,
    input_path: str,
    output_path: Path,
    student: str = "",
    overrides: str = "",
    tta: str = "d4",
    source: str = "city",
    max_std: float | None = None,
    shares_path: str = "",
    shares_full: float = 1.0,
    num_workers: int = 2,
    tell: Callable[..., None] = lambda *summaries: None,
) -> list[str]:
    """Train a student of `model` on the scenes of a split, or on images; return the lines to print.

    `model` is what `predict` takes, `student` a config that has some of the settings teacher,
    adapted, data_path and soft_path, of which the last takes the place of data_path (none: by the
    model's sensor). Images are a folder that `import_scenes` wrote, or one of pictures. `tta`,
    `source` and `max_std` are those of the teacher's maps (see `predict` and `pseudo_labels`).
    `shares_path` is a coarse raster of built-up shares, `shares_full` its value of a cell that is
    built-up all over. Below `output_path` stand the teacher's maps, tiles and
    labels; the student is a run of Trainings. `tell` gets the summaries as steps end. Raises
    BuiltupError, in one line, for what one of the steps refuses.
    """
    split, teacher = require_folder(Path(input_path)), _teacher(model)
    maps, tiles, pseudo = (output_path / name for name in (TEACHER, TILES, PSEUDO))
    how: dict[str, Any] = {"num_workers": num_workers}
    recipe = Recipe(model, tta=tta)
    loaded = load(recipe)
    trained = loaded.trained
    of_images = sensor_of_model(trained.model) is not DEFAULT
    config_path = Path(student or STUDENTS[of_images])
    ours = _require_ours(config_path, overrides)
    scenes = split
    if of_images:
        scenes, source = _images(split, output_path, trained.classes, source, tell, **how), "scene"
    layers = _layers_of(trained, scenes) if "teacher" in ours else []  # else the student's own
    with unset("MLFLOW_RUN_ID"):  # the maps and the training are runs of their own
        tell(
            *predict(
                recipe,
                PredictOptions(
                    str(scenes), str(maps), run_name=f"teacher of {output_path}",
                    probabilities=of_images, **how,
                ),
            )
        )  # fmt: skip
    size, overlap = TRAIN_TILING
    if not of_images:
        scenes = output_path / IMAGES
        tell(generate_3b_images(input_path=split, output_path=scenes, **how))
    for folder, place in ((scenes, tiles / "images"), *((at, tiles / at.name) for at in layers)):
        tell(
            generate_tiles(
                input_path=folder, output_path=place,
                tile_size=size, overlap=overlap, materialize=False, **how,
            )
        )  # fmt: skip
    tell(
        pseudo_labels(
            input_path=str(maps), tiles_path=tiles, output_path=pseudo,
            source=source, max_std=max_std, **how,
        )
    )  # fmt: skip
    made = {"teacher": teacher, "data_path": pseudo, "soft_path": pseudo}
    # of maps made before, a teacher that is not adapted now may have left files there
    made["adapted"] = maps / ADAPTED if loaded.adapt.is_on else ""
    own = [f"{name}={made[name]}" for name in ours]
    if shares_path:
        layer = Path(shares_path)
        tell(cell_shares(shares_path=layer, tiles_path=pseudo, full=shares_full, **how))
        if "shares_weight" not in dict(split_overrides(overrides)):
            cell = SharesRecord.read(pseudo).cell
            own.append(f"shares_weight={weight_of_cells(cell):.4g}")
    tell(generate_tiles_stats(input_path=pseudo, output_path=pseudo, **how))
    own += _pixels_of(trained, config_path, overrides)
    own += _classes_of(trained, config_path, overrides)
    own += _channels_of(trained, overrides) if layers else []
    text = " ".join([overrides, *map(shlex.quote, own)]).strip()
    task = _task(config_path, text, pseudo)
    with unset("MLFLOW_RUN_ID"):
        run = train_fold(task, "", 1)
    tracking.link(training_run=run.run_id)
    return [
        f"student:  run {run.run_id}, of {task.city}",
        f"weights:  {run.folder / 'weights' / 'best.pt'}",
        f"map with: builtup predict --model {run.run_id} --input_path {shlex.quote(input_path)}",
    ]


def _require_ours(student: Path, overrides: str) -> list[str]:
    """The settings of a student that are made here; BuiltupError where one is overridden too.

    Of a config that reads soft labels by a setting of their own, data_path is that of its labels.
    """
    config = configs.load(student, overrides)
    ours = [name for name in _OURS if config.states(name)]
    if "soft_path" in ours and "data_path" in ours:
        ours.remove("data_path")
    for name, _ in split_overrides(overrides):
        if name in ours:
            raise BuiltupError(f"overrides: {name} is set by self_train itself; leave it out")
    return ours


def _pixels_of(teacher: Trained, student: Path, overrides: str) -> list[str]:
    """The override by which a student sees pixels of the size that its teacher does, where it says
    nothing itself."""
    reference = teacher.settings.get("reference_pixel")
    config = configs.load(student, overrides)
    if reference is None or config.get("reference_pixel") is not None:
        return []
    log.info("the student sees pixels of %g m, as its teacher", reference)
    return [f"reference_pixel={reference}"]


def _classes_of(teacher: Trained, student: Path, overrides: str) -> list[str]:
    """The overrides by which a student has as many classes as its teacher, each drawn alike."""
    count = len(teacher.classes.names)
    config, said = configs.load(student, overrides), dict(split_overrides(overrides))
    if "num_classes" in said or config.num_classes == count:
        return []
    log.info("the student has %d classes, as its teacher", count)
    own = [f"num_classes={count}"]
    if config.get("sampler_weights") is not None and "sampler_weights" not in said:
        own.append("sampler_weights=" + ",".join(["1.0"] * count))
    return own


def _layers_of(teacher: Trained, images: Path) -> list[Path]:
    """The folders beside images of the layers that a teacher is fed; InputError without one."""
    channels = channels_of(teacher.model)
    folders = [images.parent / name for name in layers_of(channels.channel_set)] if channels else []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                folder,
                "no such folder, and the teacher reads this layer",
                "run import_scenes on images with their elevations, or take another teacher",
            )
    return folders


def _channels_of(teacher: Trained, overrides: str) -> list[str]:
    """The override by which a student is fed the layers that its teacher is."""
    channels = channels_of(teacher.model)
    if channels is None or "channel_set" in dict(split_overrides(overrides)):
        return []
    log.info("the student is fed %s, as its teacher", channels.channel_set)
    return [f"channel_set={channels.channel_set}"]


def _images(
    folder: Path,
    output: Path,
    classes: Classes,
    source: str,
    tell: Callable[..., None],
    **how: Any,
) -> Path:
    """The images of a folder in the form of all steps: its own, or imported without labels."""
    if source == "city":
        log.info("images are maps of their own: labels are those of each scene")
    for place in (folder / "images", folder):
        if place.is_dir() and any(place.rglob("*_image.tif")):
            return place
    root = folder.parent if folder.name == "images" else folder
    if not (root / "images").is_dir():
        raise InputError(
            folder,
            "no images in it as import_scenes writes them, and no folder images/ of pictures",
            "put the pictures into a folder images/, or run import_scenes first",
        )
    table = output / "teacher_classes.csv"
    write_text_atomically(table, classes_table(classes))
    scenes = output / SCENES
    tell(
        import_scenes(
            input_path=root, output_path=scenes, layout="chips", classes=str(table), **how
        )
    )
    return scenes / "images"


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
    config.require("data_path", "seed", "num_epochs", "num_classes")
    labels: list[Any] = [PseudoRecord.read(pseudo).to_json()]
    labels += [sha256_of(path) for path in sorted((pseudo / "shares").glob("*/*.tif"))]
    data = json.dumps([data_digest(pseudo), labels], default=str)
    cities = sorted({t.tile.city for t in read_tile_stats(pseudo / TILE_STATS_CSV)})
    key = training_key(config, data)
    return FoldTask("", ", ".join(cities), config.seed, student, overrides, config, key)
