"""What an inference is made of, from its config, and what it says to MLflow."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ignite.distributed as idist
import numpy as np
import torch

from builtup.config.device import pick_device
from builtup.config.load import Config
from builtup.errors import ConfigError
from builtup.geo.probability import moved_threshold
from builtup.prediction.backends import BACKENDS
from builtup.prediction.network import make_stream
from builtup.prediction.resume import (
    Previous,
    find_previous,
    predictions_of,
    require_same,
    require_same_data,
)
from builtup.prediction.selection import Selection, select_all, select_held_out
from builtup.prediction.tiles import Tally, TileWork
from builtup.prediction.windows import Stream
from builtup.runs import tracking
from builtup.runs.lineage import find_artifacts, tuned_ground
from builtup.runs.manifest import DataManifest, git_commit, used_data, write_config
from builtup.runs.records import MARK, InferenceRecord
from builtup.runs.tracking import Recorder
from builtup.scoring.counts import scores
from builtup.sensors.classes import Classes
from builtup.training.checkpoints import (
    Trained,
    load_state,
    load_trained,
    set_weights,
    weights_digest,
)

if TYPE_CHECKING:
    from builtup.prediction.backends.int8 import Quantisation

__all__ = ["Plan", "log_plan", "log_tally", "make_work", "output_folder", "plan", "upload"]

log = logging.getLogger(__name__)

#: Weights that a training keeps.
NAMED = {"best", "last", "soup"}


@dataclass(frozen=True)
class Plan:
    """The tiles, what predicts them, and the run that this was learnt in."""

    selection: Selection
    stream: Stream
    trained: Trained
    threshold: float
    record: InferenceRecord
    previous: Path | None


def plan(config: Config) -> Plan:
    """Load the trained model and the list of tiles; refuse what cannot work before any run.

    Raises ConfigError, RunError or InputError, in one line.
    """
    before = find_previous(config)
    backend = _backend(config, before)
    trained = _trained(config)
    selection = _selection(config, trained)
    temperature = _temperature(config, trained)
    stream = _stream(config, trained, selection, temperature, backend)
    record = InferenceRecord(
        training_run=trained.run_id,
        weights=weights_digest(trained.model.state_dict()),
        classes=trained.class_names,
        tta=_tta(config),
        window=stream.window,
        overlap=stream.overlap,
        blend=stream.blend,
        held_out=selection.fold_name,
        temperature=temperature,
        backend=stream.backend,
    )
    if before is not None:
        require_same(config, before.record, record)
        require_same_data(config, before.folder, selection.tiles)
    threshold = _threshold(config, trained, temperature)
    folder = None if before is None else before.folder
    return Plan(selection, stream, trained, threshold, record, folder)


def _selection(config: Config, trained: Trained) -> Selection:
    """The tiles; those to be scored lie in ground that the training held out."""
    data_path = Path(config.data_path)
    if not config.has_targets:
        return select_all(data_path)
    selection = select_held_out(data_path, config.get("val_fold", trained.held_out))
    fold = selection.fold_name
    # a city holds its blocks: one of them was learnt from, or all
    seen = [n for n in trained.trained_on if fold == n or _is_block(fold, n) or _is_block(n, fold)]
    if seen:
        raise ConfigError(
            f"{config.path}: val_fold = {fold}: the training run {trained.run_id} learnt from "
            f"{', '.join(seen)} and held out {trained.held_out}; leave val_fold out, or map these "
            "tiles with a test_ config"
        )
    return selection


def _is_block(name: str, city: str) -> bool:
    return name.startswith(f"{city}/")


def _trained(config: Config) -> Trained:
    """The model of the training run, or of this config's own `model()` with that run's weights."""
    which = config.get("weights", "best")
    source = config.run_id or _newest_training(config)
    if not config.has("model"):
        if which not in NAMED:
            return load_trained(which)
        return load_trained(source, which)
    trained = load_trained(source)
    path = Path(which)
    if which in NAMED:
        path = find_artifacts(source)[0] / "weights" / f"{which}.pt"
    model = config.build("model")
    set_weights(model, load_state(path), path)
    return replace(trained, model=model.eval())


def _newest_training(config: Config) -> str:
    """The newest finished training of the config `of`, else of the namesake: validate_X names X."""
    name = config.get("of") or config.path.stem.removeprefix("validate_").removeprefix("test_")
    if name in {"validate", "test"}:
        raise ConfigError(
            f"{config.path}: run_id and of are empty; give run_id=<a training run>, or "
            "of=<the name of a training config>"
        )
    run = tracking.newest_run("Trainings", config=name)
    log.info("run_id is empty: the newest finished training of %s is %s", name, run.info.run_id)
    return str(run.info.run_id)


def _stream(
    config: Config,
    trained: Trained,
    selection: Selection,
    temperature: float | None,
    backend: str,
) -> Stream:
    window, overlap = config.get("window", 512), config.get("overlap", 64)
    if window is None:  # a tile at a time
        window = max(max(tile.width, tile.height) for tile in selection.tiles)
        overlap = 0
    overlap = 64 if overlap is None else overlap
    quantised = None
    if backend == "openvino-int8":
        from builtup.prediction.backends.int8 import quantised_network

        quantised = quantised_network(
            _quantisation(config, trained, window, overlap, temperature or 1.0)
        )
    return make_stream(
        trained.model,
        window=window,
        overlap=overlap,
        batch_size=config.get("batch_size", 4),
        tta=_tta(config),
        device=pick_device(config.get("device", "auto"), config.path),
        amp=config.get("amp") is not False,
        num_classes=max(2, len(trained.class_names)),
        blend=config.get("blend", "ramp"),
        temperatures=(temperature or 1.0,),
        backend=backend,
        quantised=quantised,
        decoders=config.get("decoders"),
    )


def _quantisation(
    config: Config, trained: Trained, window: int, overlap: int, temperature: float
) -> Quantisation:
    """What the 8-bit network is made from: the training run's own data, or `calibration_path`."""
    from builtup.prediction.backends.int8 import Quantisation

    given = config.get("calibration_path")
    data = {"data_path": Path(given)} if given else {}
    return Quantisation.of(
        trained,
        threshold=moved_threshold(trained.threshold, temperature),
        window=window,
        overlap=overlap,
        temperature=temperature,
        **data,
    )


