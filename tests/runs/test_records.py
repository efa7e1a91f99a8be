"""Records of runs: what was written is read again, by this version and of the one before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builtup.errors import InputError
from builtup.runs.records import (
    EnsembleMember,
    EnsembleRecord,
    InferenceRecord,
    InheritedThreshold,
    Record,
    Summary,
    prediction_record,
)

#: As a training with validation writes it, without `version`: the form before versions.
TRAINED = {
    "config": "tiny.py",
    "val_fold": "38SLF_Alpha",
    "val_cities": ["38SLF_Alpha"],
    "trained_on": ["38SLG_Beta"],
    "num_classes": 2,
    "class_names": ["background", "building"],
    "seed": 0,
    "git_commit": "937d379",
    "finished": True,
    "epochs": 2,
    "iterations": 8,
    "best_iteration": 4,
    "threshold": 0.43,
    "threshold_f1": 0.8,
    "threshold_tuned_on": ["38SLF_Alpha"],
    "metrics": {"f1": 0.7, "iou": None},
    "confusion": {"38SLF_Alpha": [[3, 1], [1, 4]]},
}
#: As a training on everything does, whose threshold a cross-validation gave.
ON_EVERYTHING = {
    **TRAINED,
    "val_fold": None,
    "threshold_f1": None,
    "inherited_threshold": {
        "threshold": 0.43,
        "tuned_on": ["38SLF_Alpha"],
        "source": "0123",
        "overrides": "lr=0.1",
    },
}
#: As a fold of a cross-validation does whose ground has no building to fit a temperature on.
CROSS_VALIDATED = {
    **TRAINED,
    "threshold_ground": "the training ground",
    "temperature": None,
    "temperature_tuned_on": [],
    "held_out_scores": {"f1": 0.6, "ece": None},
}
INFERRED = {
    "training_run": "4567",
    "weights": "abc",
    "classes": ["background", "building"],
    "tta": "none",
    "window": 512,
    "overlap": 64,
    "blend": "ramp",
    "held_out": "",
    "temperature": None,
    "backend": "torch",
}
MEAN = {
    "members": [
        {"name": "a", "run_id": "1", "weight": 0.5, "threshold": 0.4, "temperature": None},
        {"name": "b", "run_id": "2,3", "weight": 0.5, "threshold": 0.5, "temperature": None},
    ],
    "threshold": 0.45,
    "temperature": None,
    "weights_tuned_on": [],
    "tuned_on": ["38SLF_Alpha"],
}
FORMS: list[tuple[type[Record], dict[str, Any]]] = [
    (Summary, TRAINED),
    (Summary, ON_EVERYTHING),
    (Summary, CROSS_VALIDATED),
    (Summary, {"threshold": 0.4}),  # what goes with a logged model
    (InferenceRecord, INFERRED),
    (InferenceRecord, {"run_id": "89", **INFERRED}),
    (EnsembleRecord, MEAN),
]


@pytest.mark.parametrize(("kind", "values"), FORMS)
def test_what_was_written_before_versions_is_written_again_with_one(
    tmp_path: Path, kind: type[Record], values: dict[str, Any]
) -> None:
    (tmp_path / kind.NAME).write_text(json.dumps(values))
    found = kind.read(tmp_path)
    found.write(tmp_path)
    assert json.loads((tmp_path / kind.NAME).read_text()) == {"version": 1, **values}
    assert kind.read(tmp_path) == found


@pytest.mark.parametrize(
    ("kind", "values"), [(Summary, TRAINED), (InferenceRecord, INFERRED), (EnsembleRecord, MEAN)]
)
def test_fields_stand_in_the_order_in_which_they_always_stood(
    tmp_path: Path, kind: type[Record], values: dict[str, Any]
) -> None:
    kind.from_json(values).write(tmp_path)
    lines = json.dumps({"version": 1, **values}, indent=1) + "\n"
    assert (tmp_path / kind.NAME).read_text() == lines


def test_what_is_unknown_is_kept_where_a_record_is_changed(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({**TRAINED, "note": "by hand"}))
    replace(Summary.read(tmp_path), temperature=1.5, temperature_tuned_on=("A",)).write(tmp_path)
    values = json.loads((tmp_path / "summary.json").read_text())
    assert values["note"] == "by hand"
    assert (values["temperature"], values["temperature_tuned_on"]) == (1.5, ["A"])


def test_a_later_version_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"version": 2, **TRAINED}))
    with pytest.raises(InputError, match=r"summary\.json: of version 2, where 1 is the latest"):
        Summary.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"version": "new"}', '{"members": [1]}'])
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(InputError, match=r"ensemble\.json: malformed \(.+\); run the") as caught:
        EnsembleRecord.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_none_or_an_error(tmp_path: Path) -> None:
    assert Summary.find(tmp_path) is None
    with pytest.raises(InputError, match="no summary of a training"):
        Summary.read(tmp_path)


def test_all_ground_that_a_training_has_seen() -> None:
    summary = Summary(
        trained_on=("B", "C/r0c1"),
        val_cities=("A",),
        threshold_tuned_on=("A",),
        temperature_tuned_on=("D",),
    )
    assert summary.seen == ("A", "B", "C/r0c1", "D")
    assert summary.tuned_on == {"threshold": ("A",), "temperature": ("D",)}
    assert Summary().tuned_on == {} and Summary().seen == ()


def test_a_soup_has_its_own_threshold() -> None:
    summary = Summary(threshold=0.4, soup={"threshold": 0.6, "is_best": True})
    assert summary.of_soup().threshold == 0.6
    assert Summary(threshold=0.4, soup={"iterations": [1, 2]}).of_soup().threshold == 0.4


def test_an_inherited_threshold_is_read_as_one() -> None:
    found = Summary.from_json(ON_EVERYTHING).inherited_threshold
    assert found == InheritedThreshold(
        threshold=0.43, tuned_on=("38SLF_Alpha",), source="0123", overrides="lr=0.1"
    )


def test_two_inferences_differ_in_what_pixels_depend_on_and_not_in_their_runs() -> None:
    one = InferenceRecord.from_json({"run_id": "89", **INFERRED})
    assert one.differences(InferenceRecord.from_json(INFERRED)) == {}
    other = InferenceRecord.from_json({**INFERRED, "window": 256, "stride": 8})
    assert one.differences(other) == {"window": (512, 256), "stride": (None, 8)}
    assert one.settings() == INFERRED


def test_before_there_were_backends_there_was_torch() -> None:
    old = {key: value for key, value in INFERRED.items() if key != "backend"}
    assert InferenceRecord.from_json(old).settings() == INFERRED


def test_predictions_are_an_ensemble_s_or_an_inference_s(tmp_path: Path) -> None:
    assert prediction_record(tmp_path) is None
    InferenceRecord.from_json(INFERRED).write(tmp_path)
    assert prediction_record(tmp_path) == InferenceRecord.from_json(INFERRED)
    EnsembleRecord.from_json(MEAN).write(tmp_path)
    found = prediction_record(tmp_path)
    assert isinstance(found, EnsembleRecord) and found.runs == ("1", "2", "3")
    assert EnsembleMember.from_json({"name": "a", "run_id": None}).runs == ()
