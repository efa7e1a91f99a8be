"""What was made of what: a map, its inference, the training of its weights, tiles, scenes.

One walk for all who ask: `trace` prints it, the report shows it, scores are marked by it. Links are
followed when they are asked for, and where one is missing its place is None.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Self

from builtup.errors import BuiltupError, ConfigError, InputError, NoSuchRunError, RunError
from builtup.runs import registry, tracking
from builtup.runs.manifest import DataFile, DataManifest, LoggedConfig
from builtup.runs.model_file import ModelDescription, find_model_file
from builtup.runs.recorder import UsedData
from builtup.runs.records import (
    EnsembleRecord,
    InferenceRecord,
    InheritedThreshold,
    Summary,
    Tuned,
    prediction_record,
)
from builtup.runs.study_records import CrossValidation
from builtup.sensors.radar.names import SceneName, city_key, city_name, same_city

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = [
    "Chain",
    "Inference",
    "RunNote",
    "SceneOrigin",
    "Training",
    "chain_of",
    "find_artifacts",
    "inherited_threshold",
    "tuned_ground",
]

log = logging.getLogger(__name__)

# --- runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunNote:
    """What the tracking database says of a run; empty where it does not.

    `parent` is the cross-validation that a fold's training belongs to, `threshold` the setting,
    `training_run` and `inference_run` are what it was made from, `data` what it read.
    """

    run_id: str
    name: str
    config: str
    fold: str
    parent: str
    commit: str
    threshold: str
    training_run: str
    inference_run: str
    ended: datetime | None
    data: tuple[UsedData, ...]

    @classmethod
    def of(cls, run: Run) -> Self:
        """Note what a run says."""
        tags, end = run.data.tags, run.info.end_time
        return cls(
            run_id=str(run.info.run_id),
            name=str(run.info.run_name),
            config=tags.get("config", ""),
            fold=tags.get("fold", ""),
            parent=tags.get("mlflow.parentRunId", ""),
            commit=tags.get("git_commit", ""),
            threshold=run.data.params.get("cfg/threshold", ""),
            training_run=tags.get("training_run", ""),
            inference_run=tags.get("inference_run", ""),
            ended=datetime.fromtimestamp(end / 1000, UTC) if end else None,
            data=tuple(_used_data(run)),
        )

    @classmethod
    def find(cls, run_id: str) -> Self | None:
        """What the database says of a run; None where it cannot be asked, or has no such run."""
        try:
            return cls.of(tracking.find_run(run_id))
        except BuiltupError:
            return None

    @property
    def learnt_scenes(self) -> frozenset[str]:
        """The scenes that the tiles of a training lie in; none where its run does not say."""
        said = (used.profile for used in self.data if used.context == "training")
        return frozenset(str(scene) for profile in said for scene in profile.get("scenes", ()))


def _used_data(run: Run) -> Iterable[UsedData]:
    for entry in run.inputs.dataset_inputs:
        context = next((t.value for t in entry.tags if t.key == "mlflow.data.context"), "")
        used, profile = entry.dataset, json.loads(entry.dataset.profile or "{}")
        yield UsedData(used.name, used.digest, used.source, context, profile)


@dataclass(frozen=True)
class SceneOrigin:
    """A scene that a run read, and the files behind it; `held_out`: not learnt from."""

    path: str
    files: tuple[DataFile, ...]
    held_out: bool = False


def _scenes(
    folder: Path, city: str = "", learnt: frozenset[str] = frozenset()
) -> tuple[SceneOrigin, ...]:
    """The scenes of a run's data manifest: those of the city, or all where it names none of it."""
    try:
        manifest = DataManifest.find(folder)
    except InputError as e:
        log.warning("%s", e)
        manifest = None
    places = () if manifest is None else manifest.images_and_masks
    own = [place for place in places if _of_city(Path(place.path), city)] or places
    return tuple(
        SceneOrigin(
            place.path,
            place.read,
            held_out=bool(learnt) and _scene_id(Path(place.path)) not in learnt,
        )
        for place in own
    )


def _scene_id(place: Path) -> str:
    """The scene that a file, or a folder of tiles, is of."""
    name = SceneName.parse(f"{place.name.removesuffix('.tif').removesuffix('_tiles')}.tif")
    return place.name if name is None else name.scene_id


def _of_city(place: Path, city: str) -> bool:
    """Whether a scene lies in the folder of that city and on its tile."""
    tile = city.partition("_")[0]
    own = city_key(tile, city_name(place.parent.name))
    return not city or (f"_{tile}_" in place.name and same_city(city, own))


