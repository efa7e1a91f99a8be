"""The tiles of an inference config: what they are predicted with, and what MLflow is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from numpy.typing import NDArray

from builtup.config.load import Config
from builtup.data.pixels import PixelSizes
from builtup.errors import ConfigError
from builtup.prediction.earlier_run import find_earlier, require_same, require_same_data
from builtup.prediction.fitted_tiles import adapted_cities, networks_of
from builtup.prediction.fold import ALPHA
from builtup.prediction.recipe import Loaded, Recipe, ready
from builtup.prediction.tiles import (
    Selection,
    Tally,
    TileWork,
    inputs_for,
    predict_tiles,
    select_all,
    select_held_out,
)
from builtup.prediction.tta import TTA_SETS
from builtup.prediction.whole_scenes import (
    predict_whole_scenes,
    require_whole_scenes,
    scenes_of,
)
from builtup.runs import tracking
from builtup.runs.lineage import find_artifacts, tuned_ground
from builtup.runs.manifest import DataManifest, git_commit, used_data, write_config
from builtup.runs.recorder import Recorder
from builtup.runs.records import MARK, TRANSDUCTIVE, InferenceRecord, Tuned
from builtup.scoring.counts import scores
from builtup.sensors.radar.names import current_key
from builtup.tiles.inputs import TileInputs
from builtup.training.checkpoints import Trained, load_state, load_trained, set_weights
from builtup.training.learnt_ground import Held, LearntGround

__all__ = [
    "Plan",
    "log_plan",
    "log_tally",
    "make_work",
    "output_folder",
    "plan",
    "predict_share",
    "run_name",
    "upload",
]

log = logging.getLogger(__name__)

#: Weights that a training keeps.
NAMED = {"best", "last", "soup"}


@dataclass(frozen=True)
class Plan:
    """The tiles, what predicts them, and the folder of the earlier run to go on with, if any."""

    selection: Selection
    loaded: Loaded
    inputs: TileInputs
    pixels: PixelSizes
    previous: Path | None = None

    def record(self, *, simulated: bool = False) -> InferenceRecord:
        """What the pixels depend on; the ground may be simulated itself."""
        record = self.loaded.record(self.selection.fold_name, simulated=simulated)
        as_they_are = all(map(self.pixels.near, self.selection.tiles))
        return record if as_they_are else replace(record, reference_pixel=self.pixels.reference)


def plan(config: Config) -> Plan:
    """Load the trained model and the list of tiles; refuse what cannot work before any run.

    Raises ConfigError, RunError or InputError, in one line.
    """
    before = find_earlier(config)
    trained = _trained(config)
    selection = _selection(config, trained)
    inputs = inputs_for(trained.model, Path(config.data_path), selection)
    pixels = PixelSizes.of_maps(selection.tiles, trained.settings.get("reference_pixel"))
    recipe = _recipe(config, trained, selection, pixels)
    if before is not None and recipe.backend == "auto":  # go on with what it chose
        recipe = replace(recipe, backend=before.record.backend)
    with _naming(config):
        loaded = ready(recipe, trained)
        _check_by(config, loaded, selection, pixels)
    if before is None:
        return Plan(selection, loaded, inputs, pixels)
    prepared = Plan(selection, loaded, inputs, pixels, before.folder)
    require_same(config, before.record, prepared.record())
    require_same_data(config, before.folder, selection.tiles)
    return prepared


def _check_by(config: Config, loaded: Loaded, selection: Selection, pixels: PixelSizes) -> None:
    """ConfigError where scenes cannot be predicted by what the config says."""
    by = config.get("by", "tiles")
    if by not in {"tiles", "scenes"}:
        raise ConfigError(f"by={by}: unknown; use tiles or scenes")
    if by == "scenes":
        require_whole_scenes(Path(config.data_path), selection.tiles, pixels)
        if not config.get("save_raw_predictions", True):
            raise ConfigError("save_raw_predictions=False: by='scenes' writes what it scores")
    elif loaded.cascade is not None:
        raise ConfigError(
            f"fold={loaded.cascade.folding.kind}: several scales need whole scenes, not tiles; set "
            "by='scenes'"
        )


def predict_share(config: Config, prepared: Plan, work: TileWork) -> Tally:
    """Predict this process's share of the tiles, or of the scenes."""
    rank, processes, tiles = idist.get_rank(), idist.get_world_size(), work.selection.tiles
    if config.get("by", "tiles") == "tiles":
        return predict_tiles(work, tiles[rank::processes], quiet=rank > 0)
    scenes = scenes_of(tiles)[rank::processes]
    cascade, settings = prepared.loaded.cascade, prepared.record().settings()
    return predict_whole_scenes(work, scenes, cascade, settings, quiet=rank > 0)


