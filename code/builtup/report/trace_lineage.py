"""From a map back to all that it was made from: polygon, inference, training, tiles, scenes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup.errors import BuiltupError, InputError, NoSuchRunError, RunError
from builtup.maps.ensemble import member_runs
from builtup.runs import registry, tracking
from builtup.runs.results import DATA_MANIFEST, EXPERIMENT, RAW, RECORD, read_tags
from builtup.sensors.radar.names import SceneName

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Run

__all__ = ["trace"]

log = logging.getLogger(__name__)

_SHOWN = ("tta", "window", "overlap", "blend", "held_out", "temperature", "classes")


@dataclass(frozen=True)
class _Map:
    """A file of results: the inference runs behind it, its city (or nothing), what it says."""

    runs: tuple[str, ...]
    city: str
    lines: tuple[str, ...]


def trace(*, input_path: str = "", run_id: str = "") -> str:
    """The chain behind a result, as text: runs, config, weights, tiles, scenes with their sha256.

    `input_path` is a GeoPackage, shapefile, raster or folder of results; `run_id` a run or a
    model of the registry (`models:/name@champion`); the newest finished inference by default.
    Raises InputError or RunError where a link is missing.
    """
    if input_path:
        found = _map_of(Path(input_path))
    else:
        if registry.is_model_uri(run_id):
            run_id = registry.run_of_model(run_id)
        chosen = run_id or str(tracking.newest_run(EXPERIMENT).info.run_id)
        found = _Map((chosen,), "", ())
    lines = list(found.lines)
    for run in found.runs:
        lines += _of_run(tracking.find_run(run), found.city)
    return "\n".join(lines)


# --- files of results -------------------------------------------------------------------------


def _map_of(path: Path) -> _Map:
    if not path.exists():
        raise InputError(path, "does not exist", "give a GeoPackage, a raster or a folder")
    folder = _results_folder(path)
    tags = _tags(path)
    runs = member_runs(folder) or ((tags["BUILTUP_RUN_ID"],) if tags.get("BUILTUP_RUN_ID") else ())
    if not runs:
        raise InputError(path, "names no run that it comes from", "give run_id")
    city = tags.get("BUILTUP_CITY", "") if path.is_file() else ""
    lines = [f"result      {path}"]
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += [f"            sha256 {digest}"]
        lines += [f"            city {city}, threshold {tags.get('BUILTUP_THRESHOLD', 'unknown')}"]
    if len(runs) > 1:
        lines += [f"            mean of {len(runs)} runs: {', '.join(runs)}"]
    return _Map(runs, city, tuple(lines))


def _results_folder(path: Path) -> Path:
    parents = [path, *path.absolute().parents[:3]]
    return next((p.parent for p in parents if p.name == RAW), path)


def _tags(path: Path) -> Mapping[str, str]:
    """What a result says of itself; a shapefile has its mask say it."""
    if path.is_dir():
        raw = path if path.name == RAW else path / RAW
        rasters = sorted(raw.rglob("*.tif"))
        if not rasters:
            raise InputError(path, "holds no raster of results", "give a folder of predictions")
        return read_tags(rasters[0]).as_gdal()
    if path.suffix == ".gpkg":
        own = _geopackage_tags(path)
        if own:
            return own
    if path.suffix in {".gpkg", ".shp"}:
        mask = path.with_suffix(".tif")
        if not mask.is_file():
            raise InputError(path, "has no mask of its name beside it", "give run_id")
        return read_tags(mask).as_gdal()
    return read_tags(path).as_gdal()


def _geopackage_tags(path: Path) -> Mapping[str, str]:
    import pyogrio
    from pyogrio.errors import DataSourceError

    try:
        layer = str(pyogrio.list_layers(path)[0][0])
        return pyogrio.read_info(path, layer=layer)["layer_metadata"] or {}
    except (DataSourceError, IndexError) as e:
        raise InputError(path, f"cannot be read ({e})", "give a GeoPackage of polygonize") from e


# --- runs -------------------------------------------------------------------------------------


def _of_run(run: Run, city: str) -> Iterator[str]:
    tags = run.data.tags
    if "training_run" in tags and "inference_run" not in tags:
        yield from _inference(run, city)
        return
    if "inference_run" in tags:  # a step that `mlflow run` opened
        yield f"step        {_title(run)}"
        yield from _of_run(tracking.find_run(tags["inference_run"]), city)
        return
    folder = tracking.run_artifacts(run.info.run_id)
    if not (folder / "config" / "settings.json").is_file():
        raise RunError(
            f"run_id={run.info.run_id}: neither an inference nor a training; "
            "give one of those, or a file of results"
        )
    yield from _training(run, folder, "")


def _inference(run: Run, city: str) -> Iterator[str]:
    folder = tracking.run_artifacts(run.info.run_id)
    record = _json(folder / RECORD)
    yield f"inference   {_title(run)}"
    shown = [f"{key} {record[key]}" for key in _SHOWN if record.get(key) not in (None, "", [])]
    cut = run.data.params.get("cfg/threshold")
    shown += [f"threshold {cut}"] if cut else []
    yield f"            {', '.join(shown)}"
    yield from _scenes(folder, city)
    training = str(record.get("training_run") or run.data.tags["training_run"])
    from builtup.training.checkpoints import find_artifacts

    try:
        artifacts, training_id = find_artifacts(training)
    except BuiltupError as e:
        yield f"training    {training}: {e}"
        return
    try:
        trained: Run | None = tracking.find_run(training_id)
    except NoSuchRunError:
        trained = None
    yield from _training(trained, artifacts, str(record.get("weights", "")))


def _training(run: Run | None, folder: Path, weights: str) -> Iterator[str]:
    summary = _json(folder / "summary.json")
    yield f"training    {_title(run) if run is not None else folder}"
    settings = _json(folder / "config" / "settings.json")
    for name in settings.get("files", ()):
        digest = hashlib.sha256((folder / "config" / name).read_bytes()).hexdigest()
        yield f"  config    {name} sha256 {digest}"
    if settings.get("overrides"):
        yield f"            overrides {' '.join(settings['overrides'])}"
    for key in ("val_fold", "threshold", "threshold_tuned_on", "seed"):
        if summary.get(key) not in (None, "", []):
            yield f"            {key.replace('_', ' ')} {summary[key]}"
    yield from _weights(folder, weights)
    if run is not None:
        yield from _datasets(run)
    yield from _scenes(folder, "", frozenset() if run is None else _learnt(run))


def _weights(folder: Path, used: str) -> Iterator[str]:
    """The files of weights with their digests, and which of them was used."""
    from builtup.training.checkpoints import load_state, weights_digest

    digests = {
        path.name: weights_digest(load_state(path))
        for path in sorted((folder / "weights").glob("*.pt"))
    }
    for name, digest in digests.items():
        mark = "  (used)" if digest == used else ""
        yield f"  weights   {name} sha256 of tensors {digest}{mark}"
    if used and used not in digests.values():
        yield f"  weights   used: {used}, none of the files of this run"


def _datasets(run: Run) -> Iterator[str]:
    for context, dataset, profile in _inputs(run):
        yield (
            f"  tiles     {context}: {profile.get('tiles', '?')} tiles of {dataset.name}, "
            f"digest {dataset.digest}"
        )


def _inputs(run: Run) -> Iterator[tuple[str, Dataset, Mapping[str, Any]]]:
    """What a run read: the context, the dataset and its profile."""
    for entry in run.inputs.dataset_inputs:
        context = next((t.value for t in entry.tags if t.key == "mlflow.data.context"), "")
        yield context, entry.dataset, json.loads(entry.dataset.profile or "{}")


def _learnt(run: Run) -> frozenset[str]:
    """The scenes that the tiles of a training lie in; none where its run does not say."""
    said = [profile for context, _, profile in _inputs(run) if context == "training"]
    return frozenset(str(scene) for profile in said for scene in profile.get("scenes", ()))


def _title(run: Run) -> str:
    from datetime import UTC, datetime

    tags = run.data.tags
    ended = run.info.end_time
    said = [
        f"run {run.info.run_id}",
        f"config {tags['config']}" if tags.get("config") else run.info.run_name,
        f"fold {tags['fold']} held out" if tags.get("fold") else "",
        f"of {tags['mlflow.parentRunId']}" if tags.get("mlflow.parentRunId") else "",
        f"commit {tags['git_commit'][:12]}" if tags.get("git_commit") else "",
        datetime.fromtimestamp(ended / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC") if ended else "",
    ]
    return ", ".join(filter(None, said))


# --- scenes -----------------------------------------------------------------------------------


def _scenes(folder: Path, city: str, learnt: frozenset[str] = frozenset()) -> Iterator[str]:
    """The scenes of a run, and of a training that says what it learnt those that it held out."""
    manifest = _json(folder / DATA_MANIFEST)
    entries = manifest.get("images_and_masks", [])
    if not entries:
        yield f"  scenes    not known: {folder / DATA_MANIFEST} names none"
    own = [entry for entry in entries if _of_city(Path(entry["path"]), city)]
    for entry in own or entries:
        mark = "  (held out)" if learnt and _scene_id(Path(entry["path"])) not in learnt else ""
        yield f"  scene     {entry['path']}{mark}"
        yield from _files(entry.get("inputs", entry.get("files", ())), 1)


def _scene_id(place: Path) -> str:
    """The scene that a file, or a folder of tiles, is of."""
    name = SceneName.parse(f"{place.name.removesuffix('.tif').removesuffix('_tiles')}.tif")
    return place.name if name is None else name.scene_id


def _files(entries: Iterable[Mapping[str, Any]], depth: int) -> Iterator[str]:
    for entry in entries:
        yield f"            {'  ' * depth}{entry['name']} sha256 {entry['sha256']}"
        yield from _files(entry.get("made_from", ()), depth + 1)


def _of_city(place: Path, city: str) -> bool:
    """Whether a scene lies in the folder of that city and on its tile."""
    tile, _, name = city.partition("_")
    return not city or (f"_{tile}_" in place.name and place.parent.name.startswith(f"{name}_"))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
