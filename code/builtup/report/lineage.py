"""What was made of what, for people, as text; `report.provenance` has it as facts and marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builtup.errors import InputError
from builtup.jobs.digests import sha256_of
from builtup.runs import registry, tracking
from builtup.runs.lineage import Chain, Inference, RunNote, SceneOrigin, Training, chain_of
from builtup.runs.manifest import DataFile, DataManifest, LoggedConfig
from builtup.runs.model_file import ModelDescription, find_model_file
from builtup.runs.records import InferenceRecord, Summary, member_runs
from builtup.runs.results import EXPERIMENT, RAW, read_tags

__all__ = ["TIME", "ResultFile", "result_of", "trace"]

#: Settings of an inference that its lines in `trace` name.
_SHOWN = ("tta", "window", "overlap", "blend", "held_out", "temperature", "classes")
#: How times of runs are written.
TIME = "%Y-%m-%d %H:%M UTC"


def trace(*, input_path: str = "", run_id: str = "") -> str:
    """The chain behind a result, as text: runs, config, weights, tiles, scenes with their sha256.

    `input_path` is a GeoPackage, shapefile, raster or folder of results; `run_id` a run or a
    model of the registry (`models:/name@champion`) or of a file (`shipped`); the newest finished
    inference by default. Raises InputError or RunError where a link is missing.
    """
    if input_path:
        return "\n".join(_of_result(Path(input_path)))
    if run_id and (file := find_model_file(run_id)):
        ModelDescription.read(file)  # refused where it cannot be
        return "\n".join(_training_lines(Training.named(run_id), ""))
    if registry.is_model_uri(run_id):
        run_id = registry.run_of_model(run_id)
    run_id = run_id or str(tracking.newest_run(EXPERIMENT).info.run_id)
    return "\n".join(_chain_lines(chain_of(run_id)))


def _of_result(path: Path) -> Iterator[str]:
    result = result_of(path)
    yield f"result      {path}"
    if result.sha256:
        yield f"            sha256 {result.sha256}"
        yield f"            city {result.city}, threshold {result.threshold or 'unknown'}"
    if len(result.runs) > 1:
        yield f"            mean of {len(result.runs)} runs: {', '.join(result.runs)}"
    for run in result.runs:
        yield from _chain_lines(chain_of(run), result.city)


def _chain_lines(chain: Chain, city: str = "") -> Iterator[str]:
    for step in chain.steps:
        yield f"step        {_title(step)}"
    weights = ""
    if chain.inference is not None:
        yield from _inference_lines(chain.inference, city)
        weights = "" if chain.inference.record is None else chain.inference.record.weights
    if chain.training is not None:
        yield from _training_lines(chain.training, weights)


def _inference_lines(inference: Inference, city: str) -> Iterator[str]:
    note, record = inference.note, inference.record or InferenceRecord()
    yield f"inference   {inference.folder if note is None else _title(note)}"
    said = {} if inference.record is None else record.to_json()
    shown = [f"{key} {said[key]}" for key in _SHOWN if said.get(key) not in (None, "", [])]
    shown += [f"threshold {note.threshold}"] if note is not None and note.threshold else []
    yield f"            {', '.join(shown)}"
    yield from _scene_lines(inference.scenes(city), inference.folder)


def _training_lines(training: Training, used: str) -> Iterator[str]:
    """`used` is the digest of the weights that predicted, or nothing."""
    folder, note = training.folder, training.note
    if training.description is not None:
        yield from _file_model_lines(training, training.description, used)
        return
    if training.problem or folder is None:
        yield f"training    {training.name}: {training.problem}"
        return
    yield f"training    {folder if note is None else _title(note)}"
    config = training.config
    for name in config.files:
        digest = sha256_of(LoggedConfig.path(folder).with_name(name))
        yield f"  config    {name} sha256 {digest}"
    if config.overrides:
        yield f"            overrides {' '.join(config.overrides)}"
    said = (training.summary or Summary()).to_json()
    for key in ("val_fold", "threshold", "threshold_tuned_on", "settings_tuned_on", "seed"):
        if said.get(key) not in (None, "", []):
            yield f"            {key.replace('_', ' ')} {said[key]}"
    yield from _weight_lines(training.weights, used)
    for data in () if note is None else note.data:
        number = data.profile.get("tiles", "?")
        yield f"  tiles     {data.context}: {number} tiles of {data.name}, digest {data.digest}"
    yield from _scene_lines(training.scenes, folder)


def _file_model_lines(training: Training, said: ModelDescription, used: str) -> Iterator[str]:
    """Of a model that is one file: what that says."""
    yield f"model       {training.name}, trained on {said.trained_on}"
    yield f"            {', '.join(f'{key} {value}' for key, value in said.facts())}"
    yield from _weight_lines(training.weights, used)


def _weight_lines(weights: Iterable[Path], used: str) -> Iterator[str]:
    """The files of weights with their digests, and which of them was used."""
    from builtup.training.checkpoints import load_state, weights_digest

    digests = {path.name: weights_digest(load_state(path)) for path in weights}
    for name, digest in digests.items():
        mark = "  (used)" if digest == used else ""
        yield f"  weights   {name} sha256 of tensors {digest}{mark}"
    if used and used not in digests.values():
        yield f"  weights   used: {used}, none of these files"


def _scene_lines(scenes: Sequence[SceneOrigin], folder: Path) -> Iterator[str]:
    if not scenes:
        yield f"  scenes    not known: {folder / DataManifest.NAME} names none"
    for scene in scenes:
        yield f"  scene     {scene.path}{'  (held out)' if scene.held_out else ''}"
        yield from _file_lines(scene.files, 1)


def _file_lines(files: Iterable[DataFile], depth: int) -> Iterator[str]:
    for file in files:
        yield f"            {'  ' * depth}{file.name} sha256 {file.sha256}"
        yield from _file_lines(file.made_from or (), depth + 1)


def _title(note: RunNote) -> str:
    said = (
        f"run {note.run_id}",
        f"config {note.config}" if note.config else note.name,
        f"fold {note.fold} held out" if note.fold else "",
        f"of {note.parent}" if note.parent else "",
        f"commit {note.commit[:12]}" if note.commit else "",
        note.ended.strftime(TIME) if note.ended else "",
    )
    return ", ".join(filter(None, said))


# --- files of results -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ResultFile:
    """A file of results, or a folder: the inference runs behind it, and what it says of itself.

    `city` and `sha256` are empty of a folder, `threshold` where it names none.
    """

    path: Path
    runs: tuple[str, ...]
    city: str
    threshold: str
    sha256: str


def result_of(path: Path) -> ResultFile:
    """What a GeoPackage, shapefile, raster or folder of results says of itself.

    Raises InputError where it cannot be read, or names no run.
    """
    if not path.exists():
        raise InputError(path, "does not exist", "give a GeoPackage, a raster or a folder")
    tags = _tags(path)
    own = tags.get("BUILTUP_RUN_ID")
    runs = member_runs(_results_folder(path)) or ((own,) if own else ())
    if not runs:
        raise InputError(path, "names no run that it comes from", "give run_id")
    is_file = path.is_file()
    return ResultFile(
        path,
        runs,
        city=tags.get("BUILTUP_CITY", "") if is_file else "",
        threshold=tags.get("BUILTUP_THRESHOLD", ""),
        sha256=sha256_of(path) if is_file else "",
    )


def _results_folder(path: Path) -> Path:
    parents = [path, *path.absolute().parents[:3]]
    return next((p.parent for p in parents if p.name == RAW), path)


def _tags(path: Path) -> Mapping[str, str]:
    """What a result says of itself; a shapefile has its mask say it."""
    if path.is_dir():
        raw = path if path.name == RAW else path / RAW
        rasters = sorted(raw.rglob("[!.]*.tif"))
        if not rasters:
            raise InputError(path, "holds no raster of results", "give a folder of predictions")
        return read_tags(rasters[0]).as_gdal()
    if path.suffix == ".gpkg":
        from builtup.geo.vectors import layer_metadata  # late: with it comes another GDAL

        own = layer_metadata(path)
        if own:
            return own
    if path.suffix in {".gpkg", ".shp"}:
        mask = path.with_suffix(".tif")
        if not mask.is_file():
            raise InputError(path, "has no mask of its name beside it", "give run_id")
        return read_tags(mask).as_gdal()
    return read_tags(path).as_gdal()
