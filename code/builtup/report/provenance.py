"""What was made of what, as facts on the report's page, and the marks that its scores carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from builtup import __version__
from builtup.report.lineage import TIME
from builtup.runs.lineage import Inference, RunNote, Training
from builtup.runs.manifest import LoggedConfig
from builtup.runs.records import (
    MARK,
    EnsembleMember,
    EnsembleRecord,
    Summary,
    Tuned,
    prediction_record,
)
from builtup.runs.results import Results

__all__ = ["Provenance", "find_provenance"]

#: Packages that pixels and scores depend on.
_PACKAGES = ("torch", "segmentation-models-pytorch", "rasterio", "numpy", "mlflow")
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
        mark = self.seen.mark(city)
        return marks or ((mark,) if mark else ())


def find_provenance(
    results: Results, thresholds: Sequence[float], *, follow: bool = False
) -> Provenance:
    """Ask the predictions' folder, then MLflow for the runs that it names.

    `thresholds` are those of the cities' maps, none where classes are decided by the largest
    probability: no threshold is then spoken of. They `follow` the cities where they are the
    training's own, moved to each city's share of the class. A run that is not in the tracking
    database is no error: what is not known is said on the page. InputError where a record is
    damaged.
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
        *_training_facts(summary, cut=bool(thresholds)),
        *_map_facts(thresholds),
    ]
    held_out = "" if record is None else record.held_out
    own = [] if follow and summary is not None and summary.threshold is not None else thresholds
    tuned = _tuned_on(summary, config, own, doubts, cut=bool(thresholds)) if summary else {}
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
        facts += [(f"{what} ended", note.ended.strftime(TIME) if note.ended else "")]
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
    return [
        (_WORDS.get(key, key), _text(value)) for key, value in facts if value not in ("", [], None)
    ]


def _model_facts(training: Training | None) -> list[tuple[str, str]]:
    said = None if training is None else training.description
    if said is None:
        return []
    facts = [(f"model's {name}", text) for name, text in said.facts()]
    return [("model trained on", said.trained_on), *facts]


def _training_facts(summary: Summary | None, *, cut: bool) -> list[tuple[str, str]]:
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
    tuned = {f"{what} tuned on": _text(on) or "nothing" for what, on in summary.tuned_on.items()}
    facts = [(text, _text(value)) for text, value in said.items() if value] + [*tuned.items()]
    return [fact for fact in facts if cut or not fact[0].startswith("threshold")]


def _map_facts(thresholds: Sequence[float]) -> list[tuple[str, str]]:
    cut = ", ".join(f"{t:.4f}" for t in sorted(set(thresholds)))
    return [*([("threshold of the maps", cut)] if cut else []), *_versions()]


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
    summary: Summary,
    config: LoggedConfig,
    thresholds: Sequence[float],
    doubts: list[str],
    *,
    cut: bool,
) -> dict[str, tuple[str, ...]]:
    """Cities by what was chosen on them; a threshold given by hand was chosen nobody knows how."""
    tuned, own = summary.tuned_on, summary.threshold
    if not cut:
        tuned.pop("threshold", None)
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
