"""Records of studies: what they hold, the best of a search, which folds chose settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import ConfigError
from builtup.runs import study_records, tracking
from builtup.runs.study_records import (
    FAILED,
    FINISHED,
    PRUNED,
    Axis,
    CrossValidation,
    SearchRecord,
    TrialLine,
    ground_of_search,
)

TRIALS = (
    TrialLine(number=0, state=FINISHED, value=0.4, params={"lr": 0.1}, validations=(0.2, 0.4)),
    TrialLine(number=1, state=PRUNED, value=0.9, params={"lr": 0.2}, runs=("r",)),
    TrialLine(number=2, state=FINISHED, value=0.6, params={"lr": 0.3}, minutes=1.5),
    TrialLine(number=3, state=FINISHED, value=0.6, params={"lr": 0.4}),
    TrialLine(number=5, state=FAILED, reason="no memory"),
)
RECORD = SearchRecord(
    config="searched",
    metric="val/iou",
    ground=("Alpha", "Beta/r0c1"),
    axes=(Axis(name="lr", low=0.1, high=1.0, log=True), Axis(name="kind", choices=("a", None))),
    trials=TRIALS,
)


def test_a_search_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    assert SearchRecord.read(tmp_path) == RECORD


def test_a_pruned_trial_is_never_the_best_and_of_equals_the_first_is() -> None:
    assert RECORD.best is TRIALS[2]
    assert SearchRecord(trials=TRIALS[1:2]).best is None


def test_a_value_below_zero_can_be_the_best() -> None:
    lines = (TrialLine(number=i, state=FINISHED, value=-1.0 - i) for i in range(2))
    best = SearchRecord(trials=tuple(lines)).best
    assert best is not None and best.value == -1.0


@pytest.mark.parametrize(
    ("ground", "seen"),
    [
        (None, ()),
        (("38SAA_Alpha",), ("38SAA_Alpha",)),
        (("38SBB_Beta/r0c1",), ("38SBB_Beta/r0c1",)),
        (("38SBB_Beta",), ("38SBB_Beta/r0c0", "38SBB_Beta/r0c1")),
    ],
)
def test_folds_are_tuned_on_by_city_or_block(
    ground: tuple[str, ...] | None, seen: tuple[str, ...]
) -> None:
    places = ("38SAA_Alpha", "38SBB_Beta/r0c0", "38SBB_Beta/r0c1")
    folds = tuple({"fold": name, "city": name.partition("/")[0]} for name in places)
    assert CrossValidation(folds=folds, settings_tuned_on=ground).tuned_folds == seen


def test_the_ground_of_a_search_is_that_of_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RECORD.write(tmp_path / SearchRecord.FOLDER)
    monkeypatch.setattr(study_records.tracking, "run_artifacts", lambda run_id: tmp_path)
    assert ground_of_search("abc") == ("Alpha", "Beta/r0c1")


def test_a_run_that_is_no_search_has_tuned_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "run_artifacts", lambda run_id: tmp_path)
    with pytest.raises(ConfigError, match="tuned_by = abc: no search can be read") as e:
        ground_of_search("abc")
    assert "\n" not in str(e.value)