def _selection(config: Config, trained: Trained) -> Selection:
    """The tiles; those to be scored lie in ground that the training held out."""
    data_path = Path(config.data_path)
    if not config.has_targets:
        return select_all(data_path)
    selection = select_held_out(data_path, config.get("val_fold", trained.held_out))
    fold = selection.fold_name
    # a city holds its blocks: one of them was learnt from, or all
    own, learnt = current_key(fold), {n: current_key(n) for n in trained.trained_on}
    seen = [n for n, k in learnt.items() if own == k or _is_block(own, k) or _is_block(k, own)]
    if seen:
        raise ConfigError(
            f"{config.path}: val_fold = {fold}: the training run {trained.run_id} learnt from "
            f"{', '.join(seen)} and held out {trained.held_out}; leave val_fold out, or map these "
            "tiles with a test_ config"
        )
    _require_unseen(config, trained, fold)
    return selection


def _require_unseen(config: Config, trained: Trained, fold: str) -> None:
    """LeakageError where the ground of the fold was learnt from, whatever it was called then."""
    known = None if trained.folder is None else LearntGround.find(trained.folder)
    if known is not None:
        remedy = "give the data_path of that run, or map these tiles with a test_ config"
        source = f"the training run {trained.run_id}"
        known.require_unseen(
            Held.of_fold(Path(config.data_path), fold), config.path, source, remedy
        )


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
    """The newest finished training of the config `of`, else of the namesake: validate_X names X.

    Of a config that names none it is the newest training of all.
    """
    name = config.get("of") or config.path.stem.removeprefix("validate_").removeprefix("test_")
    if name in {"validate", "test"}:
        run = tracking.newest_run("Trainings")
        log.warning(
            "run_id and of are empty: the newest finished training is %s, %s",
            *(run.info.run_id, run.data.tags.get("config", "of an unknown config")),
        )
    else:
        run = tracking.newest_run("Trainings", config=name)
        log.info("run_id is empty: the newest finished training of %s is %s", name, run.info.run_id)
    return str(run.info.run_id)


def _recipe(config: Config, trained: Trained, selection: Selection, pixels: PixelSizes) -> Recipe:
    window, overlap = config.get("window", 512), config.get("overlap", 64)
    if window is None:  # a tile at a time
        window, overlap = max(max(pixels.shape(tile)) for tile in selection.tiles), 0
    return Recipe(
        model=trained.run_id,
        tta=_tta(config),
        window=window,
        overlap=64 if overlap is None else overlap,
        batch_size=config.get("batch_size", 4),
        blend=config.get("blend", "ramp"),
        stride=config.get("stride"),
        fold=config.get("fold", ""),
        scales=config.get("scales", ()),
        exponent=config.get("exponent", 2.0),
        alpha=config.get("alpha", ALPHA),
        threshold=_text(config.get("threshold")),
        temperature=_text(config.get("temperature")),
        device=config.get("device", "auto"),
        backend=config.get("backend", "torch"),
        decoders=config.get("decoders"),
        amp=config.get("amp") is not False,
        calibration_path=_text(config.get("calibration_path")),
        adapt=config.get("adapt", "none"),
    )


def _text(value: Any) -> str:
    """A setting that may be a number as an option of the command line has it."""
    return "" if value is None else str(value)


def _tta(config: Config) -> str:
    name = config.get("tta")
    if name in (None, False, ""):
        return "none"
    if not isinstance(name, str):
        raise ConfigError(f"{config.path}: tta = {name!r}: expected one of {', '.join(TTA_SETS)}")
    return name


@contextmanager
def _naming(config: Config) -> Iterator[None]:
    """Name the config where its settings make no sense."""
    try:
        yield
    except ConfigError as e:
        raise ConfigError(f"{config.path}: {e}") from e


# --- a run --------------------------------------------------------------------------------------


def run_name(config: Config, prepared: Plan) -> str:
    """What the run does, as its name: `validate Mosul`, `test Aleppo 2015`."""
    places = tracking.listed_places((tile.city, tile.date) for tile in prepared.selection.tiles)
    return f"{'validate' if config.has_targets else 'test'} {places}"


