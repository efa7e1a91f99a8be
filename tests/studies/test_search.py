"""Searches: trials of a study, pruned, stopped and gone on with; and what they are tuned on."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aerial_data import measured_houses
from builtup.config.overrides import split_overrides
from builtup.errors import RunError
from builtup.report.write import report
from builtup.runs import tracking
from builtup.runs.records import Summary
from builtup.runs.study_records import FAILED, FINISHED, PRUNED, SearchRecord
from builtup.studies import launch_runs
from builtup.studies.search import search
from helpers import ROOT
from tiny_folds import children, train_in_threads

SPACE = """
base = "tiny.py"
metric, trials, pruner, startup = "val/iou", 4, "median", 2
num_epochs = 4


def space(trial):
    return {"lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True)}
"""
#: Iterations of an epoch of the trainings that are played.
BATCHES = 5


@pytest.fixture
def space(cities: Path) -> Path:
    path = cities / "searched.py"
    path.write_text(SPACE)
    return path


@dataclass
class Played:
    """Plays trainings: each logs one score after another, and is looked at after each.

    `scores` has a list for each training, in their order; an exception in it is raised there, as
    when the search is killed, a string ends the training with that error.
    """

    scores: list[list[Any]]
    metric: str = "val/iou"
    started: list[Mapping[str, str]] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)

    def __call__(self, arguments: list[str], run_id: str, watched: Any = None) -> int:
        own = tracking.client()
        options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
        self.started.append(dict(split_overrides(options["--overrides"])))
        own.log_param(run_id, "cfg/batches_per_epoch", BATCHES)
        scores = self.scores[len(self.started) - 1]
        for number, score in enumerate(scores, 1):
            if isinstance(score, str):
                own.set_tag(run_id, "error", score)
                own.set_terminated(run_id, "FAILED")
                return 1
            if isinstance(score, BaseException):
                raise score
            if not math.isnan(score):
                own.log_metric(run_id, self.metric, score, step=number * BATCHES)
            own.log_metric(run_id, "val/f1", 0.5, step=number * BATCHES)
            if watched.shall_end():
                self.looks.append(number)
                return 143
        own.set_terminated(run_id, "FINISHED")
        return 0


@pytest.fixture
def play(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Played]:
    def begin(*scores: list[Any], metric: str = "val/iou") -> Played:
        played = Played(list(scores), metric)
        monkeypatch.setattr(launch_runs, "_run", played)
        return played

    return begin


def test_a_search_trains_what_its_trials_say(
    space: Path, project: Path, in_process: list[str], tmp_path: Path
) -> None:
    """A whole one, of two trainings: runs beneath its own, tuned ground in each summary."""
    text = search(config_path=space, trials=2, overrides="num_epochs=1", output=str(tmp_path))
    record = SearchRecord.read(tmp_path)
    run_id = text.split()[-1]
    assert [line.state for line in record.trials] == [FINISHED] * 2
    assert all(f"tuned_by={run_id}" in overrides for overrides in in_process)
    parent = tracking.find_run(run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best_overrides"] == record.best.overrides
    runs = {run.data.tags["trial"]: run for run in children(parent)}
    assert set(runs) == {"0", "1"}
    for line in record.trials:
        (own,) = line.runs
        assert runs[str(line.number)].info.run_id == own
        summary = Summary.read(tracking.run_artifacts(own))
        assert summary.settings_tuned_on == record.ground == ("38SAA_Alpha",)
        assert summary.tuned_on["settings"] == ("38SAA_Alpha",)
        assert runs[str(line.number)].data.metrics["val/iou"] == line.value
    assert f'tiny.py --overrides "{record.best.overrides} tuned_by={run_id}"' in text
    page = report(run_id=run_id)
    assert page.name == "search.html" and record.best.overrides in page.read_text()


def test_a_search_of_a_network_of_images(
    project: Path, in_process: list[str], tmp_path: Path
) -> None:
    """The search of buildings from drones that comes along, with all heads, made small."""
    tiles = measured_houses(tmp_path / "in", "alpha", "beta")
    small = (
        "encoder=efficientnet-b0 width=8 crop=64 batch_size=2 samples_per_epoch=4 num_epochs=1 "
        f"num_workers=0 reference_pixel=none pixel_size=none val_fold=beta data_path={tiles}"
    )
    config = ROOT / "configs" / "search" / "efficientfpn.py"
    text = search(config_path=config, trials=2, overrides=small, output=str(tmp_path / "out"))
    record = SearchRecord.read(tmp_path / "out")
    assert [line.state for line in record.trials] == [FINISHED] * 2
    assert record.ground == ("beta",) and {axis.name for axis in record.axes} == {
        "lr", "weight_decay",
    }  # fmt: skip
    (way_on,) = [line for line in text.splitlines() if line.startswith("train with: ")]
    assert 'open_cities/efficientfpn_b1.py --overrides "encoder=efficientnet-b0' in way_on
    assert "num_epochs" not in way_on


def test_a_pruned_trial_is_killed_tagged_and_never_the_best(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    """After two validations the others had .2 and .4: .25 is below their median of .3."""
    played = play([0.1, 0.2, 0.5, 0.5], [0.1, 0.4, 0.4, 0.6], [0.2, 0.25, 0.9, 0.9], [0.7] * 4)
    search(config_path=space, output=str(tmp_path))
    record = SearchRecord.read(tmp_path)
    assert [line.state for line in record.trials] == [FINISHED, FINISHED, PRUNED, FINISHED]
    assert [line.value for line in record.trials] == [0.5, 0.6, 0.25, 0.7]
    assert record.trials[2].validations == (0.2, 0.25)
    assert played.looks == [2]
    run = tracking.find_run(record.trials[2].runs[0])
    assert (run.info.status, run.data.tags["pruned"]) == ("KILLED", "true")
    assert record.best.number == 3
    finished = tracking.find_run(record.trials[0].runs[0])
    assert (finished.info.status, "pruned" in finished.data.tags) == ("FINISHED", False)
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["state"] for row in rows] == [line.state for line in record.trials]
    assert [float(row["lr"]) for row in rows] == [line.params["lr"] for line in record.trials]


def test_a_killed_search_goes_on_with_what_is_missing(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    """It is killed in its third trial; the whole study has four, the first two are kept."""
    whole = play(*([0.1 * i, 0.1 * i + 0.1] for i in range(1, 5)))
    search(config_path=space, output=str(tmp_path / "whole"), overrides="pruner=none")
    first = play([0.1, 0.2], [0.2, 0.3], [0.3, SystemExit(1)])
    options = {"config_path": space, "output": str(tmp_path / "cut"), "overrides": "pruner=none"}
    with pytest.raises(SystemExit):
        search(**options)
    rest = play([0.3, 0.4], [0.4, 0.5])
    text = search(**options)
    tried = [[run["lr"] for run in played.started] for played in (whole, first, rest)]
    assert tried[1] == tried[0][:3]
    assert tried[2] == tried[0][2:]  # the third again, and then what would have come
    record = SearchRecord.read(tmp_path / "cut")
    assert [line.number for line in record.trials] == [0, 1, 3, 4]
    assert record.killed == 1
    assert "4 of 4 trials: 4 finished, 1 stopped with the search and asked again" in text
    others = SearchRecord.read(tmp_path / "whole").trials
    assert [t.overrides for t in record.trials] == [t.overrides for t in others]
    assert tracking.find_run(text.split()[-1]).info.status == "FINISHED"
    assert play().started == []
    assert search(**options) == text  # nothing is missing


#: A training that waits in the second epoch of the second trial, where it is asked to.
WAITING = """
import os
import time
from pathlib import Path


class Waiting(torch.optim.lr_scheduler.LambdaLR):
    def step(self, *args):
        super().step(*args)
        if "TINY_WAIT" in os.environ and self.last_epoch == 7:
            notes = Path(os.environ["TINY_WAIT"])
            if (notes / "first").exists():
                (notes / "second").write_text(str(os.getpid()))
                time.sleep(600)
            (notes / "first").touch()


def lr_scheduler(optimizer):
    return Waiting(optimizer, lambda n: 1.0)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_killed_in_a_real_trial_goes_on_with_it(
    cities: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: signal.Signals,
) -> None:
    """Three trials; of the second the first epoch is kept, no trial is lost or counted twice."""
    path = tmp_path / "searched.py"
    (tmp_path / "tiny.py").write_text((cities / "tiny.py").read_text() + WAITING)
    path.write_text(SPACE)
    seed = {"SIGTERM": 11, "SIGKILL": 12}[how.name]  # else the other's trainings would be kept
    options = {"config_path": path, "output": str(tmp_path / "study"), "trials": 3, "seed": seed}
    given = [f"--{name}={value}" for name, value in options.items()]
    searching = subprocess.Popen(
        [sys.executable, "-m", "builtup", "search", *given, "--overrides=pruner=none"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "code"), "TINY_WAIT": str(tmp_path)},
    )
    note = tmp_path / "second"
    while not (note.is_file() and note.read_text()):
        assert searching.poll() is None, "the search ended before its second trial"
        time.sleep(0.05)
    searching.send_signal(how)
    assert searching.wait() == (-how if how == signal.SIGKILL else 128 + how)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{note.read_text()}").exists():  # its training ends with it
        assert time.monotonic() < deadline, "its training goes on"
        time.sleep(0.05)
    started = train_in_threads(monkeypatch)
    search(**options, overrides="pruner=none")
    record = SearchRecord.read(tmp_path / "study")
    assert [(line.number, line.state) for line in record.trials] == [
        (0, FINISHED),
        (2, FINISHED),  # the second again
        (3, FINISHED),
    ]
    assert record.killed == 1 and len(started) == 2
    assert "resume_from=" in started[0] and "resume_from=" not in started[1]
    again = tracking.find_run(record.trials[1].runs[0])
    killed = tracking.find_run(again.data.tags["resumed_from"])
    assert killed.info.status == "KILLED" and killed.data.tags["trial"] == "1"
    assert [p.step for p in history(killed)] == [5]
    assert [p.step for p in history(again)] == [10, 15, 20]
    assert len(record.trials[1].validations) == 4


