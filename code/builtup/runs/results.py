"""A set of predictions: which folder it is, and which of its rasters is what.

`<folder>/raw/` holds tiles, scene mosaics, city rasters and polygons. Every prediction raster says
itself which scene, city, grid, run, threshold and classes it belongs to: later steps read these
tags and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builtup.errors import InputError, RunError
from builtup.geo.rasters import open_raster
from builtup.jobs.files import atomic_files
from builtup.runs.manifest import DataManifest
from builtup.runs.prediction_tags import (
    CONFIDENCE,
    QUICKLOOK,
    PredictionTags,
    base_city,
    read_tags,
    scene_stem,
    write_tags,
)
from builtup.runs.records import EnsembleRecord, InferenceRecord, prediction_record
from builtup.sensors.radar.names import SceneName

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = [
    "CONFIDENCE",
    "PREDICTIONS_TAG",
    "QUICKLOOK",
    "CityRasters",
    "PredictionTags",
    "Results",
    "base_city",
    "city_rasters",
    "kind_of",
    "local_copy",
    "read_tags",
    "resolve_results",
    "scene_rasters",
    "scene_stem",
    "upload_results",
    "write_tags",
]

log = logging.getLogger(__name__)

#: The experiment whose newest finished run is taken where nothing else is said.
EXPERIMENT = "Inferences"
#: The folder of a run's artifacts that holds its rasters and polygons.
RAW = "raw"
#: What an inference writes beside it, that a copy needs as well.
_BESIDE = (DataManifest.NAME, InferenceRecord.NAME)
#: The tag of a run whose rasters lie in a folder of the user's choice.
PREDICTIONS_TAG = "predictions"

_REMEDY = "check the artifact store, or give their folder"
_CITY_MASK = re.compile(r"\d{2}[A-Za-z]{3}_(?!.*_(?:prob|std|count|quicklook|confidence)$).+")


@dataclass(frozen=True)
class Results:
    """A folder of predictions and, where it is known, the run that made them.

    `remote` says that the run's artifacts live elsewhere and `folder` is our copy.
    """

    folder: Path
    run_id: str | None = None
    remote: bool = False

    @property
    def raw(self) -> Path:
        """The folder of the rasters and polygons."""
        return self.folder / RAW


def resolve_results(input_path: str = "", run_id: str = "") -> Results:
    """Find the predictions: `input_path`, else the run, else the newest finished inference run.

    A run in a local store is its artifact folder; else output/predictions/<run id>, fetched from
    the store where it is not there yet. Within `mlflow run` the step's own run is tagged with that
    run as `inference_run`. Raises InputError for a folder without raw/, RunError for an unknown
    run.
    """
    if input_path:
        folder = _require_raw(Path(input_path))
        if run_id:
            _require_own(folder, run_id)
        return Results(folder, run_id or None)
    from builtup.runs import tracking

    if run_id:
        run = tracking.find_run(run_id)
    else:
        run = tracking.newest_run(EXPERIMENT)
        log.info("newest finished run of %s: %s", EXPERIMENT, run.info.run_id)
    training = run.data.tags.get("training_run", "")
    tracking.link(inference_run=run.info.run_id, training_run=training)
    return _results_of(run)


def _results_of(run: Run) -> Results:
    from builtup.runs import tracking

    own_id = run.info.run_id
    local = tracking.artifact_folder(run)
    place = run.data.tags.get(PREDICTIONS_TAG)
    if place and not (local is not None and (local / RAW).is_dir()):
        folder = _require_raw(Path(place))
        if EnsembleRecord.find(folder) is not None:
            raise _taken_over(folder, own_id, "an ensemble")
        _require_own(folder, own_id)
        if run.info.status != "FINISHED":
            _require_own_rasters(folder, own_id)
        return Results(folder, own_id)
    if local is not None:
        return Results(_require_raw(local), own_id)
    return Results(_require_raw(local_copy(own_id)), own_id, remote=True)


def _require_own(folder: Path, run_id: str) -> None:
    """RunError where the maps in a folder are not those of the run, but of one that came later."""
    try:
        record = prediction_record(folder)
    except InputError:  # damaged: its rasters say it
        record = None
    if isinstance(record, EnsembleRecord):
        if run_id in record.runs:
            raise _taken_over(folder, run_id, "an ensemble")
    elif record is not None and record.run_id:
        if record.run_id != run_id:
            raise _taken_over(folder, run_id, f"run {record.run_id}")
    else:
        _require_own_rasters(folder, run_id)


def _require_own_rasters(folder: Path, run_id: str) -> None:
    """As `_require_own`, by the rasters: a prediction that was killed has left others there."""
    for path in sorted((folder / RAW).glob("[!.]*.tif")):
        with open_raster(path) as dataset:
            said = dataset.tags().get("BUILTUP_RUN_ID", "")
        if said and run_id not in said.split(","):
            raise _taken_over(folder, run_id, f"run {said} (by {path.name})")


def _taken_over(folder: Path, run_id: str, by: str) -> RunError:
    return RunError(
        f"run_id={run_id}: {folder} holds maps of {by}, not its own; predict again into another "
        "output_path, or give the folder as input_path"
    )


def local_copy(run_id: str, needed: str = RAW) -> Path:
    """output/predictions/<run id>: the copy of predictions whose artifact store is not local.

    Where it lacks `needed`, what the store has and the copy lacks is fetched, raw/ whole or not at
    all. RunError where that cannot be done.
    """
    folder = Path("output") / "predictions" / run_id
    if not (folder / needed).exists():
        _fetch(run_id, folder, needed)
    return folder


def _require_raw(folder: Path) -> Path:
    if folder.name == RAW and folder.is_dir() and not (folder / RAW).exists():
        return folder.parent
    remedy = "give a folder of predictions, or the run_id of an inference"
    if not folder.is_dir():
        raise InputError(folder, "no such folder", remedy)
    if not (folder / RAW).is_dir():
        raise InputError(folder, "no folder raw/ in it", remedy)
    return folder


def _fetch(run_id: str, folder: Path, needed: str) -> None:
    from builtup.runs import tracking

    log.info("fetching the predictions of run %s into %s", run_id, folder)
    own = tracking.client()
    with _explained(run_id):
        stored = {entry.path for entry in own.list_artifacts(run_id)}
    if needed not in stored:
        raise RunError(f"run_id={run_id}: its artifact store holds no {needed}; {_REMEDY}")
    names = [n for n in (*_BESIDE, RAW) if n in stored - _names_in(folder)]
    with atomic_files(folder, names) as temporary, _explained(run_id):
        for name in names:
            own.download_artifacts(run_id, name, str(temporary))


@contextmanager
def _explained(run_id: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as e:
        raise RunError(
            f"run_id={run_id}: its predictions cannot be fetched ({e}); {_REMEDY}"
        ) from e


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@dataclass(frozen=True)
class CityRasters:
    """The mask (0/1/255, or class numbers) of one map and its 8-bit probability, in raw/: of each
    class or the mapped one (`_prob`), else of the class that each pixel has (`_confidence`)."""

    city: str
    mask: Path
    prob: Path


def kind_of(path: Path) -> str:
    """What a raster in raw/ is: `scene` (a scene's probability), `classes` (a city's map), or "".

    The names of radar's rasters tell it, and any other raster's tag BUILTUP_KIND. One that is
    named like a scene's probability and cannot be read is taken for one: reading it then says so.
    Drafts, whose names begin with a dot, are nothing: a prediction that was killed leaves them.
    """
    if path.name.startswith("."):
        return ""
    name = SceneName.parse(path)
    if name is not None:
        return "scene" if name.kind == "prob" else ""
    if _CITY_MASK.fullmatch(path.stem):
        return "classes"
    named_so = path.stem.endswith("_prob")
    try:
        with open_raster(path) as dataset:
            tags = dataset.tags()
    except InputError:
        return "scene" if named_so else ""
    return tags.get("BUILTUP_KIND") or ("scene" if named_so and tags.get("BUILTUP_SCENE") else "")


def _rasters(results: Results, kind: str) -> list[Path]:
    return [path for path in sorted(results.raw.glob("*.tif")) if kind_of(path) == kind]


def scene_rasters(results: Results) -> list[Path]:
    """The probability rasters of single scenes in raw/, sorted."""
    return _rasters(results, "scene")


def city_rasters(results: Results) -> list[CityRasters]:
    """The cities' rasters, sorted; InputError where there is no mask."""
    found = [_of_mask(mask) for mask in _rasters(results, "classes")]
    if not found:
        raise InputError(results.raw, "no city masks in it", "run all_agg_by_city first")
    return found


def _of_mask(mask: Path) -> CityRasters:
    ends = ("_prob.tif", f"_{CONFIDENCE}.tif")
    probable, confident = (mask.with_name(f"{mask.stem}{end}") for end in ends)
    prob = confident if confident.is_file() and not probable.is_file() else probable
    return CityRasters(mask.stem, mask, prob)


def upload_results(results: Results) -> None:
    """Put raw/ into the run's artifact store, where this is not local; else do nothing."""
    if not results.remote or results.run_id is None:
        return
    from builtup.runs import tracking

    log.info("uploading %s to run %s", results.raw, results.run_id)
    tracking.client().log_artifacts(results.run_id, str(results.raw), RAW)
