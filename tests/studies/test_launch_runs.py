"""A fold's training: known by its key, gone on with after a kill, ended with its parent."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from builtup.errors import RunError
from builtup.runs import tracking
from builtup.studies import launch_runs as runs
from builtup.studies.cross_validate import cross_validate, plan
from tiny_folds import children, newest_parent, train_in_threads


def test_another_setting_is_another_training(done: str, cities: Path, project: Path) -> None:
    key = plan(cities / "tiny.py", "", "", "num_epochs=6")[0][0].key
    same = plan(cities / "tiny.py", "", "", "num_epochs=6 log_interval=3 tta=d4")[0][0].key
    other = plan(cities / "tiny.py", "", "", "num_epochs=6 lr=0.5")[0][0].key
    assert key == same != other


KILLED_ONCE = """
import os
import signal


class Killed(torch.optim.lr_scheduler.LambdaLR):
    def step(self, *args):
        super().step(*args)
        if "TINY_KILL" in os.environ and self.last_epoch == 12:
            os.kill(os.getpid(), signal.SIGKILL)


def lr_scheduler(optimizer):
    return Killed(optimizer, lambda n: 1.0)
"""


def test_a_killed_training_goes_on_where_it_was(
    cities: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold's process is killed in its third epoch; the same command goes on from the second."""
    path = cities / "killed.py"
    path.write_text((cities / "tiny.py").read_text() + KILLED_ONCE)
    options = {"config_path": path, "folds": "Beta", "overrides": "num_epochs=4"}
    monkeypatch.setenv("TINY_KILL", "1")
    with pytest.raises(RunError, match=r"fold 38SBB_Beta: its training failed \(exit status -9"):
        cross_validate(**options)
    monkeypatch.delenv("TINY_KILL")
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    (killed,) = own.search_runs(
        [experiment], filter_string="tags.fold = '38SBB_Beta' and attributes.status = 'KILLED'"
    )
    started = train_in_threads(monkeypatch)
    text = cross_validate(**options)
    assert f"resume_from={killed.info.run_id}" in started[0]
    folds = {run.data.tags["fold"]: run.info.run_id for run in children(newest_parent("killed"))}
    first = min(p.step for p in own.get_metric_history(folds["38SBB_Beta"], "train/loss"))
    assert first > 10  # two epochs of five steps were done
    assert "38SBB_Beta" in text


def test_a_fold_s_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid()))"
    child = os.fork()
    if child == 0:
        runs._run([sys.executable, "-c", f"{code}; time.sleep(600)"], "run")
        os._exit(0)
    try:
        grandchild = int(_wait_for(lambda: note.is_file() and note.read_text()))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert _wait_for(lambda: not _alive(grandchild))


def test_runs_that_a_killed_process_left_running_are_said_to_be_killed(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    task = plan(cities / "tiny.py", "Alpha", "", "num_epochs=6")[0][0]
    parent = own.create_run(experiment).info.run_id
    tags = {runs.PARENT: parent, runs.KEY: task.key}
    child = own.create_run(experiment, tags=tags).info.run_id
    text = cross_validate(
        config_path=cities / "tiny.py",
        folds="Alpha",
        overrides="num_epochs=6",
        output="output/killed",
    )
    assert in_process == []
    assert [own.get_run(r).info.status for r in (parent, child)] == ["KILLED", "KILLED"]
    assert own.get_run(text.split()[-1]).info.status == "FINISHED"


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_for(ready: Any, seconds: float = 60) -> Any:
    for _ in range(int(seconds * 20)):
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_failed_training_is_one_line_that_names_the_fold(
    cities: Path, project: Path, in_process: list[str]
) -> None:
    path = cities / "bad.py"
    path.write_text((cities / "tiny.py").read_text().replace("CrossEntropy(1.0, 1.0)", "Nan()"))
    nan = "\n\nclass Nan(nn.Module):\n    def forward(self, logits, target):\n"
    path.write_text(path.read_text() + nan + "        return logits.sum() * float('nan')\n")
    with pytest.raises(RunError, match=r"fold 38SAA_Alpha: its training failed \(.*loss is nan"):
        cross_validate(config_path=path, folds="Alpha")


def test_a_training_that_is_watched_ends_when_it_is_told_so(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(runs, "LOOK_EVERY", 0.05)
    looks: list[str] = []

    def third(run_id: str) -> bool:
        looks.append(run_id)
        return len(looks) == 3

    watched = runs._Watched(third, "run")
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert runs._run(sleeping, "run", watched) == -signal.SIGTERM
    assert watched.ended and looks == ["run"] * 3
    patient = runs._Watched(lambda run_id: False, "run")
    assert runs._run([sys.executable, "-c", "pass"], "run", patient) == 0
    assert not patient.ended


def test_a_history_goes_on_where_a_run_goes_on_from_another(project: Path) -> None:
    own = tracking.client()
    experiment = tracking.experiment_id(own, "Trainings")
    before = ""
    for points in ({5: 0.1, 10: 0.2, 15: 0.9}, {10: 0.3, 15: 0.4}):
        run = own.create_run(experiment, tags={runs.RESUMED: before} if before else {})
        before = run.info.run_id
        for step, value in points.items():
            own.log_metric(before, "val/iou", value, step=step)
    assert runs.history_of(before, "val/iou") == {5: 0.1, 10: 0.3, 15: 0.4}