def history(run: Any) -> list[Any]:
    return list(tracking.client().get_metric_history(run.info.run_id, "val/iou"))


def test_a_study_can_have_more_trials_later(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    played = play([0.1] * 4, [0.2] * 4, [0.3] * 4)
    first = search(config_path=space, trials=1, output=str(tmp_path))
    second = search(config_path=space, trials=3, output=str(tmp_path))
    assert len(played.started) == 3
    assert first.split()[-1] == second.split()[-1]  # the same run


def test_the_value_of_several_folds_is_their_mean(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    """(.4 + .8) / 2 and (.6 + .2) / 2, each fold's greatest validation."""
    play([0.3, 0.4], [0.8, 0.7], [0.6, 0.6], [0.2, 0.1])
    search(
        config_path=space,
        folds="Alpha;Beta",
        trials=2,
        overrides="num_epochs=2 pruner=none",
        output=str(tmp_path),
    )
    record = SearchRecord.read(tmp_path)
    assert [line.value for line in record.trials] == pytest.approx([0.6, 0.4])
    assert record.ground == ("38SAA_Alpha", "38SBB_Beta")
    assert record.trials[0].validations == pytest.approx((0.15, 0.2, 0.6, 0.6))
    folds = [tracking.find_run(run).data.tags["fold"] for run in record.trials[1].runs]
    assert folds == ["38SAA_Alpha", "38SBB_Beta"]


def test_a_first_training_that_fails_stops_the_search_in_one_line(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    played = play(["no such tiles"], [0.5] * 4)
    with pytest.raises(RunError, match=r"training failed \(no such tiles\); correct that") as e:
        search(config_path=space, output=str(tmp_path))
    assert "\n" not in str(e.value) and len(played.started) == 1


def test_later_failures_are_passed_over_and_three_in_a_row_are_not(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    good, bad = [0.5] * 4, ["out of memory"]
    play(good, bad, bad, good, bad, bad, bad, good)
    with pytest.raises(RunError, match="out of memory"):
        search(config_path=space, trials=9, output=str(tmp_path))
    played = play(good, good)
    text = search(config_path=space, trials=9, output=str(tmp_path))
    assert len(played.started) == 2
    states = [line.state for line in SearchRecord.read(tmp_path).trials]
    assert [states.count(s) for s in (FINISHED, FAILED)] == [4, 5]
    assert "9 of 9 trials: 4 finished, 5 failed" in text


def test_a_metric_that_never_comes_is_said_after_the_first_training(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    played = play([math.nan] * 4)
    with pytest.raises(RunError, match=r"metric = 'val/iou' never came in run \w+, which logged"):
        search(config_path=space, output=str(tmp_path))
    assert len(played.started) == 1


def test_no_trial_begins_when_time_is_up(
    space: Path, play: Callable[..., Played], tmp_path: Path
) -> None:
    played = play([0.5] * 4)
    text = search(config_path=space, minutes=0.0, output=str(tmp_path))
    assert played.started == []
    assert "0 of 4 trials" in text and "none has finished" in text
