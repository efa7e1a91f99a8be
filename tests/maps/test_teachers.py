"""Whose predictions a set is: one training, those of a mean, or nobody that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.maps import teachers
from builtup.maps.teachers import inference_of, teacher_of
from builtup.runs.lineage import Training
from builtup.runs.records import EnsembleMember, EnsembleRecord, InferenceRecord
from builtup.runs.results import Results
from builtup.training.learnt_ground import LearntGround
from tiny_model import use_store


def test_of_an_inference_the_training_tells_its_ground(tmp_path: Path) -> None:
    training = tmp_path / "training"
    (training / "config").mkdir(parents=True)
    (training / "config" / "settings.json").write_text('{"files": [], "settings": {}}')
    ground = LearntGround(folds=("alpha",), named=("alpha",))
    ground.write(training)
    InferenceRecord(run_id="one", training_run=str(training)).write(tmp_path)
    results = Results(tmp_path)
    assert teacher_of(results) == ("training", ground) and inference_of(results) == "one"
    assert inference_of(Results(tmp_path, "other")) == "other"


def test_a_mean_of_runs_that_are_not_to_be_found_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_store(tmp_path, monkeypatch)
    members = tuple(EnsembleMember(name=name, run_id=name, weight=0.5) for name in "ab")
    EnsembleRecord(members=members).write(tmp_path)
    assert teacher_of(Results(tmp_path)) == ("", None)
    assert "what its network (unknown) has learnt from is not known" in caplog.text
    assert inference_of(Results(tmp_path)) == "a,b"


def test_a_mean_knows_the_ground_of_the_members_that_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One member that is gone does not open the ground of the others."""
    known = tmp_path / "known"
    known.mkdir()
    LearntGround(folds=("alpha",), named=("alpha",)).write(known)
    trainings = {"a": Training("known", known), "b": None}
    monkeypatch.setattr(teachers, "_training_of", trainings.get)
    members = tuple(EnsembleMember(name=name, run_id=name, weight=0.5) for name in "ab")
    EnsembleRecord(members=members).write(tmp_path)
    ground = LearntGround(folds=("alpha",), named=("alpha",), unknown=True)
    assert teacher_of(Results(tmp_path)) == ("known", ground)
    assert "what its network (known) has learnt from is not all known" in caplog.text
