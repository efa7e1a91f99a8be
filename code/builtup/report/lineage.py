"""What was made of what, for people: as text (`trace`), and as facts and marks of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from builtup import __version__
from builtup.jobs.digests import sha256_of
from builtup.runs import registry, tracking
from builtup.runs.lineage import Chain, Inference, RunNote, SceneOrigin, Training, chain_of
from builtup.runs.manifest import DataFile, DataManifest, LoggedConfig
from builtup.runs.model_file import ModelDescription, find_model_file
from builtup.runs.records import (
    MARK,
    EnsembleMember,
    EnsembleRecord,
    InferenceRecord,
    Summary,
    Tuned,
    prediction_record,
)
from builtup.runs.result_file import result_of
from builtup.runs.results import EXPERIMENT, Results

__all__ = ["Provenance", "find_provenance", "trace"]

#: Packages that pixels and scores depend on.
_PACKAGES = ("torch", "segmentation-models-pytorch", "rasterio", "numpy", "mlflow")
#: Settings of an inference that its lines in `trace` name.
_SHOWN = ("tta", "window", "overlap", "blend", "held_out", "temperature", "classes")
#: What inference.json says, in words; other keys stand under their own names.
_WORDS = {
    "training_run": "training run",
    "weights": "weights, sha256",
    "classes": "classes",
    "tta": "test-time augmentation",
    "window": "window, pixels",
    "overlap": "overlap, pixels",
    "blend": "blend",
    "held_out": "held out",
    "temperature": "temperature",
}
_TIME = "%Y-%m-%d %H:%M UTC"


# --- as text ------------------------------------------------------------------------------------


def trace(*, input_path: str = "", run_id: str = "") -> str:
    """The chain behind a result, as text: runs, config, weights, tiles, scenes with their sha256.

    `input_path` is a GeoPackage, shapefile, raster or folder of results; `run_id` a run or a
    model of the registry (`models:/name@champion`) or of a file (`shipped`); the newest finished
    inference by default.
    Raises InputError or RunError where a link is missing.
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
    for key in ("val_fold", "threshold", "threshold_tuned_on", "seed"):
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
    yield f"            {', '.join(f'{key} {value}' for key, value in _said_of(said))}"
    yield from _weight_lines(training.weights, used)


def _said_of(said: ModelDescription) -> Iterator[tuple[str, str]]:
    """Facts that only the file of a model has."""
    yield "network", str(said.network.get("name", "unknown"))
    yield "channels", str(said.channels.get("set", "unknown"))
    yield "threshold", f"{said.threshold:.4f} ({said.threshold_rule})"
    yield "adapt", said.adapt
    if said.git_commit:
        yield "commit", said.git_commit[:12]


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
        note.ended.strftime(_TIME) if note.ended else "",
    )
    return ", ".join(filter(None, said))


# --- as facts and marks -------------------------------------------------------------------------


@dataclass(frozen=True)
class Provenance:
    """Facts as (name, value), and what each city was used for before it was scored.

    `seen`: all ground that says little of other ground, as `validate` marks it. `tuned_on`: by what
    was chosen (threshold, weights, temperature) the ground that it was chosen on. `trained_on`:
    ground whose pixels were learnt from. `doubts`: what could not be found out.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    seen: Tuned
    doubts: tuple[str, ...]
    tuned_on: Mapping[str, Tuned] = field(default_factory=dict)
    trained_on: Tuned = field(default_factory=Tuned)

    def marks(self, city: str) -> tuple[str, ...]:
        """What the reader of a city's score must know: `tuned on: threshold`, `trained on`."""
        tuned = sorted(what for what, ground in self.tuned_on.items() if ground.on(city))
        marks = (
            *(["trained on"] if self.trained_on.on(city) else []),
            *([f"{MARK}: {', '.join(tuned)}"] if tuned else []),
        )
        mark = self.seen.mark(city)
        return marks or ((mark,) if mark else ())


def find_provenance(results: Results, thresholds: Sequence[float]) -> Provenance:
    """Ask the predictions' folder, then MLflow for the runs that it names.

    `thresholds` are those of the cities' maps. A run that is not in the tracking database is no
    error: what is not known is said on the page. InputError where a record is damaged.
    """
    record = prediction_record(results.folder)
    if isinstance(record, EnsembleRecord):
        return _of_ensemble(results, record, thresholds)
    doubts: list[str] = []
    note = _note(results.run_id, "inference", doubts)
    inference = Inference.of(results.folder, note)
    config = LoggedConfig.read(results.folder)
    training, summary = _training(inference.training, doubts)
    if record is None and inference.training is None:
        doubts.append("these maps do not say which training they come from")
    facts = [
        *_run_facts("inference", results.run_id, note),
        *_settings_facts(config),
        *_record_facts(inference),
        *_run_facts("training", None, training),
        *_model_facts(inference.training),
        *_training_facts(summary),
        *_map_facts(thresholds),
    ]
    held_out = "" if record is None else record.held_out
    tuned = _tuned_on(summary, config, thresholds, doubts) if summary else {}
    trained_on = _trained_on(summary, doubts)
    title = results.folder.name if note is None else note.config or note.name
    return Provenance(
        title,
        tuple(facts),
        inference.tuned,
        tuple(doubts),
        {what: Tuned(cities, held_out) for what, cities in tuned.items()},
        Tuned(trained_on, held_out),
    )