def output_folder(recorder: Recorder) -> Path:
    """Where the run's predictions go: its artifacts, or output/predictions/<run id>."""
    if not recorder.run_id:
        return recorder.folder
    run = tracking.find_run(recorder.run_id)
    return tracking.artifact_folder(run) or Path("output") / "predictions" / recorder.run_id


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
        stream=prepared.loaded.stream,
        threshold=prepared.loaded.threshold,
        classes=prepared.loaded.trained.classes,
        run_id=run_id,
        folder=folder,
        save=config.get("save_raw_predictions", True),
        scored=config.has_targets,
        overlays=len(prepared.selection.tiles) if pictures is True else int(pictures),
        previous=prepared.previous,
        networks=networks_of(
            *(prepared.loaded, Path(config.data_path), prepared.selection.tiles, folder),
            *(prepared.inputs, prepared.pixels),
        ),
        inputs=prepared.inputs,
        pixels=prepared.pixels,
        share=None if prepared.loaded.recipe.threshold else prepared.loaded.share,
    )


def log_plan(config: Config, prepared: Plan, recorder: Recorder, folder: Path) -> None:
    """Log settings, provenance and the config before the first tile."""
    loaded, selection = prepared.loaded, prepared.selection
    write_config(config, recorder.folder / "config")
    manifest = DataManifest.of(Path(config.data_path), selection.tiles)
    prepared.record(simulated=bool(manifest.simulated)).write(folder)
    recorder.params(
        {
            **config.settings,
            "config": config.path.stem,
            "threshold": loaded.threshold,
            "overrides": " ".join(config.overrides),
            "processes": idist.get_world_size(),
        }
    )
    recorder.tags(
        {
            "training_run": loaded.trained.run_id,
            "config": config.path.stem,
            "git_commit": git_commit(),
            "fold": selection.fold_name,
            "city": ", ".join(selection.cities),
            "weights_sha256": loaded.weights,
        }
    )
    manifest.write(folder)
    recorder.inputs([used_data(selection.tiles, manifest, "inference")])
    decided = f", threshold {loaded.threshold:.3f}" if loaded.by_threshold else ""
    log.info("%d tiles of %s%s", len(selection.tiles), ", ".join(selection.cities), decided)


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
        adapted = adapted_cities(work.folder, work.selection.tiles)
        figures |= _scores(work, matrix)
        if work.classes.by_threshold and not adapted:  # adapted: each scene's own, in its tags
            figures["val/threshold"] = work.threshold
        if idist.get_rank() == 0:
            _log_headline(work, figures, recorder, adapted)
    recorder.metrics(figures, step=0)


def _log_headline(
    work: TileWork, figures: dict[str, float], recorder: Recorder, adapted: Sequence[str]
) -> None:
    """F1 and IoU of the mapped class, marked where their ground chose threshold or weights, or was
    learnt from or `adapted` to without its labels."""
    tuned = Tuned() if work.folder is None else tuned_ground(work.folder)
    marks = {c: tuned.mark(c) or TRANSDUCTIVE * (c in adapted) for c in work.selection.cities}
    marked = {m: [c for c, own in marks.items() if own == m] for m in (MARK, TRANSDUCTIVE)}
    recorder.tags({"tuned_on": ", ".join(marked[MARK]) or "nothing"})
    said = [f"{mark} {', '.join(cities)}" for mark, cities in marked.items() if cities]
    mark = f" ({'; '.join(said)})" if said else ""
    log.info(
        "%s F1 %.3f, IoU %.3f %s%s",
        *(work.classes.mapped, figures["val/f1"], figures["val/iou"]),
        "at the threshold" if work.classes.by_threshold else "by the largest probability",
        mark,
    )


def _scores(work: TileWork, matrix: NDArray[np.int64]) -> dict[str, float]:
    """Scores over all cities and for each."""
    places = {"": matrix.sum(axis=0)}
    places |= {f"{city}/": own for city, own in zip(work.selection.cities, matrix, strict=True)}
    named = {
        f"val/{place}{name}": value
        for place, counts in places.items()
        for name, value in scores(counts, work.classes).items()
    }
    least = [named[f"val/{city}/f1"] for city in work.selection.cities]
    defined = [value for value in least if np.isfinite(value)]
    return {**named, "val/worst_city_f1": min(defined, default=float("nan"))}


def _summed(counts: torch.Tensor) -> list[int]:
    """Integer counts summed over the processes, as a flat list."""
    total = idist.all_reduce(counts.to(idist.device()).to(torch.int64).flatten())
    return [int(value) for value in total.tolist()]
