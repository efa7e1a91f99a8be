"""What was made of what: ground that was tuned on, thresholds taken over, trainings by name."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from builtup.errors import ConfigError, InputError
from builtup.runs.lineage import Training, find_artifacts, inherited_threshold, tuned_ground
from builtup.runs.records import Tuned


@pytest.mark.parametrize(
    ("names", "held_out", "city", "expected"),
    [
        ((), "", "A", False),
        (("A",), "", "A", True),
        (("A",), "", "B", False),
        (("A/r0c1",), "", "A", True),  # a part of it
        (("A/r0c1",), "A/r0c0", "A", False),  # only the held-out block is predicted
        (("A/r0c0",), "A/r0c0", "A", True),
        (("A",), "A/r0c0", "A", True),
        (("AB/r0c0",), "", "A", False),
        (("38SLF_New York",), "", "38SLF_New_York", True),  # as commits before spelled it
        (("38SLF_New York/r0c0",), "38SLF_New_York/r0c1", "38SLF_New_York", False),
        (("38SLF_Mosul",), "", "38SLF_Mosul_2020", True),  # the map of a year
        (("38SLF_Mosul",), "", "38SLF_Mosul_2", False),
    ],
)
def test_cities_and_blocks(
    names: tuple[str, ...], held_out: str, city: str, expected: bool
) -> None:
    assert Tuned(names, held_out).on(city) is expected


def test_an_ensemble_says_it_itself(tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(json.dumps({"tuned_on": ["A"]}))
    assert tuned_ground(tmp_path).on("A")


def test_the_training_s_summary_says_it(tmp_path: Path) -> None:
    run, preds = tmp_path / "run", tmp_path / "preds"
    (run / "config").mkdir(parents=True)
    (run / "config" / "settings.json").write_text("{}")
    summary = {"threshold_tuned_on": ["A"], "trained_on": ["B", "C/r0c1"], "val_cities": None}
    (run / "summary.json").write_text(json.dumps(summary))
    preds.mkdir()
    (preds / "inference.json").write_text(
        json.dumps({"training_run": str(run), "held_out": "C/r0c0"})
    )
    tuned = tuned_ground(preds)
    assert [city for city in "ABCD" if tuned.on(city)] == ["A", "B"]


def test_scenes_that_were_learnt_from_without_labels_have_a_mark_of_their_own(
    tmp_path: Path,
) -> None:
    run, preds = tmp_path / "run", tmp_path / "preds"
    (run / "config").mkdir(parents=True)
    (run / "config" / "settings.json").write_text("{}")
    summary = {"trained_on": ["38SLF_A"], "transductive": ["38SLF_A", "38SLF_B"]}
    (run / "summary.json").write_text(json.dumps(summary))
    preds.mkdir()
    (preds / "inference.json").write_text(json.dumps({"training_run": str(run)}))
    tuned = tuned_ground(preds)
    assert tuned.mark("38SLF_A") == "tuned on"  # the stronger
    assert tuned.mark("38SLF_B") == tuned.mark("38SLF_B_2020") == "transductive"
    assert tuned.mark("38SLF_C") == ""


def test_nothing_is_known_without_a_record_and_said_where_the_run_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert tuned_ground(tmp_path) == Tuned()
    assert not caplog.text
    assert tuned_ground(tmp_path, "0123") == Tuned()
    assert "what run 0123 was tuned on cannot be known: no inference.json" in caplog.text
    (tmp_path / "inference.json").write_text(json.dumps({"training_run": str(tmp_path / "gone")}))
    with caplog.at_level(logging.WARNING):
        assert tuned_ground(tmp_path) == Tuned()
    assert "cannot be known" in caplog.text
    (tmp_path / "inference.json").write_text("{")
    with pytest.raises(InputError, match="malformed"):
        tuned_ground(tmp_path)


FOLDS = ("38SAA_Alpha", "38SBB_Beta")


def record(folder: Path, thresholds: list[tuple[str, float]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folds = [{"fold": fold, "threshold": value} for fold, value in thresholds]
    (folder / "cross_validation.json").write_text(json.dumps({"folds": folds}))
    return folder


def test_an_inherited_threshold_is_the_mean_over_folds_of_the_mean_over_seeds(
    tmp_path: Path,
) -> None:
    found = [(FOLDS[0], 0.2), (FOLDS[0], 0.4), (FOLDS[1], 0.5)]
    inherited = inherited_threshold(str(record(tmp_path, found)), FOLDS)
    assert inherited.threshold == pytest.approx(0.4)
    assert inherited.tuned_on == FOLDS and inherited.source == str(tmp_path)


def test_the_overrides_of_its_cross_validation_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = record(tmp_path, [(FOLDS[0], 0.2)]) / "cross_validation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "overrides": "num_epochs=1"}))
    with caplog.at_level(logging.INFO):
        assert inherited_threshold(str(tmp_path), FOLDS[:1]).overrides == "num_epochs=1"
    assert f"{tmp_path}, trained with overrides num_epochs=1" in caplog.text


def test_a_cross_validation_of_other_ground_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path, [(FOLDS[0], 0.2), ("38SCC_Gamma", 0.5)])
    with pytest.raises(ConfigError, match=r"held out other ground.*38SBB_Beta, 38SCC_Gamma"):
        inherited_threshold(str(folder), FOLDS)


def test_a_broken_cross_validation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cross_validation.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        inherited_threshold(str(tmp_path), FOLDS)


def test_a_training_is_found_by_its_folder_or_anything_within(tmp_path: Path) -> None:
    folder = tmp_path / "0123" / "artifacts"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "settings.json").write_text("{}")
    (folder / "weights").mkdir()
    (folder / "weights" / "last.pt").write_bytes(b"")
    for place in (folder, folder / "weights", folder / "weights" / "last.pt"):
        assert find_artifacts(place) == (folder, "0123")
    training = Training.named(str(folder))
    assert (training.name, training.problem) == ("0123", "")
    assert training.weights == (folder / "weights" / "last.pt",)
    assert training.summary is None


def test_a_training_that_is_gone_says_why(tmp_path: Path) -> None:
    training = Training.named(str(tmp_path / "gone"))
    assert training.folder is None and "does not exist" in training.problem
    assert (training.weights, training.scenes, training.config.files) == ((), (), ())


def test_a_damaged_summary_is_a_warning_to_those_who_only_look(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "summary.json").write_text("{")
    assert Training("0123", tmp_path).summary is None
    assert "summary.json: no summary of a training" in caplog.text
