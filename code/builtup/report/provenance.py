"""What a set of predictions was made from, as far as its files and MLflow say."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builtup import __version__
from builtup.errors import BuiltupError
from builtup.results import Results

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

    `tuned_on`: by what was chosen (threshold, weights, temperature) the cities that it was chosen
    on. `trained_on`: cities whose pixels were learnt from. `doubts`: what could not be found out.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    tuned_on: Mapping[str, tuple[str, ...]]
    trained_on: frozenset[str]
    doubts: tuple[str, ...]

    def marks(self, city: str) -> tuple[str, ...]:
        """What the reader of a city's score must know: `tuned on: threshold`, `trained on`."""
        tuned = sorted(what for what, cities in self.tuned_on.items() if city in cities)
        return (
            *(["trained on"] if city in self.trained_on else []),
            *([f"tuned on: {', '.join(tuned)}"] if tuned else []),
        )


def find_provenance(results: Results, thresholds: Sequence[float]) -> Provenance:
    """Ask the predictions' folder, then MLflow for the runs that it names.

    `thresholds` are those of the cities' maps. A run that is not in the tracking database is no
    error: what is not known is said on the page.
    """
    record = _read_json(results.folder / "inference.json")
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
        ("threshold of the maps", ", ".join(f"{t:.4f}" for t in sorted(set(thresholds)))),
        *_versions(),
    ]
    tuned = _tuned_on(summary, config, thresholds, doubts) if summary else {}
    trained = _trained_on(training, record, summary)
    name = results.folder.name
    if inference is not None:
        name = inference.data.tags.get("config") or inference.info.run_name
    return Provenance(str(name), tuple(facts), tuned, trained, tuple(doubts))


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
    from builtup import tracking

    try:
        return tracking.find_run(run_id)
    except BuiltupError:
        doubts.append(f"the {what} run {run_id} is not in the tracking database")
        return None


def _summary(training: Run | None, doubts: list[str]) -> dict[str, Any]:
    if training is None:
        return {}
    from builtup import tracking

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


def _trained_on(
    training: Run | None, record: Mapping[str, Any], summary: Mapping[str, Any]
) -> frozenset[str]:
    """Cities that training learnt from, unless only ground that it did not see was mapped."""
    if training is None or record.get("held_out"):
        return frozenset()
    folds = training.data.params.get("cfg/folds", "").split(", ")
    held_out = summary.get("val_fold") or ""
    return frozenset(fold.partition("/")[0] for fold in folds if fold and fold != held_out)
