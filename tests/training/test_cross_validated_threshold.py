"""The threshold that a network trained on everything takes from a cross-validation."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from builtup.config.launch import run_script
from builtup.errors import ConfigError
from builtup.runs import tracking
from builtup.runs.tracking import recording
from builtup.training.checkpoints import load_trained
from builtup.training.cross_validated_threshold import inherited_threshold
from tiny_folds import enter, write_cities, write_config

SCRIPT = Path(__file__).parents[2] / "code" / "scripts" / "training.py"
FOLDS = ("38SAA_Alpha", "38SBB_Beta")


def record(folder: Path, thresholds: list[tuple[str, float]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folds = [{"fold": fold, "threshold": value} for fold, value in thresholds]
    (folder / "cross_validation.json").write_text(json.dumps({"folds": folds}))
    return folder


def test_it_is_the_mean_over_folds_of_the_mean_over_seeds(tmp_path: Path) -> None:
    found = [(FOLDS[0], 0.2), (FOLDS[0], 0.4), (FOLDS[1], 0.5)]
    inherited = inherited_threshold(str(record(tmp_path, found)), FOLDS)
    assert inherited.threshold == pytest.approx(0.4)
    assert inherited.tuned_on == FOLDS and inherited.source == str(tmp_path)


def test_the_overrides_of_its_source_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = record(tmp_path, [(FOLDS[0], 0.2)]) / "cross_validation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "overrides": "num_epochs=1"}))
    with caplog.at_level(logging.INFO):
        assert inherited_threshold(str(tmp_path), FOLDS[:1]).overrides == "num_epochs=1"
    assert f"{tmp_path}, trained with overrides num_epochs=1" in caplog.text


def test_other_ground_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path, [(FOLDS[0], 0.2), ("38SCC_Gamma", 0.5)])
    with pytest.raises(ConfigError, match=r"held out other ground.*38SBB_Beta, 38SCC_Gamma"):
        inherited_threshold(str(folder), FOLDS)


def test_a_broken_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cross_validation.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        inherited_threshold(str(tmp_path), FOLDS)


@pytest.fixture
def cities(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(database, monkeypatch)
    write_config(tmp_path, write_cities(tmp_path))
    return tmp_path / "tiny.py"


def test_the_newest_cross_validation_of_a_config_gives_it(cities: Path) -> None:
    names = ("38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma")
    with recording("Trainings", "cross-validation of tiny") as recorder:
        recorder.tags({"cross_validation_of": "tiny"})
        record(recorder.folder / "cross_validation", [(n, 0.3) for n in names])
    overrides = "val_fold=none validate=false threshold_from=tiny num_epochs=1"
    run_script(SCRIPT, cities, 1, overrides)
    run = tracking.newest_run("Trainings", config="tiny")
    trained = load_trained(run.info.run_id, "last")
    assert trained.threshold == pytest.approx(0.3)
    folder = tracking.artifact_folder(run)
    assert folder is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["threshold_tuned_on"] == list(names)
    assert summary["inherited_threshold"]["source"] == recorder.run_id


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "val_fold=none validate=false threshold_from=nobody",
            "no finished cross-validation of a config",
        ),
        ("val_fold=0 validate=false threshold_from=tiny", "is for a training on all data"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(
    cities: Path, overrides: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_script(SCRIPT, cities, 1, overrides)


def test_a_loader_that_knows_no_folds_is_refused_in_one_line(
    cities: Path, tmp_path: Path, database: Path
) -> None:
    record(tmp_path / "scored", [(FOLDS[0], 0.2)])
    text = (
        cities.read_text()
        + """

class NoFolds:
    val_fold = None

    def __len__(self):
        return 1


def train_loader():
    return NoFolds()
"""
    )
    cities.write_text(text)
    overrides = f"val_fold=none validate=false threshold_from={tmp_path / 'scored'}"
    with pytest.raises(ConfigError, match="held out other ground"):
        run_script(SCRIPT, cities, 1, overrides)