def _tta(config: Config) -> str:
    name = config.get("tta")
    if name in (None, False, ""):
        return "none"
    if not isinstance(name, str):
        raise ConfigError(f"{config.path}: tta = {name!r}: expected none, hflip, rotations or d4")
    return name


def _temperature(config: Config, trained: Trained) -> float | None:
    """What logits are divided by: a number, that of the training run, or nothing."""
    given = config.get("temperature")
    if given in (None, ""):
        return None
    if given == "run":
        if trained.temperature is None:
            raise ConfigError(
                f"{config.path}: temperature = run: the training run {trained.run_id} has none; "
                "take one with validation, a fold of cross_validate, or give a number"
            )
        return trained.temperature
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise ConfigError(
            f"{config.path}: temperature = {given!r}: expected run or a number above 0"
        )
    return value


def _threshold(config: Config, trained: Trained, temperature: float | None) -> float:
    """The threshold of this inference's probabilities; that of the run is moved with them."""
    given = config.get("threshold")
    if given in (None, ""):
        return moved_threshold(trained.threshold, temperature)
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ConfigError(f"{config.path}: threshold = {given!r}: expected a number in (0, 1]")
    return value


def _backend(config: Config, before: Previous | None) -> str:
    """The setting `backend`; `auto` goes on with what it chose before."""
    name = config.get("backend", "torch")
    if name not in BACKENDS:
        raise ConfigError(f"{config.path}: backend = {name!r}: unknown; use {', '.join(BACKENDS)}")
    return before.record.backend if name == "auto" and before else str(name)


def output_folder(recorder: Recorder) -> Path:
    """Where the run's predictions go: its artifacts, or output/predictions/<run id>."""
    return predictions_of(recorder.run_id) if recorder.run_id else recorder.folder


def upload(recorder: Recorder, folder: Path) -> None:
    """Upload predictions, their record and pictures where the artifact store is not local."""
    if recorder.run_id and folder != recorder.folder:
        log.info("uploading %s to run %s", folder, recorder.run_id)
        tracking.client().log_artifacts(recorder.run_id, str(folder))


