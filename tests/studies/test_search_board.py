"""What a search shows: a table, a CSV, tags of the best, and the command that trains with it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from builtup.runs import tracking
from builtup.runs.study_records import SearchRecord
from builtup.studies.search_board import TRIALS_CSV, Board, sentence_of
from builtup.studies.search_study import OVERRIDES, REASON, RUNS

RECORD = SearchRecord(
    config="searched",
    train="configs/train/recommended_cpu.py",
    overrides="num_epochs=2 'data_path=my tiles'",
    metric="val/iou",
    ground=("Alpha",),
    wanted=3,
)


@pytest.fixture
def board(project: Path, tmp_path: Path) -> Board:
    """A trial that finished, one that was pruned, and one that failed."""
    study = optuna.create_study(direction="maximize")
    for i, (value, state) in enumerate([(0.5, None), (0.2, TrialState.PRUNED), (None, None)]):
        trial = study.ask()
        trial.suggest_float("lr", 0.1, 1)
        trial.set_user_attr(OVERRIDES, f"lr=0.{i + 1}")
        trial.set_user_attr(RUNS, [f"run{i}"])
        if value is None:
            trial.set_user_attr(REASON, "no memory")
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.report(value, 1)
        study.tell(trial, None if state else value, state=state)
    own = tracking.client()
    run = own.create_run(tracking.experiment_id(own, "Trainings"))
    return Board(RECORD, study, run.info.run_id, tmp_path)


def test_files_and_tags_say_what_came_out(board: Board) -> None:
    record = board.write()
    folder = board.folder / SearchRecord.FOLDER
    assert SearchRecord.read(folder) == record
    rows = list(csv.DictReader((folder / TRIALS_CSV).open()))
    assert [row["state"] for row in rows] == ["finished", "pruned", "failed"]
    assert [row["val/iou"] for row in rows] == ["0.5", "0.2", ""]
    assert rows[2]["reason"] == "no memory"
    tags = tracking.find_run(board.run_id).data.tags
    assert (tags["best_trial"], tags["best_overrides"], tags["best_run"]) == ("0", "lr=0.1", "run0")


def test_the_best_is_trained_as_long_as_its_config_says(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    text = board.text(board.write())
    assert "3 of 3 trials: 1 finished, 1 pruned, 1 failed" in text
    assert text.splitlines()[-1] == (
        "train with: builtup train --config_path configs/train/recommended_cpu.py --overrides "
        f"\"'data_path=my tiles' lr=0.1 tuned_by={board.run_id}\""
    )


def test_a_search_with_settings_of_its_own_says_how_long_to_train(board: Board) -> None:
    record = replace(board.write(), train="searched.py", lengths="num_epochs=9")
    assert "searched.py --overrides \"num_epochs=9 'data_path" in board.way_on(record)


def test_trials_in_words(board: Board) -> None:
    found = [sentence_of(line, "val/iou") for line in board.write().trials]
    assert found == [
        "trial 0: val/iou 0.500, lr=0.1",
        "trial 1: val/iou 0.200, pruned at validation 1, lr=0.2",
        "trial 2 failed: no memory",
    ]
