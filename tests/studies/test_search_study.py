"""The file of a search: one search at a time, and what was running is asked again."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from builtup.errors import InputError
from builtup.studies import search_study
from builtup.studies.search_study import (
    REASON,
    STUDY_DB,
    ended_trials,
    killed_trials,
    open_study,
)

IDENTITY = {"config or overrides": "a", "data": "b", "folds": "Alpha"}
PRUNER = optuna.pruners.NopPruner()


def opened(folder: Path, **identity: str):
    return open_study(folder, "one", IDENTITY | identity, PRUNER)


def begun(study: optuna.Study) -> tuple[optuna.Trial, float]:
    """A trial that runs, and what it tries."""
    trial = study.ask()
    return trial, trial.suggest_float("lr", 0.1, 1.0)


def test_what_had_ended_stays_and_what_was_running_is_asked_again(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        trial, _ = begun(study)
        study.tell(trial, 0.5)
        _, tried = begun(study)  # nobody tells how it ended: the search was killed
    with opened(tmp_path) as study:
        assert [t.number for t in ended_trials(study)] == [0]
        assert killed_trials(study) == 1
        trial, again = begun(study)
        assert (trial.number, again) == (2, tried)
        study.tell(trial, 0.7)
        _, new = begun(study)
        assert new != tried
    with opened(tmp_path) as study:
        assert [(t.number, t.value) for t in ended_trials(study)] == [(0, 0.5), (2, 0.7)]
        assert begun(study)[1] == new


def test_a_search_that_is_killed_while_it_begins_again_asks_once(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        _, tried = begun(study)
        study.enqueue_trial({"lr": tried}, user_attrs={search_study._REPEATS: 0})
    with opened(tmp_path) as study:
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        assert [t.user_attrs for t in waiting] == [{search_study._REPEATS: 0}]
        assert killed_trials(study) == 1


def test_a_trial_that_failed_by_itself_is_not_asked_again(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        trial, tried = begun(study)
        trial.set_user_attr(REASON, "no memory")
        study.tell(trial, state=TrialState.FAIL)
        trial, _ = begun(study)
        trial.set_user_attr(REASON, "no memory, and killed before it was told")
    with opened(tmp_path) as study:
        assert [t.state for t in ended_trials(study)] == [TrialState.FAIL] * 2
        assert killed_trials(study) == 0
        assert begun(study)[1] != tried


def test_a_database_in_use_is_refused_in_one_line_and_free_after_a_kill(tmp_path: Path) -> None:
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        with opened(tmp_path) as study:
            begun(study)
            os.write(go, b"x")
            signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        with (
            pytest.raises(InputError, match=rf"in use by another search \(process {child}\)") as e,
            opened(tmp_path),
        ):
            pass
        assert str(e.value).startswith(str(tmp_path / STUDY_DB)) and "\n" not in str(e.value)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with opened(tmp_path) as study:
        assert killed_trials(study) == 1


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with (
        pytest.raises(InputError, match="same name with other data and folds: its trials"),
        opened(tmp_path, folds="Beta", data="c"),
    ):
        pass


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / STUDY_DB).write_text("no database, but longer than its header of 100 bytes" * 3)
    with (
        pytest.raises(InputError, match=r"the study cannot be used .*another output"),
        opened(tmp_path),
    ):
        pass


def test_a_database_that_another_program_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path):
        pass
    monkeypatch.setattr(search_study, "_PATIENCE", 0.1)
    with sqlite3.connect(tmp_path / STUDY_DB) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(InputError, match=r"locked.*close what else has it open"),
            opened(tmp_path),
        ):
            pass