def _of_ensemble(
    results: Results, record: EnsembleRecord, thresholds: Sequence[float]
) -> Provenance:
    """That of a mean of several runs, which ensemble.json names."""
    doubts: list[str] = []
    facts = [("mean of", f"{len(record.members)} sets of predictions")]
    for number, member in enumerate(record.members, 1):
        facts.append((f"member {number}", _member(member, doubts)))
    facts.append(("tuned on", _text(record.tuned_on) or "nothing"))
    facts.append(("weights tuned on", _text(record.weights_tuned_on) or "nothing"))
    facts += _map_facts(thresholds)
    return Provenance(results.folder.name, tuple(facts), Tuned(record.tuned_on), tuple(doubts))


def _member(member: EnsembleMember, doubts: list[str]) -> str:
    """One of an ensemble's members: its runs, their trainings, its weight and threshold."""
    said = []
    for run_id in member.runs:
        note = _note(run_id, "member", doubts)
        said.append(f"run {run_id}")
        said += [f"config {note.config}"] if note and note.config else []
        said += [f"training run {note.training_run}"] if note and note.training_run else []
    if not said:
        doubts.append(f"the member {member.name} does not say which run it comes from")
        said.append(member.name)
    figures = member.to_json()
    keys = ("weight", "threshold", "temperature")
    said += [f"{key} {_text(figures[key])}" for key in keys if figures[key] is not None]
    return ", ".join(said)


def _note(run_id: str | None, what: str, doubts: list[str]) -> RunNote | None:
    note = RunNote.find(run_id) if run_id else None
    if run_id and note is None:
        doubts.append(f"the {what} run {run_id} is not in the tracking database")
    return note


def _training(
    training: Training | None, doubts: list[str]
) -> tuple[RunNote | None, Summary | None]:
    if training is None:
        return None, None
    if training.description is not None:  # of a file, which the database does not know
        return None, training.summary
    if training.note is None:
        doubts.append(f"the training run {training.name} is not in the tracking database")
        return None, None
    if training.summary is None:
        doubts.append("the training run has no summary.json: what was tuned on what is unknown")
    return training.note, training.summary


def _run_facts(what: str, run_id: str | None, note: RunNote | None) -> list[tuple[str, str]]:
    facts = [(f"{what} run", run_id or "")]
    if note is not None:
        facts += [(f"{what} config", note.config), (f"{what} code, commit", note.commit)]
        facts += [(f"{what} ended", note.ended.strftime(_TIME) if note.ended else "")]
    return [fact for fact in facts if fact[1]]


def _settings_facts(config: LoggedConfig) -> list[tuple[str, str]]:
    facts = [("config files", ", ".join(config.files))]
    facts += [("overrides", " ".join(config.overrides))]
    facts += [("data", str(config.settings.get("data_path", "")))]
    return [fact for fact in facts if fact[1]]


def _record_facts(inference: Inference) -> list[tuple[str, str]]:
    if inference.record is None:
        training = inference.training
        return [] if training is None else [("training run", training.name)]
    facts = inference.record.to_json().items()
    return [(_WORDS.get(key, key), _text(value)) for key, value in facts if value not in ("", [])]


def _model_facts(training: Training | None) -> list[tuple[str, str]]:
    said = None if training is None else training.description
    if said is None:
        return []
    facts = [(f"model's {name}", text) for name, text in _said_of(said)]
    return [("model trained on", said.trained_on), *facts]


def _training_facts(summary: Summary | None) -> list[tuple[str, str]]:
    if summary is None:
        return []
    said = {
        "fold held out in training": summary.val_fold,
        "seed": summary.seed,
        "iterations": summary.iterations,
        "iteration of the best weights": summary.best_iteration,
        "threshold of the training": summary.threshold,
        "temperature of the training": summary.temperature,
    }
    facts = [(text, _text(value)) for text, value in said.items() if value]
    for what, ground in summary.tuned_on.items():
        facts.append((f"{what} tuned on", _text(ground) or "nothing"))
    return facts


def _map_facts(thresholds: Sequence[float]) -> list[tuple[str, str]]:
    cut = ", ".join(f"{t:.4f}" for t in sorted(set(thresholds)))
    return [("threshold of the maps", cut), *_versions()]


def _versions() -> list[tuple[str, str]]:
    found = [f"builtup {__version__}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return [("versions", ", ".join(found))]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tuned_on(
    summary: Summary, config: LoggedConfig, thresholds: Sequence[float], doubts: list[str]
) -> dict[str, tuple[str, ...]]:
    """Cities by what was chosen on them; a threshold given by hand was chosen nobody knows how."""
    tuned, own = summary.tuned_on, summary.threshold
    if own is not None and any(abs(t - own) > 1e-6 for t in thresholds):
        tuned.pop("threshold", None)
        doubts.append(
            "the maps were not cut at the training's threshold: what theirs was chosen on is "
            "unknown"
        )
    if config.settings.get("weights", "best") == "best":
        tuned["weights"] = summary.val_cities or ()
    return {what: cities for what, cities in tuned.items() if cities}


def _trained_on(summary: Summary | None, doubts: list[str]) -> tuple[str, ...]:
    """Cities and blocks that training learnt from, whichever fold an inference holds out."""
    if summary is None:
        return ()
    if summary.trained_on is None:
        doubts.append("the training's summary.json does not say what was learnt from")
    return summary.trained_on or ()