@dataclass(frozen=True)
class Training:
    """A training by the name that an inference has for it, and the folder of its artifacts.

    `problem` says why it cannot be found, or not whole. A model that is one file has no folder:
    `file` is that file, and `description` what it says.
    """

    name: str
    folder: Path | None
    problem: str = ""
    file: Path | None = None
    description: ModelDescription | None = None

    @classmethod
    def named(cls, name: str) -> Self:
        """Look for a training by run id, artifact folder, model of the registry or model file."""
        try:
            file = find_model_file(name)
            if file is not None:
                return cls(name, None, file=file, description=ModelDescription.read(file))
            folder, run_id = find_artifacts(name)
        except NoSuchRunError as e:
            return cls(name, None, str(e))
        except RunError as e:  # a run that left no config may have left a summary
            try:
                return cls(name, tracking.run_artifacts(name), str(e))
            except (BuiltupError, OSError):
                return cls(name, None, str(e))
        except BuiltupError as e:
            return cls(name, None, str(e))
        return cls(run_id, folder)

    @cached_property
    def note(self) -> RunNote | None:
        """What the tracking database says of it."""
        return RunNote.find(self.name) if self.file is None else None

    @cached_property
    def summary(self) -> Summary | None:
        """Its summary.json; None, and a warning, where that is damaged."""
        if self.description is not None:
            return self.description.summary()
        try:
            return None if self.folder is None else Summary.find(self.folder)
        except InputError as e:
            log.warning("%s", e)
            return None

    @property
    def config(self) -> LoggedConfig:
        """The config that it logged; an empty one where it did not."""
        return LoggedConfig() if self.folder is None else LoggedConfig.read(self.folder)

    @property
    def weights(self) -> tuple[Path, ...]:
        """Its files of weights."""
        if self.file is not None:
            return (self.file,)
        found = [] if self.folder is None else (self.folder / "weights").glob("*.pt")
        return tuple(sorted(found))

    @property
    def scenes(self) -> tuple[SceneOrigin, ...]:
        """The scenes that it read; where its run says what it learnt, the others are held out."""
        learnt = frozenset() if self.note is None else self.note.learnt_scenes
        return () if self.folder is None else _scenes(self.folder, learnt=learnt)


@dataclass(frozen=True)
class Inference:
    """An inference: the folder of its predictions, its record, its run and its training."""

    folder: Path
    record: InferenceRecord | None
    note: RunNote | None
    training: Training | None

    @classmethod
    def of(cls, folder: Path, note: RunNote | None = None) -> Self:
        """The inference whose predictions, or artifacts, lie in a folder.

        Raises InputError where its record is damaged.
        """
        record = InferenceRecord.find(folder)
        name = "" if record is None else record.training_run
        name = name or ("" if note is None else note.training_run)
        return cls(folder, record, note, Training.named(name) if name else None)

    def scenes(self, city: str = "") -> tuple[SceneOrigin, ...]:
        """The scenes that it read: those of a city (`<TILE>_<City>`) where it knows them apart."""
        return _scenes(self.folder, city)

    @property
    def tuned(self) -> Tuned:
        """The ground that its network had seen, as its training says; a warning where it cannot."""
        if self.record is None or self.training is None:
            return Tuned()
        summary = self.training.summary
        if summary is None:
            reason = self.training.problem or f"no {Summary.NAME} in {self.training.folder}"
            name = self.training.name
            log.warning("what training run %s was tuned on cannot be known (%s)", name, reason)
            return Tuned(held_out=self.record.held_out)
        seen = (*summary.seen, *(self.record.fold_tuned_on or ()))
        return Tuned(seen, self.record.held_out, summary.transductive or ())


def tuned_ground(folder: Path, run_id: str | None = None) -> Tuned:
    """What the predictions in `folder` were tuned on, by its own record or its training's summary.

    Nothing is known of predictions that no inference of ours wrote; where there was one, `run_id`,
    and its record is gone, a warning says so. Raises InputError where a record is damaged.
    """
    record = prediction_record(folder)
    if isinstance(record, EnsembleRecord):
        return Tuned(record.tuned_on)
    if record is None and run_id:
        name = InferenceRecord.NAME
        log.warning("what run %s was tuned on cannot be known: no %s in %s", run_id, name, folder)
    return Inference.of(folder).tuned


# --- the walk -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """The steps behind a run (from the last to the first), an inference, or only a training."""

    steps: tuple[RunNote, ...]
    inference: Inference | None
    training: Training | None


