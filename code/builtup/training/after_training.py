"""What follows the last training step: curves, pictures of the extremes, the MLflow model."""

from __future__ import annotations

import copy
import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_low

import ignite.distributed as idist
import numpy as np
from torch import nn

from builtup.config.load import Config
from builtup.data.datasets import TrainTiles, ValidationTiles
from builtup.errors import ConfigError
from builtup.geo.lengths import pixel_metres
from builtup.geo.probability import IGNORE, LEVELS, SCALE
from builtup.geo.rasters import gdal_env, open_raster
from builtup.models.segmenter import Segmenter
from builtup.runs import registry
from builtup.runs.going_on import INFERENCE, command
from builtup.runs.manifest import DataManifest, used_data
from builtup.runs.recorder import Recorder
from builtup.runs.records import Summary
from builtup.scoring.charts import write_curves
from builtup.scoring.tables import three_decimals
from builtup.sensors.texture import Texture
from builtup.tiles.tile import Tile, read_bands
from builtup.training.build import Data
from builtup.training.checkpoints import Progress, load_state, set_weights, weights_digest
from builtup.training.learner import Learner
from builtup.training.model_log import Card, log_model
from builtup.training.temperature import temperature_on
from builtup.training.tile_pictures import PictureMaker

__all__ = ["check_registration", "finish"]

log = logging.getLogger(__name__)

#: Tiles whose texture and labels are looked at, at most.
GROUND_TILES = 32
#: The `data_path` of configs/inference/validate.py.
TILES = "input/train_tiles"


def check_registration(config: Config) -> None:
    """Refuse, before anything is trained, what would fail once the model is logged.

    Raises ConfigError.
    """
    registry.model_name(config.name, config.register)
    if config.register and not config.log_model:
        raise ConfigError(
            f"{config.path}: register = {config.register}, but log_model = False logs no model; "
            "leave one of them out"
        )


def finish(
    config: Config, data: Data, learner: Learner, progress: Progress, recorder: Recorder
) -> None:
    """Describe the best weights of a training that has ended (rank 0).

    Writes curves/ and pictures/<city>/ of the best validation, fits the temperature on its ground,
    notes what the ground learnt from is like, and logs and registers the model where `log_model`
    asks for it. A model that cannot be logged is a warning, not an error: the weights are there.
    """
    if idist.get_rank() != 0:
        return
    model = _best(learner, recorder.folder)
    recorder.tags({"weights_sha256": weights_digest(model.state_dict())})
    _keep_ground(model, data, recorder)
    best = progress.best
    if best is not None and best.histogram is not None:  # not in older checkpoints
        figures = write_curves(
            recorder.folder / "curves",
            np.array(best.histogram, np.int64),
            best.confusion,
            data.classes,
            best.threshold,
        )
        recorder.metrics(
            {f"val/{name}": value for name, value in figures.items()}, progress.best_iteration
        )
    if best is not None and data.val is not None and isinstance(data.val.dataset, ValidationTiles):
        temperature = temperature_on(model, data.val.dataset)
        _keep_temperature(temperature, data, progress, recorder)
    if best is not None and config.log_predictions > 0:
        PictureMaker(learner, data, recorder, 0).extremes(model, best.tiles)
    if config.log_model and recorder.run_id:
        _log_model(config, data, model, progress, recorder)
    _say_outcome(config, data, progress, recorder)


def _say_outcome(config: Config, data: Data, progress: Progress, recorder: Recorder) -> None:
    """The last lines: what came of it, where it is, and what comes next."""
    summary = Summary.read(recorder.folder)
    threshold = 0.5 if summary.threshold is None else summary.threshold
    by_threshold = data.classes.by_threshold  # more classes are decided by the largest probability
    decided = f", threshold {threshold:.3f}" if by_threshold else ""
    if progress.best is None:
        why = "no score was defined" if data.val is not None else "without validation"
        log.info("%s: the last weights, iteration %d%s", why, progress.iteration, decided)
    else:
        name, score = config.val_metrics[0], progress.best_score
        if by_threshold:
            name, score = "F1", progress.best.threshold_f1
        log.info(
            "best: iteration %d of %d%s with %s %s on %s",
            *(progress.best_iteration, progress.iteration, decided, name, three_decimals(score)),
            ", ".join(data.val_cities) or "the validation samples",
        )
    log.info("weights: %s", recorder.folder / "weights" / "best.pt")
    if recorder.run_id:
        wanted, tiles = f"run_id={recorder.run_id}", config.get("data_path", TILES)
        if data.train.held_out:  # the tiles that it held out; others would be those to map
            wanted += "" if tiles == TILES else f" data_path={shlex.quote(tiles)}"
        path = f"configs/inference/{'validate' if data.train.held_out else 'test'}.py"
        log.info("next: %s", command(path, wanted, INFERENCE))


def _best(learner: Learner, folder: Path) -> nn.Module:
    path = folder / "weights" / "best.pt"
    model = copy.deepcopy(learner.weights)
    set_weights(model, load_state(path), path)
    return model.eval()


