"""The page of a search: what it says, that it is escaped, and who else gets none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builtup.errors import InputError, RunError
from builtup.report import search_page as pages
from builtup.report.search_page import render_search, search_page
from builtup.runs.study_records import FAILED, FINISHED, PRUNED, Axis, SearchRecord, TrialLine

RECORD = SearchRecord(
    config="searched",
    train="configs/train/recommended_cpu.py",
    metric="val/iou",
    ground=("Alpha", "Beta"),
    pruner="median",
    startup=5,
    seed=0,
    wanted=5,
    axes=(Axis(name="lr", low=1e-4, high=1e-2, log=True),),
    trials=(
        TrialLine(
            number=0, state=FINISHED, value=0.4, params={"lr": 0.00123}, overrides="lr=0.00123"
        ),
        TrialLine(number=1, state=PRUNED, value=0.3, params={"lr": 0.001}, overrides="lr=0.001"),
        TrialLine(number=2, state=FAILED, overrides="name=<b>", reason="no memory"),
    ),
    killed=1,
    importance={"lr": 1.0},
)


def test_the_page_says_what_came_out_and_what_it_is_worth() -> None:
    html = render_search(RECORD, "abc")
    assert "1 finished, 1 pruned, 1 failed" in html
    assert "These settings were chosen on Alpha, Beta" in html and "tuned_by=abc" in html
    assert '<span class="value">0.00123</span>' in html
    assert html.count("<svg") == 3
    assert "no memory" in html and "<b>" not in html and "&lt;b&gt;" in html
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert "1 trials were stopped with the search" in html


def test_a_search_without_a_best_says_so() -> None:
    html = render_search(replace(RECORD, trials=RECORD.trials[2:], importance=None), "abc")
    assert "No trial has finished" in html


def test_the_page_is_the_same_whenever_the_search_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "is_search", lambda run_id: True)
    monkeypatch.setattr(pages.tracking, "run_artifacts", lambda run_id: tmp_path)
    monkeypatch.setattr(pages.tracking, "find_run", lambda run_id: None)
    monkeypatch.setattr(pages.tracking, "artifact_folder", lambda run: tmp_path)
    RECORD.write(tmp_path / SearchRecord.FOLDER)
    path = search_page("abc")
    first = path.read_bytes()
    assert path.parent == tmp_path / SearchRecord.FOLDER
    assert search_page("abc").read_bytes() == first
    replace(RECORD, trials=()).write(tmp_path / SearchRecord.FOLDER)
    with pytest.raises(InputError, match="no trial has ended yet"):
        search_page("abc")


def test_another_run_has_no_such_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "is_search", lambda run_id: False)
    with pytest.raises(RunError, match="run_id=abc: is no search"):
        search_page("abc")