def chain_of(run_id: str) -> Chain:
    """What a run was made of; RunError where there is no such run, or it is of another kind."""
    note = RunNote.of(tracking.find_run(run_id))
    if note.inference_run:  # a step that `mlflow run` opened
        rest = chain_of(note.inference_run)
        return Chain((note, *rest.steps), rest.inference, rest.training)
    folder = tracking.run_artifacts(run_id)
    if note.training_run:
        inference = Inference.of(folder, note)
        return Chain((), inference, inference.training)
    if not LoggedConfig.path(folder).is_file():
        raise RunError(
            f"run_id={run_id}: neither an inference nor a training; "
            "give one of those, or a file of results"
        )
    return Chain((), None, Training(run_id, folder))


def inherited_threshold(source: str, folds: Sequence[str]) -> InheritedThreshold:
    """The mean threshold of a cross-validation over `folds`, the folds of the data trained on.

    A network that was trained on everything has no unseen ground to choose on; what its config's
    cross-validation chose, fold by fold, is the best that is known. `source` is a config's name
    (`recommended_cpu`: its newest finished cross-validation), a run id or a folder. Raises
    ConfigError, in one line, where there is none, or it held out other ground.
    """
    folder, name = _cross_validation(source)
    path = folder / CrossValidation.NAME
    try:
        record = CrossValidation.read(folder)
        thresholds = record.thresholds()
    except (InputError, KeyError, TypeError, ValueError) as e:
        problem = e.problem if isinstance(e, InputError) else str(e)
        raise ConfigError(
            f"threshold_from = {source}: {path} cannot be read ({problem}); run cross_validate "
            "again"
        ) from e
    if set(thresholds) != set(folds):
        differ = sorted(set(thresholds) ^ set(folds))
        raise ConfigError(
            f"threshold_from = {source}: its cross-validation held out other ground than these "
            f"data have (of one only: {', '.join(differ)}); cross_validate on this data_path, or "
            "set threshold_from=none for 0.5"
        )
    mean, overrides = fmean(thresholds.values()), record.overrides or ""
    log.info(
        "threshold %.3f, from the cross-validation %s%s",
        *(mean, name, f", trained with overrides {overrides}" if overrides else ""),
    )
    return InheritedThreshold(
        threshold=mean, tuned_on=tuple(sorted(thresholds)), source=name, overrides=overrides
    )


def _cross_validation(source: str) -> tuple[Path, str]:
    """The folder of its files, and the run or folder that it is known by."""
    folder = Path(source)
    if folder.is_dir():
        inner = folder / CrossValidation.FOLDER
        return (inner if inner.is_dir() else folder), str(folder)
    try:
        run = tracking.newest_run("Trainings", cross_validation_of=source)
    except NoSuchRunError:
        try:
            run = tracking.find_run(source)
        except NoSuchRunError as e:
            raise ConfigError(
                f"threshold_from = {source}: no finished cross-validation of a config of that "
                "name, no run and no folder; run cross_validate first, or set "
                "threshold_from=none for 0.5"
            ) from e
    run_id = str(run.info.run_id)
    return tracking.run_artifacts(run_id) / CrossValidation.FOLDER, run_id


def find_artifacts(run_id_or_path: str | Path) -> tuple[Path, str]:
    """The folder of a run's artifacts and the run id; RunError or InputError where there is none.

    A path may be that folder, or a file or folder within it. Models of the registry
    (`models:/name@champion`) stand for the run that trained them.
    """
    if registry.is_model_uri(str(run_id_or_path)):
        run_id_or_path = registry.run_of_model(str(run_id_or_path))
    path = Path(run_id_or_path)
    if path.exists():
        for folder in (path, *path.absolute().parents[:2]):
            if LoggedConfig.path(folder).is_file():
                return folder, _run_id_of(folder)
        raise InputError(
            path, "has no config/settings.json beside it", "give a run id or its artifact folder"
        )
    text = str(run_id_or_path)
    if "/" in text or path.suffix in {".pt", ".pth"}:
        raise InputError(path, "does not exist", "check the path, or give a run id")
    folder = tracking.run_artifacts(text)
    if not LoggedConfig.path(folder).is_file():
        raise RunError(
            f"run_id={text}: has no config/settings.json in {folder}; "
            "choose a training run of builtup"
        )
    return folder, text


def _run_id_of(folder: Path) -> str:
    """Artifacts lie in <experiment's location>/<run id>[/artifacts]."""
    name = folder.resolve().name
    return folder.resolve().parent.name if name == "artifacts" else name
