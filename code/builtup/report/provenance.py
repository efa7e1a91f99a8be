"""What a set of predictions was made from, as far as its files and MLflow say."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup import __version__
from builtup.errors import BuiltupError
from builtup.runs.results import Results
from builtup.training.tuning_ground import MARK, Tuned, read_record, tuned_ground

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["Provenance", "find_provenance"]

log = logging.getLogger(__name__)

#: Packages that pixels and scores depend on.
_PACKAGES = ("torch", "segmentation-models-pytorch", "rasterio", "numpy", "mlflow")
_TUNED_ON = "_tuned_on"
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
        return marks or ((MARK,) if self.seen.on(city) else ())


def find_provenance(results: Results, thresholds: Sequence[float]) -> Provenance:
    """Ask the predictions' folder, then MLflow for the runs that it names.

    `thresholds` are those of the cities' maps. A run that is not in the tracking database is no
    error: what is not known is said on the page.
    """
    record = read_record(results.folder)
    if "members" in record:
        return _of_ensemble(results, record, thresholds)
    config = _read_json(results.folder / "config" / "settings.json")
    doubts: list[str] = []
    inference = _run(results.run_id, "inference", doubts)
    if not record and inference is not None and "training_run" in inference.data.tags:
        record = {"training_run": inference.data.tags["training_run"]}
    training = _run(record.get("training_run"), "training", doubts)
    summary = _summary(training, doubts)
    if not record:
        doubts.append("these maps do not say which training they come from")
    facts = [
        *_run_facts("inference", results.run_id, inference),
        *_settings_facts(config),
        *((_WORDS.get(key, key), _text(value)) for key, value in record.items() if value != ""),
        *_run_facts("training", None, training),
        *_training_facts(summary),
        *_map_facts(thresholds),
    ]
    held_out = str(record.get("held_out") or "")
    tuned = _tuned_on(summary, config, thresholds, doubts) if summary else {}
    trained = _trained_on(summary, doubts)
    name = results.folder.name
    if inference is not None:
        name = inference.data.tags.get("config") or inference.info.run_name
    return Provenance(
        str(name),
        tuple(facts),
        tuned_ground(results.folder),
        tuple(doubts),
        {what: Tuned(cities, held_out) for what, cities in tuned.items()},
        Tuned(trained, held_out),
    )


def _of_ensemble(
    results: Results, record: Mapping[str, Any], thresholds: Sequence[float]
) -> Provenance:
    """That of a mean of several runs, which ensemble.json names."""
    doubts: list[str] = []
    facts = [("mean of", f"{len(record['members'])} sets of predictions")]
    for number, member in enumerate(record["members"], 1):
        facts.append((f"member {number}", _member(member, doubts)))
    for key in ("tuned_on", "weights_tuned_on"):
        facts.append((key.replace("_", " "), _text(record.get(key, ())) or "nothing"))
    facts += _map_facts(thresholds)
    return Provenance(
        results.folder.name, tuple(facts), tuned_ground(results.folder), tuple(doubts)
    )


def _member(member: Mapping[str, Any], doubts: list[str]) -> str:
    """One of an ensemble's members: its runs, their trainings, its weight and threshold."""
    said = []
    for run_id in filter(None, (member.get("run_id") or "").split(",")):
        run = _run(run_id, "member", doubts)
        tags = {} if run is None else run.data.tags
        said.append(f"run {run_id}")
        said += [f"config {tags['config']}"] if tags.get("config") else []
        said += [f"training run {tags['training_run']}"] if tags.get("training_run") else []
    if not said:
        doubts.append(f"the member {member['name']} does not say which run it comes from")
        said.append(str(member["name"]))
    keys = ("weight", "threshold", "temperature")
    said += [f"{key} {_text(member[key])}" for key in keys if member.get(key) is not None]
    return ", ".join(said)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        log.warning("%s: not read (%s)", path, e)
        return {}
    return value if isinstance(value, dict) else {}


def _run(run_id: str | None, what: str, doubts: list[str]) -> Run | None:
    if not run_id:
        return None
    from builtup.runs import tracking

    try:
        return tracking.find_run(run_id)
    except BuiltupError:
        doubts.append(f"the {what} run {run_id} is not in the tracking database")
        return None


def _summary(training: Run | None, doubts: list[str]) -> dict[str, Any]:
    if training is None:
        return {}
    from builtup.runs import tracking

    try:
        found = _read_json(tracking.run_artifacts(training.info.run_id) / "summary.json")
    except (BuiltupError, OSError) as e:
        log.warning("artifacts of run %s: %s", training.info.run_id, e)
        found = {}
    if not found:
        doubts.append("the training run has no summary.json: what was tuned on what is unknown")
    return found


def _run_facts(what: str, run_id: str | None, run: Run | None) -> list[tuple[str, str]]:
    facts = [(f"{what} run", run_id)] if run_id else []
    if run is not None:
        tags = run.data.tags
        facts += [(f"{what} config", tags["config"])] if "config" in tags else []
        facts += [(f"{what} code, commit", tags["git_commit"])] if "git_commit" in tags else []
        facts += [(f"{what} ended", _time(run.info.end_time))] if run.info.end_time else []
    return facts


def _time(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _settings_facts(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("config files", ", ".join(map(str, config.get("files", []))))]
    facts += [("overrides", " ".join(map(str, config.get("overrides", []))))]
    facts += [("data", str(config.get("settings", {}).get("data_path", "")))]
    return [fact for fact in facts if fact[1]]


def _training_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "val_fold": "fold held out in training",
        "seed": "seed",
        "iterations": "iterations",
        "best_iteration": "iteration of the best weights",
        "threshold": "threshold of the training",
        "temperature": "temperature of the training",
    }
    facts = [(text, _text(summary[key])) for key, text in names.items() if summary.get(key)]
    for key, value in summary.items():
        if key.endswith(_TUNED_ON):
            what = key.removesuffix(_TUNED_ON)
            facts.append((f"{what} tuned on", _text(value) or "nothing"))
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
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    thresholds: Sequence[float],
    doubts: list[str],
) -> dict[str, tuple[str, ...]]:
    """Cities by what was chosen on them; a threshold given by hand was chosen nobody knows how."""
    tuned = {
        key.removesuffix(_TUNED_ON): tuple(map(str, cities))
        for key, cities in summary.items()
        if key.endswith(_TUNED_ON) and isinstance(cities, list)
    }
    own = summary.get("threshold")
    if own is not None and any(abs(t - own) > 1e-6 for t in thresholds):
        tuned.pop("threshold", None)
        doubts.append(
            "the maps were not cut at the training's threshold: what theirs was chosen on is "
            "unknown"
        )
    if config.get("settings", {}).get("weights", "best") == "best":
        tuned["weights"] = tuple(map(str, summary.get("val_cities", [])))
    return {what: cities for what, cities in tuned.items() if cities}


def _trained_on(summary: Mapping[str, Any], doubts: list[str]) -> tuple[str, ...]:
    """Cities and blocks that training learnt from, whichever fold an inference holds out."""
    if summary and "trained_on" not in summary:
        doubts.append("the training's summary.json does not say what was learnt from")
    return tuple(map(str, summary.get("trained_on") or ()))