def _keep_temperature(
    temperature: float | None, data: Data, progress: Progress, recorder: Recorder
) -> None:
    """Into the summary, for inferences with temperature=run; nothing where none can be fitted."""
    if temperature is None:
        return
    recorder.metrics({"val/temperature": temperature}, progress.best_iteration)
    replace(
        Summary.read(recorder.folder),
        temperature=temperature,
        temperature_tuned_on=tuple(data.val_cities),
    ).write(recorder.folder)


def _keep_ground(model: nn.Module, data: Data, recorder: Recorder) -> None:
    """Into the summary, for predictions that ask whether a scene is like what was learnt from:
    its texture, the side of its pixels and the share of the mapped class.

    Nothing for a model that says no sensor, and for tiles that have no files.
    """
    tiles = [getattr(tile, "tile", tile) for tile in data.train.sample_tiles or ()]
    if not isinstance(model, Segmenter) or not all(isinstance(tile, Tile) for tile in tiles):
        return
    sensor = model.channels.sensor
    spread = [tiles[i] for i in _spread(len(tiles))]
    texture = Texture(sensor)
    for _ in texture.passing(read_bands(tile, sensor) for tile in spread):
        pass
    metres = _metres(spread) if sensor.metres is None else None
    reference = getattr(getattr(data.train.dataset, "pixels", None), "reference", None)
    metres = metres if reference is None else reference  # whatever the tiles' own pixels are
    share = _share(model, data)
    known = replace(
        Summary.read(recorder.folder), texture=texture.median, metres=metres, share=share
    )
    known.write(recorder.folder)


def _spread(tiles: int) -> list[int]:
    """The numbers of at most GROUND_TILES of so many tiles, evenly spread."""
    most = min(tiles, GROUND_TILES)
    return [i * tiles // most for i in range(most)]


def _share(model: Segmenter, data: Data) -> float | None:
    """The share of the mapped class among the labelled pixels that training may learn from, of soft
    labels its mean probability; None where there are none, or a band a class."""
    learnt = getattr(data.train, "dataset", None)
    if not isinstance(learnt, TrainTiles) or learnt.mask_bands > 1:
        return None
    dataset = ValidationTiles(
        [learnt.tiles[i] for i in _spread(len(learnt.tiles))],
        learnt.tiles,
        learnt.folds,
        learnt.val_fold,
        of_training=True,
        sensor=model.channels.sensor,
    )
    counts = np.zeros(IGNORE + 1, np.int64)
    for number in range(len(dataset)):
        counts += np.bincount(dataset[number]["mask"].numpy().ravel(), minlength=IGNORE + 1)
    labelled = counts[:IGNORE].sum()
    if not labelled:
        return None
    if learnt.soft:
        return float(counts[:LEVELS] @ np.arange(LEVELS) / SCALE / labelled)
    return float(counts[data.classes.mapped_index] / labelled)


def _metres(tiles: Sequence[Tile]) -> float | None:
    """The side of a pixel of most tiles, where it is known: a scene counts by what is learnt of it,
    so that two small ones do not outvote a large one."""
    sizes: dict[Path, float | None] = {}
    for path in {tile.path for tile in tiles}:
        with gdal_env(), open_raster(path) as dataset:
            sizes[path] = pixel_metres(dataset)
    found = [metres for tile in tiles if (metres := sizes[tile.path]) is not None]
    return round(median_low(found), 6) if found else None


def _log_model(
    config: Config, data: Data, model: nn.Module, progress: Progress, recorder: Recorder
) -> None:
    from mlflow.exceptions import MlflowException

    best = progress.best
    summary = Summary.read(recorder.folder)
    card = Card(
        class_names=data.classes.names,
        threshold=0.5 if summary.threshold is None else summary.threshold,
        threshold_tuned_on=summary.threshold_tuned_on or (),
        channels=model.channels.describe() if isinstance(model, Segmenter) else {},
        training_run=recorder.run_id,
        config=config.name,
        fold=data.train.held_out,
    )
    step = progress.best_iteration if best else progress.iteration
    recorder.flush()  # else MLflow could be away here, too
    score = registry.Score(_f1(progress), data.train.held_out, _digest(data, recorder.folder))
    name = registry.model_name(config.name, config.register)
    try:
        logged = log_model(
            model, card, recorder.folder / "config", run_id=recorder.run_id, step=step
        )
        champion = True if config.register else None
        registry.register(logged.model_id, name, score, champion=champion)
    except (MlflowException, OSError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        log.warning("the model is not logged (%s); its weights are in %s", reason, recorder.folder)


def _f1(progress: Progress) -> float:
    f1 = None if progress.best is None else progress.best.scores.get("f1")
    return float("nan") if f1 is None else float(f1)


def _digest(data: Data, folder: Path) -> str:
    """A digest of what was trained and validated on; empty where tiles have no files."""
    manifest = DataManifest.find(folder)
    if manifest is None:
        return ""
    loaders = [loader for loader in (data.train, data.val) if loader is not None]
    return " ".join(used_data(loader.sample_tiles or (), manifest, "").digest for loader in loaders)