def make_work(config: Config, prepared: Plan, folder: Path, run_id: str) -> TileWork:
    """What this process does with each of its tiles."""
    pictures = config.get("save_overlays", False)
    return TileWork(
        selection=prepared.selection,
        stream=prepared.stream,
        folder=folder,
        run_id=run_id,
        threshold=prepared.threshold,
        classes=prepared.trained.class_names,
        save=config.get("save_raw_predictions", True),
        scored=config.has_targets,
        overlays=len(prepared.selection.tiles) if pictures is True else int(pictures),
        previous=prepared.previous,
    )


def log_plan(config: Config, prepared: Plan, recorder: Recorder, folder: Path) -> None:
    """Log settings, provenance and the config before the first tile."""
    write_config(config, recorder.folder / "config")
    prepared.record.write(folder)
    recorder.params(
        {
            **config.settings,
            "threshold": prepared.threshold,
            "overrides": " ".join(config.overrides),
            "processes": idist.get_world_size(),
        }
    )
    recorder.tags(
        {
            "training_run": prepared.trained.run_id,
            "config": config.path.stem,
            "git_commit": git_commit(),
            "fold": prepared.selection.fold_name,
            "city": ", ".join(prepared.selection.cities),
            "weights_sha256": prepared.record.weights,
        }
    )
    tiles = prepared.selection.tiles
    manifest = DataManifest.of(Path(config.data_path), tiles)
    manifest.write(folder)
    recorder.inputs([used_data(tiles, manifest, "inference")])
    log.info(
        "%d tiles of %s, threshold %.3f",
        len(prepared.selection.tiles),
        ", ".join(prepared.selection.cities),
        prepared.threshold,
    )


def log_tally(work: TileWork, tally: Tally, seconds: float, recorder: Recorder) -> None:
    """Sum what the processes did; log counts, rate and scores (all processes must call this)."""
    counts = torch.tensor([tally.predicted, tally.kept, tally.pixels, len(tally.pictures)])
    predicted, kept, pixels, pictures = _summed(counts)
    matrix = np.array(_summed(torch.from_numpy(tally.matrix))).reshape(tally.matrix.shape)
    slowest = float(idist.all_reduce(seconds, op="MAX"))
    figures = {
        "tiles": float(predicted + kept),
        "tiles_predicted": float(predicted),
        "overlays": float(pictures),
        "seconds": slowest,
        "pixels_per_second": pixels / slowest if pixels else float("nan"),
    }
    log.info(
        "%d tiles predicted, %d kept from before, %.1f Mpx in %.1f s (%.2f Mpx/s)",
        *(predicted, kept, pixels / 1e6, slowest, pixels / 1e6 / slowest),
    )
    if work.scored:
        figures |= _scores(work.selection.cities, matrix, Classes.of(work.classes))
        if idist.get_rank() == 0:
            _say_scores(work, figures, recorder)
    recorder.metrics(figures, step=0)


def _say_scores(work: TileWork, figures: dict[str, float], recorder: Recorder) -> None:
    """The headline, marked where its ground chose the threshold or the weights."""
    tuned = tuned_ground(work.folder)
    marked = [city for city in work.selection.cities if tuned.on(city)]
    recorder.tags({"tuned_on": ", ".join(marked) or "nothing"})
    mark = f" ({MARK} {', '.join(marked)})" if marked else ""
    log.info(
        "building F1 %.3f, IoU %.3f at the threshold%s", figures["val/f1"], figures["val/iou"], mark
    )


def _scores(cities: tuple[str, ...], matrix: np.ndarray, classes: Classes) -> dict[str, float]:
    """Scores over all cities and for each."""
    found = {f"val/{name}": value for name, value in scores(matrix.sum(axis=0), classes).items()}
    for city, counts in zip(cities, matrix, strict=True):
        found |= {f"val/{city}/{name}": value for name, value in scores(counts, classes).items()}
    return found


def _summed(counts: torch.Tensor) -> list[int]:
    """Integer counts summed over the processes, as a flat list."""
    total = idist.all_reduce(counts.to(idist.device()).to(torch.int64).flatten())
    return [int(value) for value in total.tolist()]
